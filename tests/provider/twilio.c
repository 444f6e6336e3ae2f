/* Twilio's POST /2010-04-01/Accounts/{AccountSid}/Messages.json: Basic authentication, a form, errors by
 * code. A parameter that it does not know is refused, where the real one would ignore it. */
#include "tests/provider/provider.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char BEFORE[] = "/2010-04-01/Accounts/", BEHIND[] = "/Messages.json", WHATSAPP[] = "whatsapp:";

static bool is_sid(const char *s, const char *kind)
{
    return strncmp(s, kind, 2) == 0 && strspn(s + 2, "0123456789abcdefABCDEF") == 32;
}

static bool owns(const char *path)
{
    return strncmp(path, BEFORE, sizeof BEFORE - 1) == 0 && is_sid(path + sizeof BEFORE - 1, "AC") &&
           strcmp(path + sizeof BEFORE - 1 + 34, BEHIND) == 0;
}

/* --- errors --- */

static const struct code {
    int code, status;
    const char *message;
} CODES[] = {
    {20001, 400, "Unknown parameter"},
    {20003, 401, "Authenticate"},
    {20005, 403, "Account not active"},
    {20404, 404, "The requested resource was not found"},
    {20429, 429, "Too Many Requests"},
    {20500, 500, "Internal Server Error"},
    {20503, 503, "Service Unavailable"},
    {21211, 400, "The 'To' number +12025550143 is not a valid phone number."},
    {21212, 400, "The 'From' number is not a valid phone number, shortcode, or alphanumeric sender ID."},
    {21408, 400, "Permission to send an SMS has not been enabled for the region."},
    {21603, 400, "A 'From' phone number is required."},
    {21604, 400, "A 'To' phone number is required."},
    {21609, 400, "The StatusCallback URL is not a valid URL."},
    {21610, 400, "Attempt to send to unsubscribed recipient"},
    {21611, 400, "This 'From' number has exceeded the maximum number of queued messages"},
    {21614, 400, "'To' number is not a valid mobile number"},
    {21617, 400, "The concatenated message body exceeds the 1600 character limit"},
    {21619, 400, "A text message body or media urls must be specified."},
    {21620, 400, "Invalid media URL(s)"},
    {21701, 400, "The Messaging Service does not exist"},
    {63007, 400, "Twilio could not find a Channel with the specified From address"},
    {63038, 429, "Account exceeded the daily messages limit"},
};

static int write_code(int64_t code, struct buf *out)
{
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
        if (CODES[i].code != code)
            continue;
        buf_printf(out,
                   "{\"code\":%d,\"message\":\"%s\",\"more_info\":\"https://www.twilio.com/docs/errors/%d\","
                   "\"status\":%d}",
                   CODES[i].code, CODES[i].message, CODES[i].code, CODES[i].status);
        return CODES[i].status;
    }
    return 0;
}

static int refuse(struct provider_answer *a, int code)
{
    a->status = write_code(code, &a->body);
    return -1;
}

/* --- the form --- */

enum { TO, FROM, SERVICE, BODY, MEDIA, CALLBACK, VALIDITY, PARAM_COUNT };

static const char *const NAMES[PARAM_COUNT] = {"To",       "From",           "MessagingServiceSid", "Body",
                                               "MediaUrl", "StatusCallback", "ValidityPeriod"};

struct form {
    struct buf values[PARAM_COUNT];
    bool given[PARAM_COUNT];
};

static int hex_value(char c)
{
    const char *digits = "0123456789abcdef", *at = c != '\0' ? strchr(digits, c | 0x20) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* '+' is a blank; a broken escape, a NUL or a byte that should have been escaped is a fault. */
static int decode(const char *s, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '+') {
            buf_add_char(out, ' ');
        } else if (s[i] == '%') {
            int high = i + 2 < len ? hex_value(s[i + 1]) : -1;
            int low = i + 2 < len ? hex_value(s[i + 2]) : -1;
            if (high < 0 || low < 0 || (high | low) == 0)
                return -1;
            buf_add_char(out, (char)(high << 4 | low));
            i += 2;
        } else if (s[i] <= ' ' || s[i] > '~') {
            return -1;
        } else {
            buf_add_char(out, s[i]);
        }
    }
    return 0;
}

