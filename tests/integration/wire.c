/* See wire.h. */
#include "wire.h"

#include "rows.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/message.h"

enum { CONFIRM_TIMEOUT_MS = 20000, BODY_MAX = 1 << 20 };

static struct broker_session *open_session(struct pair *p, struct err *e)
{
    const char *host = sandbox_value("AGWB_TEST_AMQP");
    struct broker_settings settings = {.hosts = &host,
                                       .host_count = 1,
                                       .user = "guest",
                                       .password = "guest",
                                       .vhost = p->vhost,
                                       .connect_timeout_ms = 10000,
                                       .connection_name = "test",
                                       .max_body_bytes = BODY_MAX};
    if (p->amqp == NULL)
        p->amqp = broker_session_open(&settings, e);
    return p->amqp;
}

static struct broker_session *session(struct pair *p)
{
    struct err e = {.class = ERR_NONE};
    if (open_session(p, &e) == NULL)
        fail_msg("%s", e.text);
    return p->amqp;
}

void wire_forget(struct pair *p)
{
    broker_session_close(&p->amqp);
}

void wire_free(struct wire_message *m)
{
    buf_fini(&m->body);
    json_free(&m->json);
}

const char *wire_text(const struct wire_message *m, const char *path)
{
    const char *text = m->json != NULL ? json_str(json_path(json_root(m->json), path)) : NULL;
    return text != NULL ? text : "";
}

static void copy_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
}

static void copy_message(struct wire_message *m, const struct broker_delivery *d)
{
    struct err ignored;

    *m = (struct wire_message){0};
    copy_text(m->id, sizeof m->id, d->message_id);
    copy_text(m->dead_queue, sizeof m->dead_queue, d->death.queue);
    copy_text(m->dead_reason, sizeof m->dead_reason, d->death.reason);
    for (size_t i = 0; i < d->header_count; i++) {
        if (strcmp(d->headers[i].name, "agwb-reason") == 0)
            copy_text(m->reason, sizeof m->reason, d->headers[i].str);
        if (strcmp(d->headers[i].name, "agwb-error") == 0)
            copy_text(m->error, sizeof m->error, d->headers[i].str);
    }
    buf_init(&m->body, BODY_MAX + 1);
    buf_add(&m->body, d->body, d->body_len);
    m->json = json_parse(d->body, d->body_len, &ignored);
}

bool wire_try_take(struct pair *p, const char *queue, struct wire_message *m)
{
    struct err e = {.class = ERR_NONE};
    struct broker_delivery d;
    int got = broker_session_get(session(p), queue, &d, &e);
    if (got == 1) {
        copy_message(m, &d);
        got = broker_session_ack(p->amqp, d.delivery_tag, &e) == 0 ? 1 : -1;
    }
    if (got < 0)
        fail_msg("%s: %s", queue, e.text);
    return got == 1;
}

void wire_take(struct pair *p, const char *queue, struct wire_message *m)
{
    WAIT_UNTIL(wire_try_take(p, queue, m));
}

uint32_t wire_count(struct pair *p, const char *queue)
{
    struct err e = {.class = ERR_NONE};
    uint32_t count = 0;
    if (broker_session_count(session(p), queue, &count, &e) != 0)
        fail_msg("%s", e.text);
    return count;
}

static int publish(struct broker_session *s, const char *queue, const char *message_id, const char *body,
                   struct err *e)
{
    struct broker_message m = {.exchange = "",
                               .routing_key = queue,
                               .body = body,
                               .body_len = strlen(body),
                               .message_id = message_id,
                               .content_type = "application/json",
                               .expiration_ms = -1};
    return broker_session_publish(s, &m, CONFIRM_TIMEOUT_MS, e);
}

void wire_publish(struct pair *p, const char *queue, const char *message_id, const char *body)
{
    struct err e = {.class = ERR_NONE};
    if (publish(session(p), queue, message_id, body, &e) != 0)
        fail_msg("%s: %s", queue, e.text);
}

