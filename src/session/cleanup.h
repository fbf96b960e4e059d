/* The end of an attempt. */
#ifndef CLEAT_SESSION_CLEANUP_H
#define CLEAT_SESSION_CLEANUP_H

#include "session/core.h"

void cleanup_step(struct attempt *); /* in ENDING and SALVAGING */

#endif
