/* What a configuration must be as a whole: faults that no single option shows. */
#include "domain/config_private.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "domain/webhook_signature.h"

/* The fault of a named option, with the place its value came from. */
static int fault(struct config_loader *l, const char *name, const char *expected, const char *found)
{
    const struct config_option *o = config_find(config_options, name, strlen(name));
    const char *where = l->where[o - config_options];
    if (o->secret)
        return err_set(l->err, ERR_CONFIG, 0, "%s: %s: expected %s", where, name, expected);
    return err_set(l->err, ERR_CONFIG, 0, "%s: %s: expected %s, found \"%.100s\"", where, name, expected,
                   found);
}

static bool is_port(const char *text, int64_t least)
{
    int64_t port;
    return config_parse_int(text, &port) && port >= least && port <= 65535;
}

/* "host:port", "[v6]:port"; without a port where the caller allows it. */
static bool is_address(const char *text, bool needs_port, int64_t least_port)
{
    static const char host_characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    size_t len = *text == '[' ? strcspn(text, "]") : strspn(text, host_characters);
    if (*text == '[' && (text[len] != ']' || text[1 + strspn(text + 1, "0123456789abcdefABCDEF:.%")] != ']'))
        return false;
    len += *text == '[';
    if (!text[len])
        return !needs_port && len > 0;
    return text[len] == ':' && is_port(text + len + 1, least_port);
}

static int check_hosts(struct config_loader *l, const struct config *c)
{
    for (size_t i = 0; i < c->rabbitmq.host_count; i++) {
        const char *host = c->rabbitmq.hosts[i];
        if (!is_address(host, false, 1) || *host == ':')
            return fault(l, "rabbitmq.hosts", "host:port or [v6]:port", host);
    }
    if (!*c->rabbitmq.cert_file != !*c->rabbitmq.key_file)
        return fault(l, "rabbitmq.key_file", "cert_file and key_file, or neither", c->rabbitmq.key_file);
    return 0;
}

static int check_listen(struct config_loader *l, const char *name, const char *text)
{
    if (!*text || strcmp(text, "off") == 0 || is_address(text, true, 0))
        return 0;
    return fault(l, name, "host:port, [v6]:port, :port or off", text);
}

static int check_urls(struct config_loader *l, const struct config *c)
{
    const char *url = c->database.url;
    bool is_uri = strncmp(url, "postgresql://", 13) == 0 || strncmp(url, "postgres://", 11) == 0;
    if (*url && !is_uri && !strchr(url, '='))
        return fault(l, "database.url", "postgresql://... or key=value pairs", "");
    url = c->alerts.webhook_url;
    if (*url && strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
        return fault(l, "alerts.webhook_url", "http:// or https://", "");
    if (*c->alerts.secret && !webhook_secret_is_good(c->alerts.secret))
        return fault(l, "alerts.secret", "any text, or whsec_ and base64", "");
    return 0;
}

static int check_queues(struct config_loader *l, const struct config *c)
{
    static const char *const taken[] = {TOPOLOGY_DLX_AGENT, TOPOLOGY_DLX_WEBHOOK, TOPOLOGY_AG_PARKED,
                                        TOPOLOGY_WB_PARKED};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        if (strcmp(c->topology.agent_queue, taken[i]) == 0)
            return fault(l, "topology.agent_queue", "another name than a dead-letter queue's", taken[i]);
        if (strcmp(c->topology.webhook_queue, taken[i]) == 0)
            return fault(l, "topology.webhook_queue", "another name than a dead-letter queue's", taken[i]);
    }
    if (strcmp(c->topology.agent_queue, c->topology.webhook_queue) == 0)
        return fault(l, "topology.webhook_queue", "another name than topology.agent_queue",
                     c->topology.webhook_queue);
    return 0;
}

static int check_debounce(struct config_loader *l, const struct config *c)
{
    if (c->publisher.debounce_max_ms >= c->publisher.debounce_ms)
        return 0;
    return fault(l, "publisher.debounce_max_ms",
                 config_text(l, "at least publisher.debounce_ms = %" PRId64, c->publisher.debounce_ms),
                 config_text(l, "%" PRId64, c->publisher.debounce_max_ms));
}

int config_check(struct config_loader *l)
{
    const struct config *c = &l->store->config;
    if (check_hosts(l, c) < 0 || check_urls(l, c) < 0 || check_queues(l, c) < 0 || check_debounce(l, c) < 0 ||
        check_listen(l, "publisher.metrics_listen", c->publisher.metrics_listen) < 0 ||
        check_listen(l, "consumer.metrics_listen", c->consumer.metrics_listen) < 0)
        return -1;
    return config_accounts_check(l);
}
