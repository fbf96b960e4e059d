/* What becomes of a session whose container is dead, by its class's on_death. */
#ifndef CLEAT_SESSION_DEATH_H
#define CLEAT_SESSION_DEATH_H

#include "session/core.h"

/* Of the current attempt, dead by the engine's word or the probe's: a->cause says why. It ends;
 * its session tries again (not ready yet), closes, or is given another container. */
void death_take(struct attempt *);
/* While s->replacing: launches what is missing, until the new container is live or time is up.
 */
void death_replace_step(struct session *);

#endif
