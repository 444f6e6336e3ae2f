/* URLs, by libcurl's own parser: a second one would find another host in the same text. */
#include "io/http_private.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool has_part(CURLU *parts, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(parts, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return has;
}

/* libcurl keeps the brackets of an IPv6 address and a name's final dot. */
static int take_host(CURLU *parts, struct http_url *u, struct err *e)
{
    char *text = NULL;
    if (curl_url_get(parts, CURLUPART_HOST, &text, 0) != CURLUE_OK)
        return 0;
    size_t skip = text[0] == '[', len = strlen(text) - skip;
    if (len > 0 && (text[skip + len - 1] == ']' || text[skip + len - 1] == '.'))
        len--;
    int rc = 0;
    if (len < sizeof u->host)
        snprintf(u->host, sizeof u->host, "%.*s", (int)len, text + skip);
    else
        rc = err_set(e, ERR_DATA, 0, "the URL's host is too long");
    for (char *c = u->host; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    curl_free(text);
    return rc;
}

static int take_scheme(CURLU *parts, struct http_url *u, struct err *e)
{
    char *text = NULL;
    if (curl_url_get(parts, CURLUPART_SCHEME, &text, 0) != CURLUE_OK)
        return err_set(e, ERR_DATA, 0, "the URL has no scheme");
    u->is_https = strcasecmp(text, "https") == 0;
    bool is_http = strcasecmp(text, "http") == 0;
    curl_free(text);
    return u->is_https || is_http ? 0 : err_set(e, ERR_DATA, 0, "the URL is neither http:// nor https://");
}

static long port_of(CURLU *parts)
{
    char *text = NULL;
    long port = -1;
    if (curl_url_get(parts, CURLUPART_PORT, &text, CURLU_DEFAULT_PORT) == CURLUE_OK)
        port = strtol(text, NULL, 10);
    curl_free(text);
    return port;
}

int http_url_parse(const char *url, struct http_url *u, struct err *e)
{
    *u = (struct http_url){.host = ""};
    if (http_has_control(url) || strpbrk(url, " \t") != NULL)
        return err_set(e, ERR_DATA, 0, "the URL contains a blank or a control character");
    CURLU *parts = curl_url();
    if (parts == NULL)
        http_set_or_end(CURLE_OUT_OF_MEMORY);
    int rc = 0;
    CURLUcode code = curl_url_set(parts, CURLUPART_URL, url, 0);
    if (code == CURLUE_OUT_OF_MEMORY)
        http_set_or_end(CURLE_OUT_OF_MEMORY);
    if (code != CURLUE_OK)
        rc = err_set(e, ERR_DATA, (int)code, "not a URL: %s", curl_url_strerror(code));
    else
        rc = take_scheme(parts, u, e);
    if (rc == 0)
        rc = take_host(parts, u, e);
    u->has_user = has_part(parts, CURLUPART_USER) || has_part(parts, CURLUPART_PASSWORD);
    u->has_zone = has_part(parts, CURLUPART_ZONEID);
    u->port = port_of(parts);
    curl_url_cleanup(parts);
    return rc;
}
