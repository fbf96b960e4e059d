/* Which sandbox works here: found out by using it. */
#ifndef CLEAT_EXECUTOR_SANDBOX_H
#define CLEAT_EXECUTOR_SANDBOX_H

#include "executor/config.h"

/* Settles SANDBOX_AUTO (bubblewrap when it works, else none with a warning); an error when the
 * one that was asked for does not work. Blocks for a moment: call it before the loop runs. */
enum error_code sandbox_settle(struct config *, struct error *e);

#endif
