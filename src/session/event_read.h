/* Readers of events (cleat.h, cleat_events). */
#ifndef CLEAT_SESSION_EVENT_READ_H
#define CLEAT_SESSION_EVENT_READ_H

#include "session/core.h"

struct event;

void readers_note(struct cleat *, const struct event *);     /* it is shown from now on */
void readers_forget(struct cleat *, const struct session *); /* it is freed */
void readers_free(struct cleat *);                           /* no callbacks any more */

#endif
