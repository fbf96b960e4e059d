/* Which address a connection goes to: one cache of names for all of a client's shares, and each
 * share's own choice among a name's addresses.
 *
 * An answer is kept as long as its TTL says, within 1 s and 60 s; 30 s when it has none. While
 * a name cannot be asked about, the last answer is used for another 10 minutes, and the next
 * try is 5 s away; a name that is gone is gone at once. Many who ask for one name at a time
 * cause one look-up. */
#ifndef CLEAT_HTTP_NAMES_H
#define CLEAT_HTTP_NAMES_H

#include <stddef.h>
#include "base/error.h"
#include "loop/loop.h"

struct names;
struct names_wait;
struct names_choice;

/* A share's choices. Zero-initialise. */
struct names_user {
    struct names_choice *first;
};

struct names *names_new(struct loop *);
void names_free(struct names *); /* nobody waits any more; before loop_free */
void names_user_free(struct names_user *);

/* address: where the user's connections to host go, numeric. A user keeps to one address for as
 * long as the name has it; another user gets the next (an IPv6 address only when there is no
 * other). Or NULL and *e (see resolve_fn). Called once, from the loop; user must live until
 * then. */
typedef void names_fn(void *arg, const struct error *e, const char *address);
struct names_wait *names_ask(struct names *, struct names_user *user, const char *host,
                             names_fn *done, void *arg);
void names_cancel(struct names_wait *); /* never calls back */

/* The user could not connect to it: what it asks next gives the name's next address. */
void names_failed(struct names_user *, const char *host, const char *address);

#endif
