/* The route of an attempt: acquired, confirmed, kept. */
#ifndef CLEAT_SESSION_ROUTE_H
#define CLEAT_SESSION_ROUTE_H

#include "session/core.h"

/* The node of the balancer that its requests go through; NULL: its own address. */
const struct balancer_node *route_node(const struct attempt *);
/* Plain containers that were launched under one session's name give the same answers: through a
 * node nothing tells them apart. */
bool route_may_confuse(const struct attempt *, const struct attempt *other);
/* One step towards a confirmed route; uses a->message. True: it is confirmed. */
bool route_step(struct attempt *);
void route_drop(struct attempt *); /* the cookies lead elsewhere */
/* Of a live attempt: renews cookies before they lapse, confirms a suspect route before its next
 * use, and lets an idle container hear of its session. route.confirmed may become false. */
void route_keep(struct attempt *);
/* A container that hears nothing of its session for this long ends itself. */
int64_t container_idle_ms(const struct attempt *);

#endif
