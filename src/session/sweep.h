/* Sweeps over a target group, on behalf of all attempts that wait for a route. */
#ifndef CLEAT_SESSION_SWEEP_H
#define CLEAT_SESSION_SWEEP_H

#include "session/core.h"

struct sweep *sweep_new(struct group *);
void sweep_free(struct sweep *);
void sweep_join(
    struct attempt *); /* idempotent; its cookies come by themselves and wake its session */
void sweep_leave(struct attempt *);  /* idempotent */
void sweep_consider(struct sweep *); /* somebody arrived, or will not: a round may begin */
unsigned sweep_waiting(const struct sweep *);
void sweep_counts(const struct sweep *, uint64_t *sweeps, uint64_t *probes);

#endif
