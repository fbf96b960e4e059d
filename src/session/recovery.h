/* After a start: adopt what rows own, and go on with it. */
#ifndef CLEAT_SESSION_RECOVERY_H
#define CLEAT_SESSION_RECOVERY_H

#include "session/core.h"

void recovery_start(struct cleat *); /* after journal_load */

#endif
