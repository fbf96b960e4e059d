/* Where sessions that wait stand, and when their turn is expected. */
#ifndef CLEAT_SESSION_POSITION_H
#define CLEAT_SESSION_POSITION_H

#include <jansson.h>
#include "session/core.h"

/* s->rank of every session that waits, as turns would be taken now: those that are held up by a
 * limit of their own come after all others. */
void position_rank(struct cleat *);

/* How many places must come back under a limit (0: there is none) before the rank-th of those
 * who wait under it has one. */
int64_t position_needs(int64_t limit, unsigned running, unsigned rank);

/* {"position","ahead","estimated_start_at","reason"}, or null when it does not wait. */
json_t *position_document(const struct session *);
/* The same for people; "": it does not wait. */
const char *position_waits_for(const struct session *);

#endif
