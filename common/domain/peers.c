/* Connection settings out of the configuration. */
#include "domain/peers.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/backoff.h"
#include "base/log.h"

static const char *or_null(const char *s)
{
    return s && s[0] ? s : NULL;
}

struct broker_settings peers_broker_settings(const struct config *c, const char *name)
{
    return (struct broker_settings){
        .hosts = c->rabbitmq.hosts,
        .host_count = c->rabbitmq.host_count,
        .user = c->rabbitmq.user,
        .password = c->rabbitmq.password,
        .vhost = c->rabbitmq.vhost,
        .tls = c->rabbitmq.tls,
        .ca_file = or_null(c->rabbitmq.ca_file),
        .cert_file = or_null(c->rabbitmq.cert_file),
        .key_file = or_null(c->rabbitmq.key_file),
        .heartbeat_s = (int)c->rabbitmq.heartbeat_s,
        .connect_timeout_ms = c->rabbitmq.connect_timeout_ms,
        .connection_name = name,
        .confirm_timeout_ms = c->publisher.confirm_timeout_ms,
        .max_body_bytes = MESSAGE_MAX_BYTES,
    };
}

struct db_settings peers_db_settings(const struct config *c, const char *name)
{
    return (struct db_settings){
        .url = c->database.url,
        .connect_timeout_ms = c->database.connect_timeout_ms,
        .statement_timeout_ms = c->database.statement_timeout_ms,
        .application_name = name,
        .keeps_session = c->database.listen,
    };
}

struct db_result *peers_ask(struct db_session *db, const char *sql, const struct db_params *p, struct err *e)
{
    struct err why = {.class = ERR_NONE};
    struct db_result *r = db_session_query(db, sql, p, &why);

    if (r)
        return r;
    if (why.class == ERR_CONFIG)
        err_set(e, ERR_CONFIG, why.code, "%s: run agwb-publisher migrate?", why.text);
    else
        err_set(e, why.class == ERR_TEMPORARY ? ERR_UNAVAILABLE : why.class, why.code, "%s", why.text);
    return NULL;
}

void peers_owner(const char *program, char out[PEERS_OWNER_SIZE])
{
    char host[64] = "";

    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    snprintf(out, PEERS_OWNER_SIZE, "%s:%.63s:%ld:%08" PRIx32, program, host, (long)getpid(),
             (uint32_t)random_u64());
}

void peers_log_lost(const char *peer, const struct err *why)
{
    log_warn("connection lost or not reached, reconnecting", log_str("peer", peer),
             log_str("reason", why->text));
}

void peers_reason(struct buf *why, bool applies, const char *text)
{
    if (!applies)
        return;
    if (why->len > 0)
        buf_add_str(why, "; ");
    buf_add_str(why, text);
}
