/* A connection from its host's name to an open channel, and its end. Everything here that talks to the
 * network blocks within the timeouts it sets (only a name server can hold it longer), so it runs on the
 * worker pool or in commands, never on the loop. */
#include "io/broker_private.h"

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

enum {
    PORT_PLAIN = 5672,
    PORT_TLS = 5671,
    RPC_TIMEOUT_S = 10, /* a quorum queue's declare in a busy cluster takes its time */
    CLOSE_TIMEOUT_S = 2,
    USER_TIMEOUT_MS =
        15000, /* a write to a peer that is gone ends after this, where heartbeats cannot help */
};

#define SYSTEM_CA_FILE "/etc/ssl/certs/ca-certificates.crt"

/* --- the plan --- */

static const char *const *copy_hosts(struct arena *a, const struct broker_settings *s)
{
    const char **hosts = arena_alloc(a, s->host_count * sizeof *hosts);
    for (size_t i = 0; i < s->host_count; i++)
        hosts[i] = arena_strdup(a, s->hosts[i]);
    return hosts;
}

static const struct broker_consume *copy_consumes(struct arena *a, const struct broker_settings *s)
{
    struct broker_consume *consumes = arena_alloc(a, s->consume_count * sizeof *consumes);
    for (size_t i = 0; i < s->consume_count; i++)
        consumes[i] = (struct broker_consume){arena_strdup(a, s->consumes[i].queue), s->consumes[i].prefetch};
    return consumes;
}

static void copy_topology(struct arena *a, struct topology *t)
{
    for (size_t i = 0; i < t->exchange_count; i++)
        t->exchanges[i] = arena_strdup(a, t->exchanges[i]);
    for (size_t i = 0; i < t->queue_count; i++) {
        struct topology_queue *q = &t->queues[i];
        q->name = arena_strdup(a, q->name);
        q->bind_exchange = arena_strdup(a, q->bind_exchange);
        for (size_t n = 0; n < q->arg_count; n++) {
            q->args[n].name = arena_strdup(a, q->args[n].name);
            q->args[n].str = arena_strdup(a, q->args[n].str);
        }
    }
}

struct broker_plan *broker_plan_new(const struct broker_settings *s, struct broker *owner)
{
    struct broker_plan *p = xcalloc(1, sizeof *p);
    struct arena *a = arena_new();
    p->memory = a;
    p->owner = owner;
    p->users = 1;
    p->settings = *s;
    p->settings.hosts = copy_hosts(a, s);
    p->settings.user = arena_strdup(a, s->user);
    p->password = arena_strdup(a, s->password);
    p->settings.password = p->password;
    p->settings.vhost = arena_strdup(a, s->vhost);
    p->settings.ca_file = arena_strdup(a, s->ca_file);
    p->settings.cert_file = arena_strdup(a, s->cert_file);
    p->settings.key_file = arena_strdup(a, s->key_file);
    p->settings.connection_name = arena_strdup(a, s->connection_name);
    p->settings.consumes = copy_consumes(a, s);
    if (s->topology) {
        p->topology = *s->topology;
        copy_topology(a, &p->topology);
        p->settings.topology = &p->topology;
    }
    return p;
}

struct broker_plan *broker_plan_use(struct broker_plan *p)
{
    p->users++;
    return p;
}

void broker_plan_release(struct broker_plan **plan)
{
    struct broker_plan *p = *plan;
    *plan = NULL;
    if (--p->users > 0)
        return;
    if (p->password)
        explicit_bzero(p->password, strlen(p->password));
    arena_free(&p->memory);
    free(p);
}

/* --- errors --- */

/* What a person must mend, as against what passes: a queue's node that is down says 404 too, and a connection
 * limit 530. */
static enum err_class reply_class(int code, const char *text)
{
    switch (code) {
    case AMQP_ACCESS_REFUSED:
    case AMQP_RESOURCE_LOCKED:
    case AMQP_PRECONDITION_FAILED:
    case AMQP_NOT_IMPLEMENTED:
        return ERR_CONFIG;
    case AMQP_NOT_FOUND:
        return strstr(text, "no queue '") || strstr(text, "no exchange '") ? ERR_CONFIG : ERR_TEMPORARY;
    case AMQP_NOT_ALLOWED:
        return strstr(text, "limit") ? ERR_TEMPORARY : ERR_CONFIG;
    default:
        return ERR_TEMPORARY;
    }
}

