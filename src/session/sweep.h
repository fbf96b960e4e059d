/* Sweeps, each over one target group, on behalf of all attempts that wait for a route to it. */
#ifndef CLEAT_SESSION_SWEEP_H
#define CLEAT_SESSION_SWEEP_H

#include "session/core.h"

struct sweep *sweep_new(struct group *, size_t target_group);
void sweep_free(struct sweep *);
void sweep_join(
    struct attempt *); /* idempotent; its cookies come by themselves and wake its session */
void sweep_leave(struct attempt *);   /* idempotent */
void sweeps_consider(struct group *); /* somebody arrived, or will not: a round may begin */

struct sweep_counts {
    uint64_t waiting, sweeps, probes;
};
struct sweep_counts sweeps_count(const struct group *); /* all of its target groups */

#endif
