/* The routes of sessions: what they find and change is the caller's own (x->tenant). */
#ifndef CLEAT_CLEATD_API_SESSIONS_H
#define CLEAT_CLEATD_API_SESSIONS_H

#include "cleatd/exchange.h"

void api_post_sessions(struct exchange *);
void api_get_sessions(struct exchange *);
void api_get_session(struct exchange *);
void api_delete_session(struct exchange *);
void api_post_execute(struct exchange *);
void api_post_keepalive(struct exchange *);
void api_get_route(struct exchange *);
void api_get_isolation(struct exchange *);

#endif
