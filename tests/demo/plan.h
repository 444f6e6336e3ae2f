/* The traffic of a demo of N messages, made up from N alone: who writes what and when, and what has to become
 * of it. Pure, so that the player and the checker need not tell each other anything. */
#ifndef AGWB_TESTS_DEMO_PLAN_H
#define AGWB_TESTS_DEMO_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/uuid.h"
#include "domain/message.h"

enum { PLAN_MIN = 10, PLAN_MAX = 100000, PLAN_WORKSPACES = 3, PLAN_TEXT_SIZE = 160, PLAN_HISTORY_MAX = 10 };

struct plan {
    size_t inbound_count, customer_count;
};
void plan_init(struct plan *p, size_t inbound_count); /* PLAN_MIN..PLAN_MAX */

struct plan_workspace {
    char id[UUID_TEXT_LEN + 1];
    const char *name;
};
void plan_workspace(size_t n, struct plan_workspace *w);

struct plan_customer {
    char id[UUID_TEXT_LEN + 1], conversation_id[UUID_TEXT_LEN + 1];
    size_t workspace;
    char name[48];
    char number[17];      /* E.164 */
    char jid[40];         /* "" = none */
    bool has_number;      /* else the table knows the JID only */
    enum channel channel; /* of the conversation */
    bool ai_enabled;
    const char *notes;    /* NULL = none */
    const char *provider; /* who carries what they write and get: as in webhook_inbox */
    size_t history_count; /* earlier messages: 0..PLAN_HISTORY_MAX, the customer's and the AI's in turn */
};
void plan_customer(size_t n, struct plan_customer *c);
/* The n-th of the earlier messages; even ones are the customer's. */
void plan_history_text(const struct plan_customer *c, size_t n, char text[PLAN_TEXT_SIZE]);

/* How a message comes in. */
enum plan_door {
    PLAN_BACKEND = 0, /* a backend of the customer's inserts the message and its job */
    PLAN_WEBHOOK,     /* the provider's webhook, as it is, goes into webhook_inbox */
};

enum plan_fate {
    PLAN_REPLIED = 0,
    PLAN_REFUSED, /* the sender's AI is off */
    PLAN_FAILED,  /* the agent fails on it; the sender gets the fallback. Exactly one of a plan */
};
/* What a broken agent might put on wb_queue; nobody's reply. */
#define PLAN_MALFORMED                                                                                       \
    "{\"messageId\":\"demo-malformed\",\"status\":\"success\",\"response\":{\"text\":\"Good news, your"
#define PLAN_WEBHOOK_SECRET "demo-secret"
#define PLAN_TWILIO_URL     "https://example.com/webhooks/twilio"
#define PLAN_FALLBACK_TEXT  "I'm having trouble processing your request. Please try again."

struct plan_inbound {
    enum plan_door door;
    char job_id[UUID_TEXT_LEN + 1], message_id[UUID_TEXT_LEN + 1]; /* of the backend's rows */
    size_t customer;
    enum plan_fate fate;
    bool answered_twice; /* the agent sends its reply a second time */
    char text[PLAN_TEXT_SIZE];
    const char *task_type;
    int priority;
    bool is_minimal; /* the job's row names workspace, contact and message only */
};
void plan_inbound(const struct plan *p, size_t n, struct plan_inbound *m);
/* Whose job that is, of those that the backend inserts; false for an id that none of them has. */
bool plan_find_job(const struct plan *p, const char *job_id, size_t *n);
/* Which message has this text, or is quoted in it; false when none is. */
bool plan_find_text(const struct plan *p, const char *text, size_t *n);
/* What its sender has to get, to the byte: the stand-in agent's reply or, when the agent fails, the fallback.
 * A refused one's sender gets nothing. */
void plan_reply_text(const struct plan_inbound *m, const char *job_id, char text[PLAN_TEXT_SIZE + 64]);
/* Whose reply (or fallback) that is. False for any other text. */
bool plan_find_reply(const struct plan *p, const char *text, size_t *n);

size_t plan_expected(const struct plan *p, enum plan_fate fate);

/* When message n comes, in seconds from the beginning, ascending with n: an hour with two rushes, in fast
 * motion. */
double plan_due_s(const struct plan *p, size_t n);
double plan_duration_s(const struct plan *p);

/* The stand-in agent's script: one request that it fails on, one that it answers twice. */
void plan_write_agent_script(const struct plan *p, struct buf *out);

#endif
