/* A cleat of this world, world.me: its starts, stops and crashes. */
#ifndef SIMULATION_INSTANCE_H
#define SIMULATION_INSTANCE_H

#include <stdbool.h>

extern unsigned instances_crashes; /* of all, in this world */

void instance_begin(void); /* the first start, and what happens to it now and then */
void instance_start(void *unused);
void instance_stop(bool as_a_crash);
void instance_reload(void); /* by the settings of the world, now and at each start */
void instance_crash_and_restart(void);
void instance_take_log(void *unused, int level, const char *line);

#endif
