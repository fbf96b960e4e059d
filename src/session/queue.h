/* Who waits, who runs, and on whose account: tenants, their users, and for each user and class
 * a line of sessions. Sessions in one line are under the same limits, so that only its first
 * one matters; lines of a user who is at his limit are set aside. */
#ifndef CLEAT_SESSION_QUEUE_H
#define CLEAT_SESSION_QUEUE_H

#include "session/core.h"
#include "session/limits.h"
#include "session/pace.h"

struct line {
    struct tenant *tenant;
    struct tenant_user *user;
    struct group *group;
    TAILQ_HEAD(, session) sessions; /* oldest first */
    TAILQ_ENTRY(line) entry;
    bool listed; /* in its tenant's lane: not empty, and its user is below his limit */
};
TAILQ_HEAD(lane, line); /* of one class, by their first sessions */

/* Those of a tenant who name no user are one together. Lives while it has sessions that run or
 * wait. */
struct tenant_user {
    char *name;
    struct tenant *tenant;
    unsigned running, queued, ranked;
    struct pace pace;
    struct line *lines; /* one of each class */
    UT_hash_handle hh;
};

/* Lives while any session of it is remembered. */
struct tenant {
    struct cleat *core;
    char *name;
    unsigned sessions;              /* all that are remembered … */
    struct session_list open, over; /* … as core->open and core->over */
    unsigned running, queued, ranked;
    struct tenant_limits limits;
    int64_t served; /* when a session of it was admitted last */
    struct pace pace;
    TAILQ_HEAD(, session) queue; /* oldest first */
    struct lane *lanes;          /* one of each class */
    struct tenant_user *users;
    bool waits; /* among core->waiting */
    TAILQ_ENTRY(tenant) entry;
    TAILQ_ENTRY(tenant) active_entry; /* with users: sessions run or wait */
    UT_hash_handle hh;
};

struct tenant *tenant_find(const struct cleat *, const char *name);            /* or NULL */
struct tenant_user *tenant_find_user(const struct tenant *, const char *name); /* or NULL */
/* The session's tenant, which is made when it is the first. */
struct tenant *tenant_join(struct session *);
void tenant_leave(struct session *);

/* A tenant that was served longer ago is served first. */
void tenant_served(struct tenant *, int64_t when);

/* By its order, which a session keeps; idempotent. */
void queue_add(struct session *);
void queue_remove(struct session *);

/* Places of daemon and class, and those of tenant and user; idempotent. They go together when a
 * session is admitted, and come back apart. */
void places_take(struct session *);
void places_take_container(struct session *);
void places_give_owner(struct session *);
void places_give_container(struct session *);

/* Limits may have changed. */
void queue_limits_changed(struct cleat *);

#endif
