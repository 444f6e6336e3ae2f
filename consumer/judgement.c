/* Asks the chain, then the retry policy, and puts their answers into words. */
#include "consumer/judgement.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"

/* Only what fails for good has to go another way. */
static enum chain_answer ask_chain(const struct judgement *j, struct delivery_way *next)
{
    const struct channel_verdict *v = j->verdict;

    if (v->outcome != OUTCOME_PERMFAIL && v->outcome != OUTCOME_TEMPFAIL)
        return CHAIN_ENDS;
    return chain_next(j->config, j->way, j->contact, v->block, next);
}

enum { SHORTEST_SECRET = 6 };

/* How much of the text is the secret, whose digits may have been masked as a number's, or its beginning where
 * the text was cut; 0 = it is something else. */
static size_t secret_length(const char *text, const char *secret)
{
    size_t n = 0;

    while (text[n] && secret[n] && (text[n] == secret[n] || text[n] == '*'))
        n++;
    return secret[n] == '\0' || (text[n] == '\0' && n >= SHORTEST_SECRET) ? n : 0;
}

/* A provider that quotes our credentials in its refusal must not bring them into the logs and the ledger. */
static void hide(char *text, const char *secret)
{
    if (!secret || strlen(secret) < SHORTEST_SECRET)
        return;
    for (; *text; text++)
        memset(text, '*', secret_length(text, secret));
}

static void hide_secrets(const struct config_account *a, struct settlement *s)
{
    if (!a)
        return;
    hide(s->detail, a->token);
    hide(s->detail, a->password);
    hide(s->detail, a->webhook_secret);
}

static void add_next(struct settlement *s)
{
    size_t used = strlen(s->detail);

    snprintf(s->detail + used, sizeof s->detail - used, "%s(next: %s)", used > 0 ? " " : "",
             chain_step_name(&s->next));
}

static void write_words(const struct judgement *j, struct settlement *s)
{
    const struct channel_verdict *v = j->verdict;

    str_copy(s->provider_id, sizeof s->provider_id, v->provider_id);
    str_copy(s->provider_code, sizeof s->provider_code, v->provider_code);
    str_copy(s->detail, sizeof s->detail, v->detail);
    hide_secrets(config_account_find(j->config, j->way->account), s);
    if (s->disposition.kind == DISPOSITION_NEXT)
        add_next(s);
    if (v->outcome != OUTCOME_DELIVERED)
        snprintf(s->reason, sizeof s->reason, "%s %s%s%s", outcome_name(s->outcome), s->provider_code,
                 s->detail[0] ? ": " : "", s->detail);
}

static void call_operator(const struct judgement *j, const struct settlement *s)
{
    if (j->verdict->needs_operator)
        alerts_raise(j->alerts,
                     &(struct alert){.kind = ALERT_ATTENTION,
                                     .about = j->way->account,
                                     .text = "a message failed for a reason that an operator must look at",
                                     .details = {{"messageId", s->message_id},
                                                 {"code", s->provider_code},
                                                 {"detail", s->detail}}});
    if (s->opted_out)
        log_warn("the contact wants no messages, says the provider: opted out",
                 log_str("messageId", s->message_id), log_str("account", j->way->account),
                 log_str("code", s->provider_code));
}

void judgement_pass(const struct judgement *j, struct settlement *s)
{
    const struct channel_verdict *v = j->verdict;
    enum chain_answer answer = ask_chain(j, &s->next);
    struct disposition_input in = {.outcome = v->outcome,
                                   .attempts = j->attempts,
                                   .tries = v->tries,
                                   .has_more = j->has_more,
                                   .has_next = answer == CHAIN_GOES_ON,
                                   .retry_after_ms = v->retry_after_ms,
                                   .account_down = j->account_down,
                                   .ladder = &j->config->retry.delivery,
                                   .uncertain_wait_ms = j->config->consumer.uncertain_wait_ms,
                                   .random = random_u64()};

    s->outcome = v->outcome;
    s->disposition = disposition_decide(&in);
    s->opted_out = v->outcome == OUTCOME_PERMFAIL && v->block == BLOCK_OPTED_OUT && answer == CHAIN_ENDS;
    write_words(j, s);
    call_operator(j, s);
}