int broker_close_error(const amqp_method_t *m, const char *what, struct err *e)
{
    int code = 0;
    amqp_bytes_t said = amqp_empty_bytes;
    if (m->id == AMQP_CONNECTION_CLOSE_METHOD) {
        const amqp_connection_close_t *close = m->decoded;
        code = close->reply_code;
        said = close->reply_text;
    } else if (m->id == AMQP_CHANNEL_CLOSE_METHOD) {
        const amqp_channel_close_t *close = m->decoded;
        code = close->reply_code;
        said = close->reply_text;
    }
    char text[BROKER_SHORTSTR_MAX + 1] = "";
    size_t len = said.len < sizeof text ? said.len : sizeof text - 1;
    if (len > 0)
        memcpy(text, said.bytes, len);
    return err_set(e, reply_class(code, text), code, "%s: %d %s", what, code, text);
}

int broker_status_error(int status, const char *what, struct err *e)
{
    return err_set(e, ERR_TEMPORARY, status, "%s: %s", what, amqp_error_string2(status));
}

int broker_check_reply(amqp_rpc_reply_t r, const char *what, struct err *e)
{
    switch (r.reply_type) {
    case AMQP_RESPONSE_NORMAL:
        return 0;
    case AMQP_RESPONSE_SERVER_EXCEPTION:
        return broker_close_error(&r.reply, what, e);
    case AMQP_RESPONSE_LIBRARY_EXCEPTION:
        return broker_status_error(r.library_error, what, e);
    case AMQP_RESPONSE_NONE:
        break;
    }
    return err_set(e, ERR_TEMPORARY, 0, "%s: the connection ended", what);
}

/* --- host, socket, login --- */

static int parse_port(const char *digits, int *port)
{
    char *end;
    long n = strtol(digits, &end, 10);
    if (*digits < '0' || *digits > '9' || *end != '\0' || n < 1 || n > 65535)
        return -1;
    *port = (int)n;
    return 0;
}

int broker_host_parse(const char *text, bool tls, struct broker_host *h, struct err *e)
{
    h->port = tls ? PORT_TLS : PORT_PLAIN;
    const char *name = text, *name_end = text + strlen(text), *port = NULL;
    if (text[0] == '[') {
        name = text + 1;
        name_end = strchr(name, ']');
        if (name_end == NULL || (name_end[1] != '\0' && name_end[1] != ':'))
            goto bad;
        port = name_end[1] == ':' ? name_end + 2 : NULL;
    } else if (strchr(text, ':') &&
               strchr(text, ':') == strrchr(text, ':')) { /* more than one colon: a bare v6 address */
        name_end = strchr(text, ':');
        port = name_end + 1;
    }
    size_t len = (size_t)(name_end - name);
    if (len == 0 || len >= sizeof h->name || (port && parse_port(port, &h->port) != 0))
        goto bad;
    memcpy(h->name, name, len);
    h->name[len] = '\0';
    return 0;
bad:
    return err_set(e, ERR_CONFIG, 0, "rabbitmq.hosts: expected host:port or [v6]:port, found '%s'", text);
}

static struct timeval milliseconds(int64_t ms)
{
    return (struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
}

static bool is_given(const char *s)
{
    return s != NULL && s[0] != '\0';
}

/* rabbitmq-c 0.11 knows no default CAs, so the system's file is named. TLS 1.2 is the least; LATEST does not
 * shut out 1.3. */
static amqp_socket_t *new_tls_socket(amqp_connection_state_t conn, const struct broker_settings *s,
                                     struct err *e)
{
    amqp_socket_t *socket = amqp_ssl_socket_new(conn);
    if (socket == NULL) {
        err_set(e, ERR_TEMPORARY, 0, "no TLS socket");
        return NULL;
    }
    amqp_ssl_socket_set_verify_peer(socket, 1);
    amqp_ssl_socket_set_verify_hostname(socket, 1);
    const char *ca_file = is_given(s->ca_file) ? s->ca_file : SYSTEM_CA_FILE;
    if (amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST) != AMQP_STATUS_OK) {
        err_set(e, ERR_CONFIG, 0, "TLS 1.2 is not available");
        return NULL;
    }
    if (amqp_ssl_socket_set_cacert(socket, ca_file) != AMQP_STATUS_OK) {
        err_set(e, ERR_CONFIG, 0, "rabbitmq.ca_file: no usable certificates in %s", ca_file);
        return NULL;
    }
    if (is_given(s->cert_file) &&
        amqp_ssl_socket_set_key(socket, s->cert_file, s->key_file ? s->key_file : "") != AMQP_STATUS_OK) {
        err_set(e, ERR_CONFIG, 0, "rabbitmq.cert_file, key_file: no usable pair in %s", s->cert_file);
        return NULL;
    }
    return socket;
}