static int take_pair(struct form *f, const char *pair, size_t len)
{
    const char *equals = memchr(pair, '=', len);

    for (size_t i = 0; equals != NULL && i < PARAM_COUNT; i++) {
        if (strlen(NAMES[i]) != (size_t)(equals - pair) || memcmp(NAMES[i], pair, strlen(NAMES[i])) != 0)
            continue;
        if (f->given[i])
            return -1;
        f->given[i] = true;
        return decode(equals + 1, len - (size_t)(equals + 1 - pair), &f->values[i]);
    }
    return -1;
}

static int form_parse(struct form *f, const char *body)
{
    memset(f, 0, sizeof *f);
    for (size_t i = 0; i < PARAM_COUNT; i++)
        buf_init(&f->values[i], PROVIDER_MAX_BODY);
    while (*body != '\0') {
        size_t len = strcspn(body, "&");
        if (take_pair(f, body, len) != 0)
            return -1;
        body += len + (body[len] == '&');
    }
    return 0;
}

static void form_free(struct form *f)
{
    for (size_t i = 0; i < PARAM_COUNT; i++)
        buf_fini(&f->values[i]);
}

static const char *value_of(struct form *f, int param)
{
    return buf_str(&f->values[param]);
}

/* --- the parameters --- */

static bool is_whatsapp(const char *address)
{
    return strncmp(address, WHATSAPP, sizeof WHATSAPP - 1) == 0;
}

static const char *number_of(const char *address)
{
    return is_whatsapp(address) ? address + sizeof WHATSAPP - 1 : address;
}

