/* Names to addresses without blocking the loop: /etc/hosts, then DNS by resolv.conf (libevent's
 * evdns; the only file that knows it). */
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

struct resolver *resolver_new(struct loop *);
void resolver_free(struct resolver *); /* cancels what is under way */

/* count addresses, IPv4 before IPv6, each numeric; ttl_s of the answer, 0: not known. Or *e:
 * ERR_CONNECT (no such name, no answer, no name server), and count is 0. Called once, from the
 * loop. */
typedef void resolve_fn(void *arg, const struct error *e,
                        const char (*addresses)[RESOLVE_TEXT_SIZE], size_t count,
                        uint32_t ttl_s);
struct resolve *resolve_start(struct resolver *, const char *name, resolve_fn *done, void *arg);
void resolve_cancel(struct resolve *); /* never calls back */

#endif
