/* What a connection attempt is made of: the servers a URL names, their addresses, libpq's parameters, why it
 * was refused, and the first script on a fresh connection. No loop, no waiting but in db_hosts_lookup. */
#include "io/db_private.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"

/* How long what was sent may wait for the peer to take it; the server counts likewise. */
#define USER_TIMEOUT_MS "15000"

/* --- the servers of a URL --- */
/* Cuts the next element off a comma-separated list; false at its end or when the element does not fit. */
static bool next_element(const char **list, char *out, size_t size)
{
    size_t len = strcspn(*list, ",");
    if (len >= size)
        return false;
    memcpy(out, *list, len);
    out[len] = '\0';
    *list += len + ((*list)[len] == ',');
    return true;
}

static int count_elements(const char *list)
{
    int n = 1;
    for (; *list != '\0'; list++)
        n += *list == ',';
    return n;
}

/* Lists that don't match or don't fit leave count at 0: then libpq reads them from the URL and says what is
 * wrong. */
static void hosts_split(struct db_hosts *hosts, const char *host, const char *addr, const char *port)
{
    int n = count_elements(addr[0] == '\0' ? host : addr);
    int ports = count_elements(port);
    if (n > DB_MAX_HOSTS || (host[0] != '\0' && count_elements(host) != n) || (ports != 1 && ports != n))
        return;
    const char *one_port = port;
    for (int i = 0; i < n; i++) {
        if (ports == 1)
            port = one_port;
        if (!next_element(&host, hosts->at[i].host, sizeof hosts->at[i].host) ||
            !next_element(&addr, hosts->at[i].addr, sizeof hosts->at[i].addr) ||
            !next_element(&port, hosts->at[i].port, sizeof hosts->at[i].port))
            return;
    }
    hosts->count = n;
}

int db_hosts_parse(const char *url, struct db_hosts *hosts, struct err *e)
{
    *hosts = (struct db_hosts){.count = 0};
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(url, &why);
    if (options == NULL && (why == NULL || strcmp(why, "out of memory\n") == 0))
        abort_oom(0);
    PQfreemem(why); /* not shown: it quotes pieces of the URL, and those may be the password's */
    if (options == NULL)
        return err_set(e, ERR_CONFIG, 0, "the database URL is neither a libpq URL nor a key=value string");

    const char *host = "", *addr = "", *port = "";
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++) {
        if (o->val == NULL)
            continue;
        if (strcmp(o->keyword, "host") == 0)
            host = o->val;
        else if (strcmp(o->keyword, "hostaddr") == 0)
            addr = o->val;
        else if (strcmp(o->keyword, "port") == 0)
            port = o->val;
    }
    if (host[0] != '\0' || addr[0] != '\0')
        hosts_split(hosts, host, addr, port);
    PQconninfoFree(options);
    return 0;
}

/* False for what libpq connects to without asking a name server. */
static bool is_name(const char *host, const char *addr)
{
    struct in_addr ip;
    if (addr[0] != '\0' || host[0] == '\0' || host[0] == '/' || host[0] == '@' || strchr(host, ':') != NULL)
        return false;
    return strcmp(host, "localhost") != 0 && inet_pton(AF_INET, host, &ip) != 1;
}

bool db_hosts_need_lookup(const struct db_hosts *hosts)
{
    for (int i = 0; i < hosts->count; i++)
        if (is_name(hosts->at[i].host, hosts->at[i].addr))
            return true;
    return false;
}

/* Appends one entry for each address of entry `i` of `from`. */
static int add_addresses(struct db_hosts *to, const struct db_hosts *from, int i)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(from->at[i].host, NULL, &hints, &found);
    if (rc != 0)
        return rc;
    for (const struct addrinfo *a = found; a != NULL && to->count < DB_MAX_HOSTS; a = a->ai_next) {
        to->at[to->count] = from->at[i];
        if (getnameinfo(a->ai_addr, a->ai_addrlen, to->at[to->count].addr, sizeof to->at[0].addr, NULL, 0,
                        NI_NUMERICHOST) == 0)
            to->count++;
    }
    freeaddrinfo(found);
    return 0;
}

int db_hosts_lookup(struct db_hosts *hosts, struct err *e)
{
    struct db_hosts found = {.count = 0};
    for (int i = 0; i < hosts->count && found.count < DB_MAX_HOSTS; i++) {
        if (!is_name(hosts->at[i].host, hosts->at[i].addr)) {
            found.at[found.count++] = hosts->at[i];
            continue;
        }
        int rc = add_addresses(&found, hosts, i);
        if (rc != 0)
            err_set(e, ERR_TEMPORARY, 0, "cannot resolve %s: %s", hosts->at[i].host, gai_strerror(rc));
    }
    *hosts = found;
    return found.count == 0 ? -1 : 0;
}

/* --- libpq's parameters --- */
enum { LIST_BYTES = DB_MAX_HOSTS * 260 };

