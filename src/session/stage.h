/* What a container gets before its session is ready: credentials, environment, input. */
#ifndef CLEAT_SESSION_STAGE_H
#define CLEAT_SESSION_STAGE_H

#include "session/core.h"

void stage_step(struct attempt *); /* in STAGING */

#endif
