/* The world's own books, and the invariants that are checked against them: never against what
 * the core believes. Servers and transport report here what really happened. The invariants:
 *
 * - I1: a connection carries requests of one session at most, or probes and nothing else.
 * - I2: nothing is sent to a container, or believed of it, before it has proven whose it is.
 * - I3: no two live containers, and no two targets of a node, have one address.
 * - I4: a container is stopped when its upload is confirmed or its salvage limit has passed;
 *   what is lost is said.
 * - I5: what cleat made is always somebody's and goes away in the end: containers, targets,
 *   leases, copies.
 * - I6: a request has one session, an attempt one container, an execution id one run, also over
 *   crashes and lost answers.
 * - I7: a request id whose session was closed gets no other one, and nothing runs in it.
 * - I8: every wait has a deadline, every answer a cap, every number of things at once a limit.
 * - I9: no tenant sees or reaches another's sessions; containers without proof are alone with
 *   their tenant behind a balancer.
 * - I10: nothing blocks the loop, and nothing spins on it. */
#ifndef SIMULATION_BOOKS_H
#define SIMULATION_BOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include "driver/store.h"
#include <stdint.h>
#include "container.h"
#include "haproxy.h"
#include "network.h"

void books_begin(void);
void books_check(void); /* after every turn */

/* ---- I1, I2: what travels ---- */

/* Whose request this is: by its header, its body or its cookie; NULL: nobody's (a sweep's
 * probe). */
const char *books_identity(const struct sim_request *);
void books_request(const struct sim_request *, const char *session, struct connection *,
                   const struct node *frontend);
void books_forwarded(const struct server *, const struct sim_request *);
/* This answer reaches cleat as it is. */
void books_answer(const struct sim_request *, const char *session, const struct sim_answer *);

/* ---- I3 … I6, I9: containers, targets, executions, artifacts ---- */

void books_container_starts(const struct container *); /* before it is in the list */
void books_container_stopped(struct container *, int signo);
/* A removal that a life asked for which is over, after a launch had failed; the container was
 * found since, is an orphan, and nothing ran in it: there is nothing to lose. */
bool books_is_late_removal(const struct container *, unsigned coordinator_life);
/* cleat changes a container or a target: it must be its own. key: OWNER.SESSION.ATTEMPT */
void books_acts_on(const char *key);
void books_target_added(const struct server *);
void books_execution_starts(const struct container *, const struct execution *);
void books_file_read(const char *path);

/* At the end, when every session is closed and time enough has passed. */
void books_check_end(void);
/* Artifacts that no store has, of a container that is gone: the session's document must say
 * "lost". */
bool books_session_lost_files(const char *session);
/* How often an execution ran, in whichever container. */
unsigned books_runs(const char *session, const char *execution_id);

/* ---- what the script knows of sessions ---- */

struct session_facts {
    const char *session, *tenant, *life;
    int64_t
        closing_ms; /* the script asked for it, or cleat asked for the upload; -1: not yet */
    bool closed;    /* the core said so */
    bool ended;     /* its container was told to end while it ran something */
};
struct session_facts *
books_session(const char *session); /* NULL: the script has not heard of it */
struct session_facts *books_session_new(const char *session, const char *tenant,
                                        const char *life);

/* ---- warm containers ---- */

/* A row of the journal is durable; row NULL: it is gone. It tells which containers are made
 * before anybody asks, and who took them, in one commit. */
void books_row(enum store_kind, const char *key, const char *row);
void books_commit_ends(void);            /* after the rows of a commit */
bool books_is_warm(const char *session); /* nobody has taken its container */
/* Who a container is for: the session that took it, or the one that it was launched for. */
const char *books_owner(const char *session);
bool books_is_of(const struct container *, const char *session);
unsigned books_containers(const char *session); /* that were ever for it */
int books_attempt(const struct container *);    /* its number in that session */

/* For the limits that are part of an invariant. */
struct books_limits {
    int64_t salvage_limit_ms, probes_in_flight;
    unsigned warm_max;
    bool forgetful; /* a restored journal may open again what was closed */
};
extern struct books_limits books_limits;

#endif
