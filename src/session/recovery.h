/* After a start: adopt what rows own, go on with it, close what nobody owns. */
#ifndef CLEAT_SESSION_RECOVERY_H
#define CLEAT_SESSION_RECOVERY_H

#include "session/core.h"

void recovery_start(struct cleat *); /* after journal_load */
void recovery_free(struct cleat *);

#endif
