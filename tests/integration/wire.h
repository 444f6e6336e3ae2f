/* The test as the agent, or as anyone else on the broker: takes messages, publishes replies, counts. */
#ifndef AGWB_TESTS_WIRE_H
#define AGWB_TESTS_WIRE_H

#include "pair.h"

struct wire_message {
    char id[256];
    char reason[64], error[512];          /* headers agwb-reason, agwb-error; "" when there are none */
    char dead_queue[64], dead_reason[64]; /* newest x-death */
    struct buf body;
    struct json *json; /* NULL when the body is none */
};
void wire_free(struct wire_message *m);
/* A member's text by its path, "" when it is no string. */
const char *wire_text(const struct wire_message *m, const char *path);

/* Takes and acks the queue's next message: false when there is none now. */
bool wire_try_take(struct pair *p, const char *queue, struct wire_message *m);
void wire_take(struct pair *p, const char *queue, struct wire_message *m); /* waits for one */
uint32_t wire_count(struct pair *p, const char *queue); /* ready messages; the queue must exist */
/* Publishes with a confirm; the test fails without one. message_id may be NULL. */
void wire_publish(struct pair *p, const char *queue, const char *message_id, const char *body);
/* After the broker was away: the next call opens a new session. */
void wire_forget(struct pair *p);

/* A reply of the agent with the specification's members; static memory. original: a job's id. */
const char *wire_reply(const char *message_id, const char *original, const char *number, const char *text);
/* wire_reply to contact n's number, published to wb_queue. */
void wire_answer(struct pair *p, const char *message_id, const char *original, int contact, const char *text);
/* A job of contact n that counts as published, and its wire_answer. The job's id; lives as sql_text's. */
const char *wire_answer_job(struct pair *p, const char *message_id, int contact, const char *text);

/* Plays the agent for one request: takes it from ag_queue, publishes the answer ("answer to TEXT", id
 * "re-REQUEST", always the same bytes for a request), acks it. True when there was one; a broker that is away
 * is no fault here. */
bool wire_agent_step(struct pair *p);
void wire_agent_all(struct pair *p); /* until there is none */

/* Runs tests/integration/amqp.py, an AMQP client of another make, with these arguments; its output is JSON.
 * The test fails when it does. Freed by json_free. */
struct json *wire_python(struct pair *p, const char *const *args);

#endif