static int open_status_error(int status, struct err *e)
{
    switch (status) {
    case AMQP_STATUS_SSL_PEER_VERIFY_FAILED:
        return err_set(e, ERR_CONFIG, status,
                       "the broker's certificate is not signed by a CA of rabbitmq.ca_file");
    case AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED:
        return err_set(e, ERR_CONFIG, status,
                       "the broker's certificate is for another host name (addresses are not accepted)");
    case AMQP_STATUS_SSL_CONNECTION_FAILED:
        return err_set(e, ERR_TEMPORARY, status, "TLS handshake failed: is this the broker's TLS port?");
    case AMQP_STATUS_SOCKET_ERROR:
        return err_set(e, ERR_TEMPORARY, status, "connection refused or host unreachable");
    default:
        return broker_status_error(status, "connect", e);
    }
}

static int open_socket(amqp_connection_state_t conn, const struct broker_settings *s,
                       const struct broker_host *h, struct err *e)
{
    amqp_socket_t *socket = s->tls ? new_tls_socket(conn, s, e) : amqp_tcp_socket_new(conn);
    if (socket == NULL)
        return s->tls ? -1 : err_set(e, ERR_TEMPORARY, 0, "no socket");
    struct timeval timeout = milliseconds(s->connect_timeout_ms);
    int status = amqp_socket_open_noblock(socket, h->name, h->port, &timeout);
    if (status != AMQP_STATUS_OK)
        return open_status_error(status, e);
    unsigned user_timeout_ms = USER_TIMEOUT_MS;
    setsockopt(amqp_get_sockfd(conn), IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms,
               sizeof user_timeout_ms);
    return 0;
}

static amqp_table_entry_t capability(const char *name)
{
    return (amqp_table_entry_t){.key = amqp_cstring_bytes(name),
                                .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value = {.boolean = 1}}};
}

/* Without these the broker neither says that it blocks us, nor that a consumer is gone, nor why a login
 * failed. */
static int login(amqp_connection_state_t conn, const struct broker_settings *s, int heartbeat_s,
                 struct err *e)
{
    amqp_table_entry_t capabilities[] = {
        capability("authentication_failure_close"), capability("basic.nack"),
        capability("connection.blocked"),           capability("consumer_cancel_notify"),
        capability("publisher_confirms"),
    };
    amqp_table_t capability_table = {(int)(sizeof capabilities / sizeof *capabilities), capabilities};
    const char *name = s->connection_name ? s->connection_name : "agwb";
    amqp_table_entry_t properties[] = {
        {amqp_cstring_bytes("capabilities"),
         {.kind = AMQP_FIELD_KIND_TABLE, .value = {.table = capability_table}}},
        {amqp_cstring_bytes("connection_name"),
         {.kind = AMQP_FIELD_KIND_UTF8, .value = {.bytes = amqp_cstring_bytes(name)}}},
    };
    amqp_table_t property_table = {(int)(sizeof properties / sizeof *properties), properties};
    amqp_rpc_reply_t r = amqp_login_with_properties(conn, s->vhost, AMQP_DEFAULT_MAX_CHANNELS,
                                                    AMQP_DEFAULT_FRAME_SIZE, heartbeat_s, &property_table,
                                                    AMQP_SASL_METHOD_PLAIN, s->user, s->password);
    return broker_check_reply(r, "login", e);
}

amqp_connection_state_t broker_link_open(const struct broker_settings *s, size_t host, int heartbeat_s,
                                         struct err *e)
{
    struct broker_host h;
    if (broker_host_parse(s->hosts[host], s->tls, &h, e) != 0)
        return NULL;
    amqp_connection_state_t conn = amqp_new_connection();
    if (conn == NULL) {
        err_set(e, ERR_TEMPORARY, 0, "no memory for a connection");
        return NULL;
    }
    struct timeval handshake = milliseconds(s->connect_timeout_ms);
    struct timeval rpc = {.tv_sec = RPC_TIMEOUT_S}; /* the library's default is to wait for ever */
    amqp_set_handshake_timeout(conn, &handshake);
    amqp_set_rpc_timeout(conn, &rpc);
    if (open_socket(conn, s, &h, e) != 0 || login(conn, s, heartbeat_s, e) != 0)
        goto failed;
    amqp_channel_open(conn, BROKER_CHANNEL);
    if (broker_check_reply(amqp_get_rpc_reply(conn), "channel", e) != 0)
        goto failed;
    return conn;
failed:
    err_prefix(e, "broker %s", s->hosts[host]);
    broker_link_drop(conn);
    return NULL;
}

void broker_link_close(amqp_connection_state_t conn)
{
    struct timeval rpc = {.tv_sec = CLOSE_TIMEOUT_S};
    amqp_set_rpc_timeout(conn, &rpc);
    amqp_connection_close(conn, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(conn);
}

void broker_link_drop(amqp_connection_state_t conn)
{
    amqp_destroy_connection(conn);
}
