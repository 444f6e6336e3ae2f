/* Every row of the providers' error tables: what an answer or a receipt means, and what is done about it. */
#include "tests/unit/outcome_rows.h"

#include "consumer/disposition.h"

static struct outcome_rows rows;

static const struct config_retry LADDER = {
    .tries = 4, .backoff = {.delay_ms = 30000, .multiplier = 2, .max_delay_ms = 3600000, .jitter = 0}};

static const char *disposition_of(enum outcome outcome, const struct channel_verdict *v, int attempts)
{
    struct disposition_input in = {.outcome = outcome,
                                   .attempts = attempts,
                                   .tries = v->tries,
                                   .retry_after_ms = v->retry_after_ms,
                                   .ladder = &LADDER,
                                   .uncertain_wait_ms = 120000};

    return disposition_name(disposition_decide(&in).kind);
}

static void check_words(const char *name, int line, const char *what, const char *is, const char *expected)
{
    if (strcmp(is, expected) != 0)
        fail_msg("%s.tsv:%d: %s is %s, expected %s", name, line, what, is, expected);
}

static void check_number(const char *name, int line, const char *what, int64_t is, int64_t expected)
{
    if (is != expected)
        fail_msg("%s.tsv:%d: %s is %lld, expected %lld", name, line, what, (long long)is,
                 (long long)expected);
}

/* counted_as: the outcome that is acted upon. */
static void check_verdict(const char *name, const struct outcome_row *row, const struct channel_verdict *v,
                          enum outcome counted_as)
{
    int line = row->line, tries = row->tries ? row->tries : LADDER.tries;

    check_words(name, line, "outcome", outcome_name(v->outcome), outcome_name(row->outcome));
    check_words(name, line, "code", v->provider_code, row->code);
    check_number(name, line, "wait", v->retry_after_ms, row->wait_ms);
    check_number(name, line, "block", v->block, row->block);
    check_number(name, line, "account_works", v->account_works, row->account_works);
    check_number(name, line, "needs_operator", v->needs_operator, row->needs_operator);
    check_number(name, line, "tries", v->tries, row->tries);
    check_words(name, line, "first", disposition_of(counted_as, v, 1), row->first);
    check_words(name, line, "last", disposition_of(counted_as, v, tries), row->last);
}

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void check_answers(const char *name)
{
    outcome_rows_read(name, &rows);
    for (size_t i = 0; i < rows.count; i++) {
        const struct outcome_row *row = &rows.rows[i];
        const char *header = strchr(row->http, ' ');
        struct http_result r = {.fate = HTTP_ANSWERED,
                                .status = (int)strtol(row->http, NULL, 10),
                                .text = "",
                                .body = row->body,
                                .body_len = strlen(row->body),
                                .retry_after_ms = -1};
        struct channel_verdict v;
        if (header && !has_prefix(header, " Retry-After: "))
            continue; /* only a real answer has headers */
        if (header)
            r.retry_after_ms = strtoll(strchr(header, ':') + 1, NULL, 10) * 1000;
        channel_judge(channel_find(name), &r, &v);
        check_verdict(name, row, &v, v.outcome);
    }
}

static void test_outcomes_of_answers(void **state)
{
    static const char *const NAMES[] = {"sms_gateway", "twilio", "wasender", "whatsapp_cloud", "whatsapp_qr"};

    (void)state;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        check_answers(NAMES[i]);
}

static void test_outcomes_of_receipts(void **state)
{
    static const char *const NAMES[] = {"twilio", "wasender", "whatsapp_cloud", "whatsapp_qr"};
    struct channel_verdict v;
    char file[64];

    (void)state;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        snprintf(file, sizeof file, "%s.receipts", NAMES[i]);
        outcome_rows_read(file, &rows);
        for (size_t j = 0; j < rows.count; j++) {
            channel_judge_receipt(channel_find(NAMES[i]), rows.rows[j].body, rows.rows[j].http, &v);
            check_verdict(file, &rows.rows[j], &v, outcome_of_receipt(v.outcome));
        }
    }
}

static enum http_fate fate_named(const char *name)
{
    static const enum http_fate FATES[] = {HTTP_ANSWERED, HTTP_NOT_SENT, HTTP_UNCERTAIN, HTTP_TLS_REFUSED,
                                           HTTP_BAD_REQUEST};

    for (size_t i = 0; i < sizeof FATES / sizeof FATES[0]; i++) {
        if (strcmp(http_fate_name(FATES[i]), name) == 0)
            return FATES[i];
    }
    return HTTP_ANSWERED; /* the code is a status */
}

/* The same for each provider; but an answer that was cut, since one of them takes any 2xx for a yes. */
static void test_outcomes_of_no_answer(void **state)
{
    (void)state;
    outcome_rows_read("transport", &rows);
    for (const struct channel_provider *const *p = CHANNEL_PROVIDERS; *p; p++) {
        for (size_t i = 0; i < rows.count; i++) {
            enum http_fate fate = fate_named(rows.rows[i].code);
            struct http_result r = {.fate = fate, .text = "words", .body = "", .retry_after_ms = -1};
            struct channel_verdict v;
            if (fate == HTTP_ANSWERED)
                continue;
            channel_judge(*p, &r, &v);
            check_verdict("transport", &rows.rows[i], &v, v.outcome);
        }
    }
}

/* A code and words as no table has them. */
static void test_outcomes_of_odd_receipts(void **state)
{
    static const char *const CODES[] = {"", "-131026", "131026x", "99999999999999999999"};
    struct channel_verdict v;

    (void)state;
    for (const struct channel_provider *const *p = CHANNEL_PROVIDERS; *p; p++) {
        for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
            channel_judge_receipt(*p, CODES[i], NULL, &v);
            assert_int_equal(v.outcome, OUTCOME_PERMFAIL);
            assert_int_equal(v.block, BLOCK_NONE);
            assert_int_equal(v.retry_after_ms, -1);
            assert_string_equal(v.provider_code, CODES[i][0] ? CODES[i] : "failed");
        }
    }
    channel_judge_receipt(&CHANNEL_WHATSAPP_CLOUD, " 131026\n\xc3\xa9", NULL, &v);
    assert_int_equal(v.block, BLOCK_NONE);
    assert_string_equal(v.provider_code, "?131026???");
    channel_judge_receipt(&CHANNEL_WHATSAPP_CLOUD, NULL, NULL, &v);
    assert_string_equal(v.provider_code, "failed");
    assert_string_equal(v.detail, "");
    channel_judge_receipt(&CHANNEL_WHATSAPP_CLOUD, "131047", NULL, &v);
    assert_string_equal(v.detail, "more than 24 hours since the user's last message");
    channel_judge_receipt(&CHANNEL_WHATSAPP_CLOUD, "131047", "to 12025550143\n", &v);
    assert_string_equal(v.detail, "to ********143 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outcomes_of_answers),
        cmocka_unit_test(test_outcomes_of_receipts),
        cmocka_unit_test(test_outcomes_of_no_answer),
        cmocka_unit_test(test_outcomes_of_odd_receipts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
