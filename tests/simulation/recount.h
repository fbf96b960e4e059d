/* What the core counts as it goes, against a count of what it holds. */
#ifndef SIMULATION_RECOUNT_H
#define SIMULATION_RECOUNT_H

#include <stdbool.h>

struct cleat;
void recount(const struct cleat *);
bool recount_has_attempts(const struct cleat *); /* that have not ended */
void recount_at_end(
    const struct cleat *); /* when nothing is left: what waits, waits for ever */

#endif
