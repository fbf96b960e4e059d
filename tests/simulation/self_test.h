/* Shows that the checks can fail: each sabotage must be caught as its invariant, quiet worlds
 * must pass, and a seed must give the same log again, at other heap addresses. */
#ifndef SIMULATION_SELF_TEST_H
#define SIMULATION_SELF_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include "world.h"

int self_test(uint64_t seed); /* exit status */
bool self_test_find(const char *name, enum sabotage *out);

#endif
