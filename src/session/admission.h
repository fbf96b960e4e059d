/* Admission: who may run, who waits, and who is refused. Tenants take turns, and the first of a
 * tenant's sessions that fits goes: what is held up by a limit of its own holds up nobody. */
#ifndef CLEAT_SESSION_ADMISSION_H
#define CLEAT_SESSION_ADMISSION_H

#include <jansson.h>
#include "session/core.h"
#include "session/limits.h"

void admission_init(struct cleat *);
void admission_stop(struct cleat *);

/* Whether another session of this tenant, user (NULL: none named) and class, that may live for
 * so long, can be taken: it fits, or may wait and has room to. Else ERR_FULL with its reason
 * and when to come again. */
enum error_code admission_check(struct cleat *, const char *tenant, const char *user,
                                const struct group *, int64_t life_s, bool no_queue,
                                struct error *e);

/* Something may fit now: looked at before the turn ends. */
void admission_wake(struct cleat *);
void admission_limits_changed(struct cleat *);

/* What holds a session up that waits. */
enum limit admission_obstacle(const struct session *);

/* The engine had no room for an OPENING session: it waits again, before all that came after it,
 * and its class is not tried for a while. Meanwhile turns go to those that a warm container is
 * there for. */
void admission_return(struct session *, const struct error *);
/* A launch of this class worked. */
void admission_has_room(struct group *);
/* A container of this class is gone: there may be room for one, of any class of its engine. */
void admission_freed(const struct group *);
/* Nothing holds up a session of this class but that its engine has no room. */
bool admission_awaits_room(const struct group *);

/* After a start: what its rows say of turns that were taken. */
void admission_recall(const struct session *);

json_t *admission_status(const struct cleat *);

#endif
