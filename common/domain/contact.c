#include "domain/contact.h"

#include <string.h>

static const char digits[] = "0123456789";

bool is_e164(const char *number)
{
    if (number == NULL || number[0] != '+' || number[1] == '0')
        return false;
    size_t count = strspn(number + 1, digits);
    return count >= 8 && count <= 15 && number[1 + count] == '\0';
}

bool contact_normalise_number(const char *raw, char out[CONTACT_E164_MAX + 1])
{
    size_t len = 0;
    out[0] = '\0';
    if (raw == NULL)
        return false;
    for (; *raw != '\0'; raw++) {
        if (strchr(" -.()", *raw) != NULL)
            continue;
        if (len == CONTACT_E164_MAX) {
            out[0] = '\0';
            return false;
        }
        out[len++] = *raw;
    }
    out[len] = '\0';
    if (is_e164(out))
        return true;
    out[0] = '\0';
    return false;
}

/* What may stand in front of the '@' of a domain: a number of 5 to 20 digits and then, after the mark, a
 * second number. */
struct jid_domain {
    const char *name;
    enum contact_jid_kind kind;
    char mark; /* ':' = a device, '-' = an old group's time of birth; '\0' = no second number */
    size_t second_min, second_max; /* its digits */
    const char *word;              /* stands in place of a number; NULL = none */
};

static const struct jid_domain jid_domains[] = {
    {"s.whatsapp.net", CONTACT_JID_USER, ':', 1, 5, NULL},
    {"c.us", CONTACT_JID_USER, ':', 1, 5, NULL},
    {"lid", CONTACT_JID_LID, ':', 1, 5, NULL},
    {"g.us", CONTACT_JID_GROUP, '-', 5, 20, NULL},
    {"newsletter", CONTACT_JID_NEWSLETTER, '\0', 0, 0, NULL},
    {"broadcast", CONTACT_JID_BROADCAST, '\0', 0, 0, "status"},
};

static bool is_local_part(const struct jid_domain *d, const char *local, size_t len)
{
    if (d->word != NULL && len == strlen(d->word) && memcmp(local, d->word, len) == 0)
        return true;
    size_t first = strspn(local, digits);
    if (first < 5 || first > 20)
        return false;
    if (first == len)
        return true;
    if (d->mark == '\0' || local[first] != d->mark)
        return false;
    size_t second = strspn(local + first + 1, digits);
    return second >= d->second_min && second <= d->second_max && first + 1 + second == len;
}

enum contact_jid_kind contact_jid_kind_of(const char *jid)
{
    const char *at = jid == NULL ? NULL : strchr(jid, '@');
    if (at == NULL)
        return CONTACT_JID_NONE;
    for (size_t i = 0; i < sizeof jid_domains / sizeof jid_domains[0]; i++)
        if (strcmp(at + 1, jid_domains[i].name) == 0)
            return is_local_part(&jid_domains[i], jid, (size_t)(at - jid)) ? jid_domains[i].kind
                                                                           : CONTACT_JID_NONE;
    return CONTACT_JID_NONE;
}

bool contact_number_from_jid(const char *jid, char out[CONTACT_E164_MAX + 1])
{
    out[0] = '\0';
    if (contact_jid_kind_of(jid) != CONTACT_JID_USER)
        return false;
    size_t count = strspn(jid, digits);
    if (count > CONTACT_E164_MAX - 1)
        return false;
    out[0] = '+';
    memcpy(out + 1, jid, count);
    out[1 + count] = '\0';
    if (is_e164(out))
        return true;
    out[0] = '\0';
    return false;
}

const char *contact_mask(const char *number_or_jid, char out[CONTACT_MASK_SIZE])
{
    enum { SHOWN = 3, STARS_MAX = CONTACT_MASK_SIZE - 1 - SHOWN };
    if (number_or_jid == NULL)
        number_or_jid = "";
    size_t len = strcspn(number_or_jid, ":@"); /* a device is no part of the number */
    size_t shown = len > SHOWN ? SHOWN : 0;    /* of so little nothing is shown */
    size_t stars = len - shown < STARS_MAX ? len - shown : STARS_MAX;
    memset(out, '*', stars);
    for (size_t i = 0; i < shown; i++) {
        char c = number_or_jid[len - shown + i];
        out[stars + i] = c > ' ' && c < 0x7f ? c : '*'; /* never half a character */
    }
    out[stars + shown] = '\0';
    return out;
}