const char *wire_reply(const char *message_id, const char *original, const char *number, const char *text)
{
    static char body[4096];
    snprintf(
        body, sizeof body,
        "{\"messageId\":\"%s\",\"originalMessageId\":\"%s\",\"timestamp\":1790000000,\"status\":\"success\","
        "\"contact\":{\"remoteJid\":\"%s@s.whatsapp.net\",\"phoneNumber\":\"%s\",\"name\":\"Contact\"},"
        "\"response\":{\"text\":\"%s\",\"type\":\"text\",\"attachments\":[]},"
        "\"agentMetadata\":{\"toolsUsed\":[\"database_query\"],\"reasoningSteps\":[],\"processingTime\":0.5,"
        "\"tokensUsed\":150}}",
        message_id, original, number + 1, number, text);
    return body;
}

void wire_answer(struct pair *p, const char *message_id, const char *original, int contact, const char *text)
{
    char number[32];
    snprintf(number, sizeof number, "+1202555%04d", 100 + contact);
    wire_publish(p, "wb_queue", message_id, wire_reply(message_id, original, number, text));
}

/* --- the agent --- */

/* 1: answered and acked, 0: no request, -1: the broker is away. */
static int answer_one(struct broker_session *s, struct err *e)
{
    struct broker_delivery d;
    struct wire_message request;
    char id[64], text[512];
    int rc = broker_session_get(s, "ag_queue", &d, e);

    if (rc != 1)
        return rc;
    copy_message(&request, &d);
    assert_non_null(request.json);
    snprintf(id, sizeof id, "re-%s", wire_text(&request, "messageId"));
    snprintf(text, sizeof text, "answer to %s", wire_text(&request, "message.text"));
    const char *reply =
        wire_reply(id, wire_text(&request, "messageId"), wire_text(&request, "contact.phoneNumber"), text);
    if (publish(s, "wb_queue", id, reply, e) != 0 || broker_session_ack(s, d.delivery_tag, e) != 0)
        rc = -1;
    wire_free(&request);
    return rc;
}

const char *wire_answer_job(struct pair *p, const char *message_id, int contact, const char *text)
{
    const char *job = job_add(p, contact, "a question");
    sql_run(p,
            "update ai_response_queue set status = 'processing', attempts = 1, published_at = now() where id "
            "= '%s'",
            job);
    wire_answer(p, message_id, job, contact, text);
    return job;
}

bool wire_agent_step(struct pair *p)
{
    struct err e = {.class = ERR_NONE};
    int rc = open_session(p, &e) != NULL ? answer_one(p->amqp, &e) : -1;
    if (rc < 0)
        wire_forget(p);
    return rc == 1;
}

void wire_agent_all(struct pair *p)
{
    while (wire_agent_step(p))
        ;
}

/* --- another client --- */

struct json *wire_python(struct pair *p, const char *const *args)
{
    char script[PATH_MAX + 64];
    const char *argv[PROCESS_MAX_ARGS] = {"/usr/bin/python3", script, sandbox_value("AGWB_TEST_AMQP"),
                                          p->vhost};
    struct process python;
    struct buf out;
    struct err e;

    if (realpath("tests/integration/amqp.py", script) == NULL)
        fail_msg("run this in the project's folder");
    for (size_t i = 0; args[i] != NULL; i++)
        argv[i + 4] = args[i];
    process_start(&python, p->dir, "python", argv);
    if (process_wait(&python) != 0) {
        file_show_end(python.log);
        fail_msg("amqp.py %s failed", args[0]);
    }
    file_read(python.out, &out);
    struct json *json = json_parse(out.data != NULL ? out.data : "", out.len, &e);
    if (json == NULL)
        fail_msg("amqp.py %s: %s", args[0], e.text);
    buf_fini(&out);
    return json;
}
