/* Network addresses by what stands behind them: the public internet, or something that an outsider's URL must
 * not lead us to (loopback, private networks, cloud metadata, documentation, multicast). Pure. */
#ifndef AGWB_IO_ADDRESS_H
#define AGWB_IO_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* False for every family but IPv4 and IPv6, and for what the IANA registries of special-purpose addresses set
 * apart; an IPv4 address inside an IPv6 one (mapped, NAT64) counts as itself. */
bool address_is_public(const struct sockaddr *a);

/* "192.0.2.1" or "2001:db8::1": no brackets, no zone, no other notations. False when the text is none. */
bool address_parse(const char *text, struct sockaddr_storage *out);

#endif
