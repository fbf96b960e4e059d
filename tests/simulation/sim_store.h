/* The simulated disk of the journal; it survives the coordinator. */
#ifndef SIMULATION_SIM_STORE_H
#define SIMULATION_SIM_STORE_H

#include <stdint.h>

void sim_store_begin(void);
struct store_habits {
    uint64_t crash_at_commit;            /* the n-th: before or after it is durable; 0: none */
    uint64_t full_at;                    /* from this one on no more succeeds for a while */
    uint64_t fails_at;                   /* this one alone is refused; 0: none */
    int64_t full_from_ms, full_until_ms; /* every one is */
    unsigned load_fails;                 /* how many times the next loads fail */
    uint64_t roll_back; /* so many of the newest commits are missing when it is opened next */
    void (*happens)(void); /* to the disk, once, before it is opened again */
};
extern struct store_habits store_habits;
extern uint64_t sim_store_commits;
uint64_t sim_store_durable(void); /* commits on the disk, of a world with one coordinator */

void sim_store_forget(const char *session); /* its rows are lost */
void sim_store_lose(void);                  /* all of them are */
void sim_store_back_up(void);               /* a copy is made … */
void sim_store_restore(void);               /* … and put back */

#endif
