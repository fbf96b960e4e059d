/* An orphan's container as an attempt that ends, so that nothing of it is lost. */
#ifndef CLEAT_SESSION_ORPHAN_H
#define CLEAT_SESSION_ORPHAN_H

#include "session/core.h"

/* A launch key: OWNER.SESSION.ATTEMPT. False: it is none of ours. */
bool orphan_read_key(const struct cleat *, const char *key, char session[ID_SIZE],
                     unsigned *number);

/* Whose a container or target of that name is, by the session in its key; NULL: nobody's. */
struct session *orphan_session(const struct cleat *, const char *session, const char *key);

/* The ended attempt of that number, or a new one, of the session, which is made when it is not
 * known; when that attempt is alive with another container, one with a number of its own. It is
 * in ENDING. tenant: of a session that is made; NULL: nobody knows. has_target: the balancer
 * lists a target for it. */
struct attempt *orphan_begin(struct group *, const char *session, const char *tenant,
                             unsigned number, const struct container *, bool has_target);
/* Of its cleanup, or one whose use is in doubt: true when a path to its container is proven.
 * Its own address comes first, then the balancer, which gets a target for it where there is
 * none. */
bool orphan_has_path(struct attempt *);

#endif
