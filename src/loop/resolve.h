/* Names to addresses without blocking the loop: /etc/hosts, then DNS by resolv.conf (libevent's
 * evdns; resolve.c is the only file that knows it). Both files are read anew for each name, so
 * that a change of them is seen. A nameserver line of resolv.conf may have a port:
 * "127.0.0.1:5353". "localhost" and what is below it never reach a name server (RFC 6761
 * section 6.3). An answer that does not fit a UDP message is an error; there is no DNS over
 * TCP. What evdns logs, of the whole process, goes to our log at level debug. */
#ifndef CLEAT_LOOP_RESOLVE_H
#define CLEAT_LOOP_RESOLVE_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "loop/loop.h"

#define RESOLVE_MAX 16       /* addresses of one answer that are looked at */
#define RESOLVE_TEXT_SIZE 46 /* INET6_ADDRSTRLEN */

struct resolver;
struct resolve;

/* Holds no descriptor and no timer while nothing is looked up. */
struct resolver *resolver_new(struct loop *);
void resolver_free(struct resolver *); /* cancels what is under way; before loop_free */

/* count addresses, IPv4 before IPv6, each numeric; ttl_s of the answer, 0: not known. Or *e,
 * and count is 0: ERR_NOT_FOUND, the name has no address, or is none; ERR_CONNECT, it could not
 * be asked (no answer within 5 s, no name server). e is NULL when there are addresses. Called
 * once, from the loop. A numeric name is its own answer. */
typedef void resolve_fn(void *arg, const struct error *e,
                        const char (*addresses)[RESOLVE_TEXT_SIZE], size_t count,
                        uint32_t ttl_s);
struct resolve *resolve_start(struct resolver *, const char *name, resolve_fn *done, void *arg);
void resolve_cancel(struct resolve *); /* never calls back */

#endif
