/* The directories of a container and who may enter them. */
#ifndef CLEAT_EXECUTOR_WORKSPACE_H
#define CLEAT_EXECUTOR_WORKSPACE_H

#include "executor/config.h"

/* Writes our pid into the lock that we inherited when nobody has, and makes debug/executions
 * and home/{artifacts,data,input}; home becomes the user's. */
enum error_code workspace_prepare(struct config *, struct error *e);

/* Our exit status, for a cleatd that is not our parent any more: only of its runtime `process`.
 * Where user code has our uid it can write this as well, about itself. */
void workspace_note_end(const struct config *, int status);

/* Lets the user's uid through the workspace to its home and, without a sandbox, to its code. */
enum error_code workspace_open(const struct config *, struct error *e);

#endif