struct host_lists { /* the hosts again as libpq's comma-separated lists */
    char host[LIST_BYTES], addr[LIST_BYTES], port[LIST_BYTES];
};

static void list_add(char *list, int i, const char *element)
{
    size_t used = strlen(list);
    snprintf(list + used, LIST_BYTES - used, "%s%s", i == 0 ? "" : ",", element);
}

static void hosts_join(const struct db_hosts *hosts, unsigned turn, struct host_lists *lists)
{
    for (int i = 0; i < hosts->count; i++) {
        int at = (int)((turn + (unsigned)i) % (unsigned)hosts->count);
        list_add(lists->host, i, hosts->at[at].host);
        list_add(lists->addr, i, hosts->at[at].addr);
        list_add(lists->port, i, hosts->at[at].port);
    }
}

static void ignore_notice(void *arg, const PGresult *notice)
{
    (void)arg;
    (void)notice;
}

PGconn *db_connect_start(const struct db_settings *s, const struct db_hosts *hosts, unsigned turn)
{
    struct host_lists lists = {.host = ""};
    hosts_join(hosts, turn, &lists);
    /* What stands before the URL is our default, what stands behind it overrides the URL; empty values count
     * as absent. */
    const char *const keys[] = {"application_name",
                                "keepalives_idle",
                                "keepalives_interval",
                                "keepalives_count",
                                "tcp_user_timeout",
                                "dbname",
                                "client_encoding",
                                "host",
                                "hostaddr",
                                "port",
                                NULL};
    const char *const values[] = {s->application_name, "10",       "5",    "3",
                                  USER_TIMEOUT_MS,     s->url,     "UTF8", lists.host,
                                  lists.addr,          lists.port, NULL};
    PGconn *conn = PQconnectStartParams(keys, values, 1);
    PQsetErrorVerbosity(conn, PQERRORS_VERBOSE); /* the only way to see the SQLSTATE of a refused log-in */
    PQsetNoticeReceiver(conn, ignore_notice, NULL);
    return conn;
}

/* --- why it was refused --- */
static bool is_code(const char *s)
{
    return strspn(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && s[5] == ':';
}

/* The SQLSTATE in "FATAL:  28P01: password ..." (the word may be translated); NULL when there is none in this
 * line. */
static const char *find_code(const char *line, size_t len)
{
    for (size_t i = 0; i + 9 <= len; i++)
        if (memcmp(line + i, ":  ", 3) == 0 && is_code(line + i + 3))
            return line + i + 3;
    return NULL;
}

/* Faults seen by libpq itself that stay until somebody changes a file or the URL. */
static bool is_client_fault(const PGconn *conn, const char *message)
{
    static const char *const PHRASES[] = {
        "certificate verify failed", "server certificate for",  "root certificate file",
        "certificate file",          "private key file",        "does not support SSL",
        "SSL was required",          "authentication method",   "invalid connection option",
        "invalid port number",       "could not match",         "invalid sslmode value",
        "invalid integer value",     "Unix-domain socket path", "channel binding",
    };
    if (PQconnectionNeedsPassword(conn))
        return true;
    for (size_t i = 0; i < sizeof PHRASES / sizeof PHRASES[0]; i++)
        if (strstr(message, PHRASES[i]) != NULL)
            return true;
    return false;
}

void db_connect_error(const PGconn *conn, struct err *e)
{
    const char *message = PQerrorMessage(conn);
    const char *shown = message, *code = NULL;
    /* One line or more for each server tried; the last refusal is the one at which libpq stopped trying. */
    for (const char *line = message; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        const char *found = find_code(line, len);
        if (found != NULL) {
            code = found;
            shown = line;
        }
        line += len + (line[len] == '\n');
    }
    bool is_lasting =
        code == NULL ? is_client_fault(conn, message) : db_sqlstate_class(code) != ERR_TEMPORARY;
    err_set(e, is_lasting ? ERR_CONFIG : ERR_TEMPORARY, 0, "%.*s", (int)strcspn(shown, "\n"), shown);
}

/* --- the first script --- */
void db_setup_script(const struct db_settings *s, PGconn *conn, struct buf *sql)
{
    /* By SET and not as a start-up option, which connection poolers refuse. */
    buf_printf(sql, "SET statement_timeout = %lld;", (long long)s->statement_timeout_ms);
    /* The server's side of it: while it cannot get rid of an answer it holds locks, and no timeout of a
     * statement ends that. */
    buf_add_str(sql, "SET tcp_user_timeout = " USER_TIMEOUT_MS ";");
    if (s->listen_channel == NULL)
        return;
    char *channel = PQescapeIdentifier(conn, s->listen_channel, strlen(s->listen_channel));
    if (channel == NULL)
        abort_oom(0);
    buf_printf(sql, "LISTEN %s;", channel);
    PQfreemem(channel);
}
