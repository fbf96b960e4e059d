/* The simulated disk of the journal; it survives the coordinator. */
#ifndef SIMULATION_SIM_STORE_H
#define SIMULATION_SIM_STORE_H

#include <stdint.h>

void sim_store_begin(void);
extern uint64_t sim_store_commits;

#endif
