/* The end of an attempt. */
#ifndef CLEAT_SESSION_CLEANUP_H
#define CLEAT_SESSION_CLEANUP_H

#include "session/core.h"

void cleanup_step(struct attempt *); /* in ENDING and SALVAGING */
/* It has ended; or it does when its balancer lists its target no more, for which nobody waits. */
bool cleanup_is_done(const struct attempt *);

/* For its steps; name: static. */
void cleanup_begin(struct attempt *, enum step_result *step, const char *name);
void cleanup_end(struct attempt *, enum step_result *step, const char *name, enum step_result);
bool cleanup_is_over(enum step_result);

#endif
