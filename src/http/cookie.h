/* The balancer's cookies as one opaque set (RFC 6265 section 4.1 and 5.2 for the parts we read:
 * name, value, Max-Age, Expires). Kept by us and sent as one Cookie header. */
#ifndef CLEAT_HTTP_COOKIE_H
#define CLEAT_HTTP_COOKIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "http/client.h"

struct cookie_set {
    char *header;       /* "AWSALB=…; AWSALBCORS=…", NULL: empty set */
    int64_t expires_ms; /* earliest expiry as Unix time; 0: none (a session cookie) */
    int64_t set_ms;     /* when it was taken, Unix time */
};

/* Reads the Set-Cookie headers with one of these names (NULL-ended list; a trailing '*' matches
 * any ending). True when at least one was found and *out is a fresh set; malformed or oversized
 * (> 4096 bytes) cookies are skipped. A cookie deleted by the peer (Max-Age ≤ 0, past Expires
 * or empty value) is left out; a set of which all are deleted is fresh and empty. What *out
 * held before is overwritten, not freed. */
bool cookie_set_read(struct cookie_set *out, const struct http_answer *, char *const *names,
                     int64_t wall_ms);
void cookie_set_move(struct cookie_set *to, struct cookie_set *from); /* from becomes empty */
void cookie_set_clear(struct cookie_set *);
const char *
cookie_set_value(const struct cookie_set *); /* of the first one, for a log's prefix */

#endif