/* A number, a short code, or up to 11 letters and digits with a letter among them. */
static bool is_sms_sender(const char *from)
{
    size_t digits = strspn(from, "0123456789");
    size_t len = strspn(from, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ &-");

    return provider_is_e164(from) || (digits >= 3 && digits <= 8 && from[digits] == '\0') ||
           (from[len] == '\0' && len > 0 && len <= 11 && digits < len);
}

static int check_sender(struct form *f, struct provider_answer *a)
{
    const char *to = value_of(f, TO), *from = value_of(f, FROM);

    if (!f->given[FROM] && !f->given[SERVICE])
        return refuse(a, 21603);
    if (f->given[SERVICE] && (!is_sid(value_of(f, SERVICE), "MG") || value_of(f, SERVICE)[34] != '\0'))
        return refuse(a, 21701);
    if (!f->given[FROM])
        return 0;
    if (is_whatsapp(to) != is_whatsapp(from))
        return refuse(a, 63007);
    if (is_whatsapp(from) ? !provider_is_e164(number_of(from)) : !is_sms_sender(from))
        return refuse(a, 21212);
    return 0;
}

static int check_options(struct form *f, struct provider_answer *a)
{
    long seconds = strtol(value_of(f, VALIDITY), NULL, 10);

    if (f->given[CALLBACK] && !provider_is_url(value_of(f, CALLBACK)))
        return refuse(a, 21609);
    if (f->given[VALIDITY] && (seconds < 1 || seconds > 36000))
        return refuse(a, 20001);
    return 0;
}

static int check(struct form *f, struct provider_answer *a)
{
    if (!f->given[TO])
        return refuse(a, 21604);
    if (!provider_is_e164(number_of(value_of(f, TO))))
        return refuse(a, 21211);
    if (check_sender(f, a) != 0)
        return -1;
    if (f->values[BODY].len == 0 && f->values[MEDIA].len == 0)
        return refuse(a, 21619);
    if (provider_units(value_of(f, BODY)) > 1600)
        return refuse(a, 21617);
    if (f->given[MEDIA] && !provider_is_url(value_of(f, MEDIA)))
        return refuse(a, 21620);
    return check_options(f, a);
}

/* --- who asks --- */

static int base64_value(char c)
{
    static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(ALPHABET, c) : NULL;

    return at != NULL ? (int)(at - ALPHABET) : -1;
}

static void base64_decode(const char *s, struct buf *out)
{
    unsigned bits = 0, count = 0;

    for (; base64_value(*s) >= 0; s++) {
        bits = bits << 6 | (unsigned)base64_value(*s);
        count += 6;
        if (count >= 8) {
            count -= 8;
            buf_add_char(out, (char)(bits >> count & 0xff));
        }
    }
}

/* The path's account, or any API key, and the right password. */
static bool is_authorised(const struct provider_request *q)
{
    static const char scheme[] = "Basic ";
    struct buf pair;
    bool ok = false;

    if (q->authorization == NULL || strncasecmp(q->authorization, scheme, sizeof scheme - 1) != 0)
        return false;
    buf_init(&pair, 4096);
    base64_decode(q->authorization + sizeof scheme - 1, &pair);
    const char *user = buf_str(&pair), *colon = user != NULL ? strchr(user, ':') : NULL;
    if (colon != NULL && colon - user == 34) {
        bool is_account = memcmp(user, q->path + sizeof BEFORE - 1, 34) == 0;
        ok = (is_account || is_sid(user, "SK")) &&
             (q->token == NULL ? colon[1] != '\0' : strcmp(colon + 1, q->token) == 0);
    }
    buf_fini(&pair);
    return ok;
}

/* --- the answer --- */

static void add_value(struct provider_answer *a, struct form *f, const char *name, int param)
{
    buf_printf(&a->body, "\"%s\":", name);
    if (f->given[param])
        buf_add_json_str(&a->body, value_of(f, param), f->values[param].len);
    else
        buf_add_str(&a->body, "null");
    buf_add_char(&a->body, ',');
}

static void take(const struct provider_request *q, struct form *f, uint64_t number, struct provider_answer *a)
{
    const char *kind = f->given[MEDIA] ? "MM" : "SM";

    a->status = 201;
    snprintf(a->id, sizeof a->id, "%s%032" PRIx64, kind, number);
    buf_printf(
        &a->body,
        "{\"account_sid\":\"%.34s\",\"api_version\":\"2010-04-01\",\"date_created\":\"Thu, 24 Aug 2023 "
        "05:01:45 +0000\",\"date_sent\":null,\"direction\":\"outbound-api\",\"error_code\":null,"
        "\"error_message\":null,",
        q->path + sizeof BEFORE - 1);
    add_value(a, f, "body", BODY);
    add_value(a, f, "from", FROM);
    add_value(a, f, "messaging_service_sid", SERVICE);
    add_value(a, f, "to", TO);
    buf_printf(
        &a->body,
        "\"num_media\":\"%d\",\"num_segments\":\"1\",\"price\":null,\"price_unit\":null,\"sid\":\"%s\","
        "\"status\":\"%s\",\"uri\":\"%s\"}",
        f->given[MEDIA], a->id, f->given[SERVICE] ? "accepted" : "queued", q->path);
}

static bool is_form(const struct provider_request *q)
{
    return q->content_type != NULL && strcasecmp(q->content_type, "application/x-www-form-urlencoded") == 0;
}

static void answer(const struct provider_request *q, uint64_t number, struct provider_answer *a)
{
    struct form f;
    int rc = form_parse(&f, q->body);

    a->auth_ok = is_authorised(q);
    buf_add_str(&a->to, value_of(&f, TO));
    buf_add_str(&a->text, value_of(&f, BODY));
    if (strcmp(q->method, "POST") != 0)
        refuse(a, 20404);
    else if (!a->auth_ok)
        refuse(a, 20003);
    else if (rc != 0 || !is_form(q))
        refuse(a, 20001);
    else if (check(&f, a) == 0)
        take(q, &f, number, a);
    form_free(&f);
}

static int code_of_status(int status)
{
    switch (status) {
    case 401:
        return 20003;
    case 403:
        return 20005;
    case 404:
        return 20404;
    case 429:
        return 20429;
    case 503:
        return 20503;
    default:
        return status >= 500 ? 20500 : 21211;
    }
}

static void write_error(int status, int64_t retry_after_s, struct buf *out)
{
    (void)retry_after_s;
    write_code(code_of_status(status), out);
}

static void write_refusal(struct buf *out)
{
    write_code(21610, out);
}

const struct provider PROVIDER_TWILIO = {
    .name = "twilio",
    .owns = owns,
    .answer = answer,
    .write_error = write_error,
    .write_refusal = write_refusal,
    .write_code = write_code,
};
