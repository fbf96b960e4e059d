/* What the core counts as it goes, against a count of what it holds. */
#ifndef SIMULATION_RECOUNT_H
#define SIMULATION_RECOUNT_H

struct cleat;
void recount(const struct cleat *);

#endif
