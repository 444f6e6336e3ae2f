/* What became of a request: from libcurl's end to a result. */
#include "io/http_private.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

const char *http_fate_name(enum http_fate fate)
{
    switch (fate) {
    case HTTP_ANSWERED:
        return "answered";
    case HTTP_NOT_SENT:
        return "not_sent";
    case HTTP_UNCERTAIN:
        return "uncertain";
    case HTTP_TLS_REFUSED:
        return "tls_refused";
    case HTTP_BAD_REQUEST:
        return "bad_request";
    }
    return "";
}

enum http_fate http_fate_unsent(CURLcode rc)
{
    static const struct {
        CURLcode rc;
        enum http_fate fate;
    } FATES[] = {
        {CURLE_UNSUPPORTED_PROTOCOL, HTTP_BAD_REQUEST},     {CURLE_URL_MALFORMAT, HTTP_BAD_REQUEST},
        {CURLE_SSL_CERTPROBLEM, HTTP_TLS_REFUSED},          {CURLE_SSL_CIPHER, HTTP_TLS_REFUSED},
        {CURLE_PEER_FAILED_VERIFICATION, HTTP_TLS_REFUSED}, {CURLE_SSL_ENGINE_INITFAILED, HTTP_TLS_REFUSED},
        {CURLE_SSL_CACERT_BADFILE, HTTP_TLS_REFUSED},       {CURLE_SSL_ISSUER_ERROR, HTTP_TLS_REFUSED},
        {CURLE_SSL_PINNEDPUBKEYNOTMATCH, HTTP_TLS_REFUSED}, {CURLE_SSL_INVALIDCERTSTATUS, HTTP_TLS_REFUSED},
        {CURLE_USE_SSL_FAILED, HTTP_TLS_REFUSED},           {CURLE_LOGIN_DENIED, HTTP_TLS_REFUSED},
    };
    for (size_t i = 0; i < sizeof FATES / sizeof FATES[0]; i++)
        if (FATES[i].rc == rc)
            return FATES[i].fate;
    return HTTP_NOT_SENT;
}

/* Whether anything has left us decides before libcurl's number does: an answer that is no HTTP ends with the
 * same number as a bad URL, and a connect that fails may be the second attempt. */
static enum http_fate fate_of(const struct transfer *t, CURLcode rc)
{
    if (rc == CURLE_OK || (rc == CURLE_WRITE_ERROR && t->answer_cut))
        return HTTP_ANSWERED;
    return http_has_left(t) ? HTTP_UNCERTAIN : http_fate_unsent(rc);
}

double http_stage_ms(CURL *easy, CURLINFO stage)
{
    curl_off_t us = 0;
    curl_easy_getinfo(easy, stage, &us);
    return us > 0 ? (double)us / 1000.0 : -1;
}

static int64_t retry_after_ms(const char *value)
{
    static const int64_t LONGEST_S = INT64_MAX / 1000;
    if (value == NULL)
        return -1;
    size_t digits = strspn(value, "0123456789");
    if (digits > 0 && value[digits] == '\0') {
        long long seconds = strtoll(value, NULL, 10); /* LLONG_MAX when too large */
        return (seconds < LONGEST_S ? seconds : LONGEST_S) * 1000;
    }
    time_t at = isalpha((unsigned char)value[0]) ? curl_getdate(value, NULL) : -1;
    if (at == -1)
        return -1;
    int64_t wait_ms = (int64_t)at * 1000 - clock_wall_ms();
    return wait_ms > 0 ? wait_ms : 0;
}

static void take_answer(struct http_result *r, struct transfer *t)
{
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    r->status = (int)status;
    r->body = buf_str(&t->answer);
    r->body_len = t->answer.len;
    r->body_cut = t->answer_cut;
    r->retry_after_ms = retry_after_ms(http_result_header(r, "Retry-After"));
}

struct http_result http_result_of(struct transfer *t, CURLcode rc)
{
    struct http_result r = {
        .fate = fate_of(t, rc),
        .transport_code = (int)rc,
        .text = "",
        .body = "",
        .retry_after_ms = -1,
        .opaque = t->easy,
        /* sent_ms is when the request began to leave: this libcurl knows no later moment */
        .timing = {.name_ms = http_stage_ms(t->easy, CURLINFO_NAMELOOKUP_TIME_T),
                   .connect_ms = http_stage_ms(t->easy, CURLINFO_CONNECT_TIME_T),
                   .tls_ms = http_stage_ms(t->easy, CURLINFO_APPCONNECT_TIME_T),
                   .sent_ms = http_stage_ms(t->easy, CURLINFO_PRETRANSFER_TIME_T),
                   .first_byte_ms =
                       t->first_byte_us > 0 ? (double)(t->first_byte_us - t->started_us) / 1000.0 : -1,
                   /* by the same clock as the first byte: libcurl's starts a little later */
                   .total_ms = (double)(clock_mono_us() - t->started_us) / 1000.0},
    };
    long connects = 0;
    curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &connects);
    r.connection_reused = connects == 0 && http_has_left(t);
    if (r.fate == HTTP_ANSWERED) {
        take_answer(&r, t);
        return r;
    }
    r.blocked = t->blocked && r.fate == HTTP_NOT_SENT;
    r.text = t->text[0] != '\0' ? t->text : curl_easy_strerror(rc);
    return r;
}

const char *http_result_header(const struct http_result *r, const char *name)
{
    struct curl_header *header;
    CURL *easy = (CURL *)r->opaque; /* only read, but libcurl has no const */
    if (easy == NULL)
        return NULL;
    return curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK ? header->value : NULL;
}
