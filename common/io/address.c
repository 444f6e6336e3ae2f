/* The table of what is not public, compared bit by bit. Of IPv6 only 2000::/3 has ever been given out. */
#include "io/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct prefix {
    uint8_t bytes[16];
    unsigned bits;
};

static const struct prefix NOT_PUBLIC_4[] = {
    {{0}, 8},                 /* this network */
    {{10}, 8},                /* private */
    {{100, 64}, 10},          /* shared by carriers; Alibaba's metadata */
    {{127}, 8},               /* loopback */
    {{169, 254}, 16},         /* link-local; AWS's and others' metadata */
    {{172, 16}, 12},          /* private */
    {{192, 0, 0}, 24},        /* protocol assignments */
    {{192, 0, 2}, 24},        /* documentation */
    {{192, 88, 99}, 24},      /* 6to4 relays */
    {{192, 168}, 16},         /* private */
    {{198, 18}, 15},          /* benchmarks */
    {{198, 51, 100}, 24},     /* documentation */
    {{203, 0, 113}, 24},      /* documentation */
    {{224}, 4},               /* multicast */
    {{240}, 4},               /* reserved, broadcast */
    {{168, 63, 129, 16}, 32}, /* Azure's own services, inside a public range */
};

static const struct prefix GLOBAL_6 = {{0x20}, 3};
static const struct prefix NOT_PUBLIC_6[] = {
    {{0x20, 0x01}, 23},             /* Teredo, ORCHID, benchmarks */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {{0x20, 0x02}, 16},             /* 6to4 */
    {{0x3f, 0xff}, 20},             /* documentation */
};

/* An IPv4 address follows. */
static const struct prefix WRAPPING_6[] = {
    {{[10] = 0xff, [11] = 0xff}, 96}, /* mapped */
    {{0x00, 0x64, 0xff, 0x9b}, 96},   /* NAT64 */
};

static bool is_in(const struct prefix *p, const uint8_t *bytes)
{
    size_t whole = p->bits / 8;
    unsigned rest = p->bits % 8;

    if (memcmp(p->bytes, bytes, whole) != 0)
        return false;
    return rest == 0 || (p->bytes[whole] ^ bytes[whole]) >> (8 - rest) == 0;
}

static bool is_in_any(const struct prefix *list, size_t count, const uint8_t *bytes)
{
    for (size_t i = 0; i < count; i++) {
        if (is_in(&list[i], bytes))
            return true;
    }
    return false;
}

static bool is_public_4(const uint8_t *bytes)
{
    return !is_in_any(NOT_PUBLIC_4, sizeof NOT_PUBLIC_4 / sizeof NOT_PUBLIC_4[0], bytes);
}

static bool is_public_6(const uint8_t *bytes)
{
    if (is_in_any(WRAPPING_6, sizeof WRAPPING_6 / sizeof WRAPPING_6[0], bytes))
        return is_public_4(bytes + 12);
    return is_in(&GLOBAL_6, bytes) &&
           !is_in_any(NOT_PUBLIC_6, sizeof NOT_PUBLIC_6 / sizeof NOT_PUBLIC_6[0], bytes);
}

bool address_is_public(const struct sockaddr *a)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    switch (a->sa_family) {
    case AF_INET:
        memcpy(&in, a, sizeof in);
        return is_public_4((const uint8_t *)&in.sin_addr);
    case AF_INET6:
        memcpy(&in6, a, sizeof in6);
        return is_public_6(in6.sin6_addr.s6_addr);
    default:
        return false;
    }
}

bool address_parse(const char *text, struct sockaddr_storage *out)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    *out = (struct sockaddr_storage){0};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        memcpy(out, &in, sizeof in);
    else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
        memcpy(out, &in6, sizeof in6);
    return out->ss_family != AF_UNSPEC;
}
