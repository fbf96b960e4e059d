/* Readers of events, an operator and two tenants, who come back after every start where they
 * were, and take them at their word: what was shown once stays true, whatever crashes. */
#ifndef SIMULATION_WITNESS_H
#define SIMULATION_WITNESS_H

#include <stdbool.h>

void witness_begin(void);  /* of a world */
void witness_attach(void); /* me has started */
/* The journal has lost a session's rows, or (NULL) all: its events, or all, begin again. */
void witness_journal_lost(const char *session);
/* At the end: it saw the end of each session whose end callers were told of. */
void witness_check_end(void);

#endif
