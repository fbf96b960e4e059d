/* What the core counts as it goes, against a count of what it holds. */
#ifndef SIMULATION_RECOUNT_H
#define SIMULATION_RECOUNT_H

struct cleat;
void recount(const struct cleat *);
void recount_at_end(
    const struct cleat *); /* when nothing is left: what waits, waits for ever */

#endif
