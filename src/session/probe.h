/* The probe of a container that serves: adaptive, and it tells busy from dead. While all is
 * well it asks nothing; in doubt it asks the container, on its own address where that was
 * proven, else over its route, and lets the engine look.
 *
 *   an answer with proof            it lives
 *   no answer, a balancer's 5xx     it is busy, however long that takes
 *   refused on its own address,
 *   and nothing else, for
 *   dead_after_s                    it is dead
 *
 * All else that proves its death is the engine's word. */
#ifndef CLEAT_SESSION_PROBE_H
#define CLEAT_SESSION_PROBE_H

#include "session/core.h"

/* Something speaks against it; why: for people, copied. Asked for as often as one likes. */
void probe_doubt(struct attempt *, const char *why);
/* Of an attempt in ROUTING, STAGING or LIVE. In the end a->health.dead is set, and a->cause. */
void probe_step(struct attempt *);

#endif
