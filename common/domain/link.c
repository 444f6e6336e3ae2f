/* See link.h. */
#include "domain/link.h"

#include <string.h>
#include <sys/socket.h>

#include "io/address.h"
#include "io/http.h"

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* Names that only a machine's own network knows, and numbers that are no address to us but may be one to
 * whoever follows the link. */
static bool is_local_name(const char *host)
{
    static const char *const LOCAL[] = {".localhost", ".local", ".internal", ".lan", ".home.arpa"};
    const char *top = strrchr(host, '.');

    for (size_t i = 0; i < sizeof LOCAL / sizeof LOCAL[0]; i++) {
        if (ends_with(host, LOCAL[i]))
            return true;
    }
    return !top || (top[1] >= '0' && top[1] <= '9');
}

static int check_host(const struct http_url *u, bool allow_private, struct err *e)
{
    struct sockaddr_storage literal;
    bool is_literal = address_parse(u->host, &literal);

    if (u->host[0] == '\0' || u->has_zone)
        return err_set(e, ERR_DATA, 0, "its host is not one");
    if (!is_literal && u->host[strspn(u->host, "abcdefghijklmnopqrstuvwxyz0123456789.-_")] != '\0')
        return err_set(e, ERR_DATA, 0, "its host is no ASCII name");
    if (allow_private)
        return 0;
    if (is_literal ? !address_is_public((struct sockaddr *)&literal) : is_local_name(u->host))
        return err_set(e, ERR_DATA, 0, "it leads to a private or local address");
    return 0;
}

/* A port of another service than the web's: whoever followed the link would talk to that. */
static bool is_foreign_port(const struct http_url *u)
{
    return u->port < 1024 && u->port != (u->is_https ? 443 : 80);
}

/* Programs do not agree on what these mean: "https:///host", "https://a\@b". */
static bool is_ambiguous(const char *url)
{
    const char *slashes = strstr(url, "://");

    return !slashes || slashes[3] == '/' || strchr(url, '\\');
}

int link_check(const char *url, const struct config *c, struct err *e)
{
    struct http_url u;
    int rc = http_url_parse(url, &u, e);

    if (rc == 0 && is_ambiguous(url))
        rc = err_set(e, ERR_DATA, 0, "it can be read in more than one way");
    else if (rc == 0 && !u.is_https && !c->attachments.allow_http)
        rc = err_set(e, ERR_DATA, 0, "it is not https://");
    else if (rc == 0 && u.has_user)
        rc = err_set(e, ERR_DATA, 0, "it contains a user or password");
    else if (rc == 0 && is_foreign_port(&u))
        rc = err_set(e, ERR_DATA, 0, "its port is another service's");
    else if (rc == 0)
        rc = check_host(&u, c->attachments.allow_private, e);
    return rc == 0 ? 0 : err_prefix(e, "an attachment's link is refused");
}
