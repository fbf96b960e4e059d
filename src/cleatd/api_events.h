/* Streams of events (cleatd(8), EVENTS). */
#ifndef CLEAT_CLEATD_API_EVENTS_H
#define CLEAT_CLEATD_API_EVENTS_H

#include "cleatd/exchange.h"

/* Handlers of routes. */
void api_get_events(struct exchange *);
void api_get_session_events(struct exchange *);

#endif
