/* Credentials of a container for its session's own prefix in the artifact store: fetched,
 * sealed under the session's secret, handed over, and renewed long before they lapse. */
#ifndef CLEAT_SESSION_GRANTS_H
#define CLEAT_SESSION_GRANTS_H

#include "session/core.h"

/* Starts what is due; hands over where the route is confirmed or the address proven. Nothing
 * that fails here ends a session. */
void grants_step(struct attempt *);
bool grants_valid(const struct attempt *); /* the container has some, or needs none */
/* Why the newest try failed; NULL: it did not. */
const struct error *grants_trouble(const struct attempt *);
bool grants_running(const struct attempt *);
void grants_quiet(struct attempt *); /* cancels what is under way; it is due again */

#endif
