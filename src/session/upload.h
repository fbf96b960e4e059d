/* The upload as a step of the cleanup. */
#ifndef CLEAT_SESSION_UPLOAD_H
#define CLEAT_SESSION_UPLOAD_H

#include "session/core.h"

void upload_step(struct attempt *);

#endif
