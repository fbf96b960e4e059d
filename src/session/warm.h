/* Warm containers: sessions that nobody has asked for yet. Such a session is launched, routed
 * and confirmed as any other and waits; a claim gives its attempt to a session that needs a
 * container, and it vanishes, all in one commit. Nobody but an operator sees it. */
#ifndef CLEAT_SESSION_WARM_H
#define CLEAT_SESSION_WARM_H

#include "session/core.h"

struct warm_counts {
    unsigned ready, starting; /* starting: or its route is sought anew */
    unsigned closing;
    unsigned old;       /* ready or starting, and made before the class changed */
    unsigned fit;       /* ready, and not old */
    unsigned launching; /* starting, and the engine has not answered yet */
};

/* ---- pools: warm_pool.c ---- */

void warm_open(
    struct group *); /* the pool of a class; it begins with the first warm_consider */
void warm_close(struct group *);
void warm_reload(struct cleat *); /* classes may have changed */
/* Something changed: at the end of this turn what is too much is closed and what is missing is
 * launched. */
void warm_consider(struct group *);
void warm_consider_all(struct cleat *);
struct warm_counts warm_count(const struct group *);
unsigned warm_target(const struct group *); /* how many there should be */
/* {"ready","starting","target","hits","misses"} for status. New reference. */
json_t *warm_status(const struct group *);

/* A session needed a container: hit, it took a warm one; else it launches its own. Each need
 * counts once, as what was tried first. */
void warm_note_need(struct session *, bool hit);
/* A container of its own brought the session to READY after so long. */
void warm_note_start(struct group *, int64_t ms);
/* The state of a warm session changed. */
void warm_changed(struct session *, enum session_state from);

/* ---- warm sessions: warm.c ---- */

struct session *warm_new(struct group *); /* OPENING, in the turn's commit */
void warm_free(struct session *);         /* its part of it; of any session */
/* Its step, before any other: closes it when it is too old, or not wanted as it is. */
void warm_step(struct session *);
struct recipe warm_recipe(const struct class *);
bool warm_fits(const struct session *);       /* a claim may have it … */
bool warm_is_current(const struct session *); /* … and it is what its class makes today */
int64_t warm_end(const struct session *);     /* core time at which it is too old */

/* Its part of a row, NULL: it is not warm; new reference. */
json_t *warm_row(const struct session *);
/* over: it has ended. NULL: the row is not of a warm session, or *e says what is wrong with
 * it. */
struct session *warm_from_row(struct cleat *, const char *id, const json_t *row, bool over,
                              struct error *e);

/* ---- claims: warm_claim.c ---- */

/* Of a session that needs a container. True: it has that of a warm session now, whose route is
 * confirmed again, or it will as soon as its own row is durable; no launch is due. */
bool warm_claim(struct session *);
/* What may be claimed now: how many that may serve for so long, … */
unsigned warm_offers(const struct group *, int64_t life_s);
int64_t warm_offer(const struct group *);        /* … and the longest time; 0: there is none */
int64_t warm_life_s(const struct session *);     /* how long a session needs it at most */
/* One may be claimed that could not be before: whatever holds up those who need a container, a
 * claim needs no launch. */
void warm_offered(struct group *);

#endif
