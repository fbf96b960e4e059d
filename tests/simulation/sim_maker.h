/* Simulated /bin/sh: the child that makes the directory of a session's artifacts. */
#ifndef SIMULATION_MAKER_H
#define SIMULATION_MAKER_H

#include <stdbool.h>
#include "loop/child.h"

struct maker;

bool maker_is_asked_for(const struct child_spec *);
/* ended is called once, unless it is forgotten before. */
struct maker *maker_start(const struct child_spec *, child_exit_fn *ended, void *arg);
void maker_kill(struct maker *);
void maker_forget(struct maker *);

#endif
