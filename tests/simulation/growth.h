/* What the process itself holds: it may not grow with the number of lives. */
#ifndef SIMULATION_GROWTH_H
#define SIMULATION_GROWTH_H

#include <stdbool.h>

/* growth_begin once the process has warmed up; growth_is_flat prints both, false: it grew. */
void growth_begin(void);
bool growth_is_flat(void);

#endif
