/* Core time: it goes on where the life before left it, whatever becomes of the wall clock. */
#ifndef CLEAT_SESSION_CLOCK_H
#define CLEAT_SESSION_CLOCK_H

#include "session/core.h"

void clock_start(struct cleat *); /* by the wall clock, until … */
void clock_load(struct cleat *);  /* … the journal's rows and notes are there */

#endif
