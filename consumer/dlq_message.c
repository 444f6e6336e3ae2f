/* Reads a dead letter. The body counts more than the envelope: its messageId is the ledger's key, and its
 * timestamp says how old the words are, whereas the copy's properties are of the day it was parked. */
#include "consumer/dlq_message.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/utf8.h"
#include "base/uuid.h"
#include "consumer/parking.h"

static const char *header_text(const struct broker_delivery *d, const char *name)
{
    for (size_t i = 0; i < d->header_count; i++) {
        if (strcmp(d->headers[i].name, name) == 0)
            return d->headers[i].str;
    }
    return NULL;
}

static int64_t header_int(const struct broker_delivery *d, const char *name, int64_t fallback)
{
    for (size_t i = 0; i < d->header_count; i++) {
        if (strcmp(d->headers[i].name, name) == 0 && !d->headers[i].str)
            return d->headers[i].i;
    }
    return fallback;
}

static const char *usable_id(const char *id)
{
    return id && id[0] && strlen(id) <= DLQ_ID_MAX && is_utf8(id, strlen(id)) ? id : NULL;
}

static void read_contact(struct dlq_message *m, const char *phone, const char *jid, struct arena *a)
{
    char number[CONTACT_E164_MAX + 1];

    if (jid && jid[0])
        m->jid = arena_strdup(a, jid);
    if ((phone && contact_normalise_number(phone, number)) || (jid && contact_number_from_jid(jid, number)))
        m->number = arena_strdup(a, number);
}

/* Unix milliseconds; 0 when the body has no time. Below 1e11 it is in seconds. */
static int64_t body_time(const struct json_node *root)
{
    static const int64_t FIRST_MILLISECOND = 100000000000;
    int64_t t;

    if (!json_int(json_member(root, "timestamp"), &t) || t <= 0)
        return 0;
    return t < FIRST_MILLISECOND ? t * 1000 : t;
}

/* Returns the body's own time. */
static int64_t read_body(struct dlq_message *m, const struct broker_delivery *d, struct arena *a)
{
    struct err ignored;
    struct json *doc = d->body ? json_parse(d->body, d->body_len, &ignored) : NULL;
    const struct json_node *root;
    int64_t time_ms;

    if (!doc)
        return 0;
    root = json_root(doc);
    m->id = arena_strdup(a, usable_id(json_str(json_member(root, "messageId"))));
    m->original_id = arena_strdup(a, usable_id(json_str(json_member(root, "originalMessageId"))));
    m->workspace = arena_strdup(a, json_str(json_member(root, "workspaceId")));
    read_contact(m, json_str(json_path(root, "contact.phoneNumber")),
                 json_str(json_path(root, "contact.remoteJid")), a);
    time_ms = body_time(root);
    json_free(&doc);
    return time_ms;
}

static void identify(struct dlq_message *m, const struct broker_delivery *d, struct arena *a)
{
    static const char NAMESPACE[] = "6ba7b812-9dad-11d1-80b4-00c04fd430c8"; /* RFC 9562: ISO OID */
    char hashed[sizeof "body-" + UUID_TEXT_LEN] = "body-";

    if (!m->id)
        m->id = arena_strdup(a, usable_id(d->message_id));
    if (m->id)
        return;
    uuid_v5(NAMESPACE, d->body ? d->body : "", d->body ? d->body_len : 0, hashed + strlen("body-"));
    m->id = arena_strdup(a, hashed);
}

void dlq_message_read(struct dlq_message *m, const struct dlq_queue *q, const struct broker_delivery *d,
                      int64_t wall_ms, struct arena *a)
{
    const char *death = header_text(d, "agwb-death");
    int64_t born_ms;

    *m = (struct dlq_message){.queue = q,
                              .delivery = d,
                              .delivery_tag = d->delivery_tag,
                              .reason = arena_strdup(a, header_text(d, "agwb-reason")),
                              .detail = arena_strdup(a, header_text(d, "agwb-error")),
                              .death = arena_strdup(a, death ? death : d->death.reason),
                              .traceparent = arena_strdup(a, header_text(d, "traceparent")),
                              .age_ms = -1,
                              .attempts = header_int(d, "agwb-attempts", -1),
                              .delivery_count = header_int(d, "x-delivery-count", 0)};
    born_ms = read_body(m, d, a);
    identify(m, d, a);
    if (born_ms == 0)
        born_ms = header_int(d, "agwb-first-seen", 0);
    if (born_ms <= 0)
        born_ms = d->timestamp * 1000;
    if (born_ms > 0)
        m->age_ms = wall_ms > born_ms ? wall_ms - born_ms : 0;
}

static bool asks_contact(const struct dlq_filter *f)
{
    return f->jid || f->number[0];
}

bool dlq_message_needs_facts(const struct dlq_message *m, const struct dlq_filter *f)
{
    return (asks_contact(f) && !m->number && !m->jid) || (f->workspace && !m->workspace);
}

void dlq_message_add_facts(struct dlq_message *m, const char *address, const char *workspace, struct arena *a)
{
    if (!m->number && !m->jid && address && address[0])
        read_contact(m, address, contact_jid_kind_of(address) != CONTACT_JID_NONE ? address : NULL, a);
    if (!m->workspace && workspace && workspace[0])
        m->workspace = arena_strdup(a, workspace);
}

static bool is_equal(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static bool contact_matches(const struct dlq_message *m, const struct dlq_filter *f)
{
    if (!asks_contact(f))
        return true;
    return f->number[0] ? is_equal(m->number, f->number) : is_equal(m->jid, f->jid);
}

/* A message of unknown age is neither young nor old enough. */
static bool age_matches(const struct dlq_message *m, const struct dlq_filter *f)
{
    if (f->min_age_ms < 0 && f->max_age_ms < 0)
        return true;
    return m->age_ms >= 0 && (f->min_age_ms < 0 || m->age_ms >= f->min_age_ms) &&
           (f->max_age_ms < 0 || m->age_ms <= f->max_age_ms);
}

bool dlq_message_matches(const struct dlq_message *m, const struct dlq_filter *f)
{
    if (f->reason && !is_equal(m->reason, f->reason) && !is_equal(m->death, f->reason))
        return false;
    if (f->message_id && !is_equal(m->id, f->message_id) && !is_equal(m->delivery->message_id, f->message_id))
        return false;
    if (f->workspace && (!m->workspace || strcasecmp(m->workspace, f->workspace) != 0))
        return false;
    return contact_matches(m, f) && age_matches(m, f);
}

bool dlq_message_is_stale(const struct dlq_message *m, const struct dlq_filter *f)
{
    bool is_expired = is_equal(m->death, "expired") || is_equal(m->reason, parking_reason_name(PARKING_LATE));

    return m->queue->side == DLQ_REPLIES && is_expired && f->max_age_ms < 0 &&
           (m->age_ms < 0 || m->age_ms > DLQ_EXPIRED_MAX_AGE_MS);
}
