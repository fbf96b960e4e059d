/* The simulated disk of the journal; it survives the coordinator. */
#ifndef SIMULATION_SIM_STORE_H
#define SIMULATION_SIM_STORE_H

#include <stdint.h>

void sim_store_begin(void);
void sim_store_crash_at(uint64_t commit); /* the n-th commit, before or after it is durable */
extern uint64_t sim_store_commits;

#endif
