/* The small questions that are asked of single strings from outside: addresses, ids, trace headers, host
 * names, encodings, what a broker says with a 406. */
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "base/uuid.h"
#include "domain/contact.h"
#include "domain/message.h"
#include "domain/topology.h"
#include "io/broker_private.h"

static void check_numbers(const char *text)
{
    char number[CONTACT_E164_MAX + 1], again[CONTACT_E164_MAX + 1];

    fuzz_require(!is_e164(text) || contact_normalise_number(text, number), "a number normalises");
    fuzz_require(contact_normalise_number(text, number) ? is_e164(number) : number[0] == '\0',
                 "what is normalised is a number or nothing");
    fuzz_require(!number[0] || (contact_normalise_number(number, again) && strcmp(number, again) == 0),
                 "normalising twice changes nothing");
    enum contact_jid_kind kind = contact_jid_kind_of(text);
    bool has_number = contact_number_from_jid(text, number);
    fuzz_require(has_number ? kind == CONTACT_JID_USER && is_e164(number) : number[0] == '\0',
                 "only a user's JID has a number");
}

static void check_mask(const char *text)
{
    char mask[CONTACT_MASK_SIZE];
    size_t shown = 0;

    fuzz_require(contact_mask(text, mask) == mask && strlen(mask) < sizeof mask, "a mask is short");
    for (const char *p = mask; *p != '\0'; p++) {
        fuzz_require(*p > ' ' && *p < 0x7f, "a mask is printable");
        shown += *p != '*';
    }
    fuzz_require(shown <= 3, "a mask shows three characters at most");
}

static void check_utf8(const char *text, size_t len)
{
    size_t count = 0, at = 0, step;
    const char *p = text;

    while (at < len && (step = utf8_length(text + at, len - at)) > 0) {
        fuzz_require(step <= 4 && step <= len - at, "a character has 1 to 4 bytes");
        at += step;
        count++;
    }
    fuzz_require((at == len) == is_utf8(text, len), "a text is UTF-8 when its characters are");
    if (at != len)
        return;
    for (uint32_t c; (c = utf8_next(&p)) != 0;)
        fuzz_require(c <= 0x10ffff && (c < 0xd800 || c > 0xdfff), "a character is a scalar value");
    fuzz_require(p == text + len, "every character is visited");
    fuzz_require(utf8_count(text) == count && utf8_prefix(text, count) == len &&
                     is_utf8(text, utf8_prefix(text, count / 2)),
                 "characters are counted and cut whole");
    (void)utf8_is_blank(text);
}

static void check_written(const char *text, size_t len)
{
    struct buf out;
    struct err e = {0};

    buf_init(&out, 8 * JSON_MAX_BYTES);
    buf_add_json_str(&out, text, len);
    if (is_utf8(text, len) && out.len <= JSON_MAX_BYTES) {
        struct json *j = json_parse(out.data, out.len, &e);
        fuzz_require(j != NULL && strcmp(json_str(json_root(j)), text) == 0,
                     "a string is read as it was written");
        json_free(&j);
    }
    buf_fini(&out);
    err_set(&e, ERR_DATA, 0, "%s", text);
    err_prefix(&e, "%s", text);
    for (const char *p = e.text; *p != '\0'; p++)
        fuzz_require(!iscntrl((unsigned char)*p), "an error is one printable line");
    fuzz_require(!is_utf8(text, len) || is_utf8(e.text, strlen(e.text)),
                 "an error is cut between characters");
}

static void check_names(const char *text)
{
    struct broker_host host;
    struct err e = {0};
    char explained[300], uuid[UUID_TEXT_LEN + 1];
    enum channel channel;
    enum log_level level;

    if (broker_host_parse(text, false, &host, &e) == 0)
        fuzz_require(host.name[0] != '\0' && host.port >= 1 && host.port <= 65535, "a host has a port");
    else
        fuzz_require(e.class == ERR_CONFIG, "a host that is none is the operator's fault");
    topology_explain_406("wb_queue", text, explained, sizeof explained);
    fuzz_require(strlen(explained) < sizeof explained, "an explanation fits");
    (void)broker_consumer_index(amqp_cstring_bytes(text), 2);
    if (is_uuid(text)) {
        uuid_v5(text, text, strlen(text), uuid);
        fuzz_require(is_uuid(uuid), "a uuid comes of a uuid");
    }
    fuzz_require(!is_traceparent(text) || strlen(text) == 55, "a traceparent has 55 characters");
    fuzz_require(!channel_parse(text, &channel) || strcmp(channel_name(channel), text) == 0,
                 "a channel is called by its word");
    if (log_level_parse(text, &level) != 0)
        fuzz_require(strcmp(text, "info") != 0, "info is a level");
}

void fuzz_text(const char *bytes, size_t len)
{
    struct fuzz_strings in = {.at = bytes, .left = len, .arena = arena_new()};
    const char *text = fuzz_next(&in);

    text = text ? text : "";
    check_numbers(text);
    check_mask(text);
    check_utf8(text, strlen(text));
    check_written(text, strlen(text));
    check_names(text);
    arena_free(&in.arena);
}
