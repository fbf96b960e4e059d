/* The script: lives of sessions, led through the public API only, and what callers must see. */
#ifndef SIMULATION_LIFE_H
#define SIMULATION_LIFE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/id.h"
#include "cleat.h"
#include "world.h"

#define LIFE_EXECUTIONS 8

#define coordinator (world.me->cleat) /* NULL while it is down */

enum phase { LIFE_UNBORN, LIFE_WAITING, LIFE_READY, LIFE_CLOSING, LIFE_CLOSED, LIFE_OVER };

struct plan {
    const char *tenant, *user; /* user NULL: one of its own */
    struct life *parent;       /* born when it has a session, and ends with it */
    int64_t born_ms;
    int64_t close_ms;  /* after birth, whatever the state; -1: when its executions are done */
    int64_t linger_ms; /* before it closes by itself */
    bool stays;        /* until close_ms, even when its executions are done */
    bool twice;        /* two creates at once */
    bool keeps_alive;
    bool env;
    bool outlives; /* warm containers: it may live for longer than those are launched for */
    bool is_job;
    struct planned_job {
        int64_t takes_ms, timeout_s, cancel_ms; /* after birth; -1: never */
        unsigned lines;
        bool fails, artifact, input;
    } job;
    unsigned inputs; /* files of its input; 0: it has none */
    unsigned executions;
    struct planned_execution {
        int64_t after_ready_ms, takes_ms, timeout_s; /* 0: the class's */
        bool fails, artifact, named, argv, retries;
    } execution[LIFE_EXECUTIONS];
};

enum outcome { OUTCOME_NONE, OUTCOME_OPEN, OUTCOME_RECORD, OUTCOME_ERROR, OUTCOME_SKIPPED };

struct life_execution {
    const char *id; /* NULL: the core mints one */
    enum outcome outcome;
    bool said_not_run; /* an error said ran: no, and it was not asked for again */
    unsigned tries;
    int64_t answered_ms;
    const char *error;
    const struct life_step *step; /* the newest: those before a restart are forgotten */
};

struct life {
    unsigned index;
    struct instance *of;
    const char *name, *request_id;
    struct plan plan;
    enum phase phase;
    char session[ID_SIZE];
    bool was_ready, close_asked;
    int64_t ready_ms, closing_ms, closed_ms;
    struct life_execution execution[LIFE_EXECUTIONS];
    struct job_facts {
        const char *state; /* how it ended; NULL: it has not */
        int64_t ended_ms;  /* when that was first known */
        uint64_t offset;   /* so much of its log was read */
        bool log_ended, truncated, cancel_asked;
    } job;
    int64_t missing_ms; /* since when its session is not known; -1: it is */
    int64_t sought_ms;  /* when this is asked again, once for all who ask */
    void (*sought)(void *);
    bool must_be_found, forgotten;
    struct life *next;
};

extern struct life *lives;

void lives_begin(void);
struct life *life_new(const struct plan *); /* of me, born at plan.born_ms */
void life_close(struct life *);             /* now, whatever its plan */
const char *life_state(const struct life *,
                       const char **stop_reason); /* of its session; NULL */
void lives_forget_calls(void); /* the coordinator is gone: nobody calls back */
/* The journal has lost it: nobody asks for it any more, and what is left of it is to go. */
void life_abandon(struct life *);
void lives_resume(void); /* a new one is there */
bool lives_all_closed(void);
/* A container's death is noticed in time by a coordinator (me) that is up since then. */
void lives_check_deaths(void);
void life_closes_by_itself(struct life *);
void lives_check_end(void); /* what callers were told agrees with what happened */

/* Longest times; more is a violation of I8. */
struct life_limits {
    int64_t execute_ms, close_ms;
    bool forgetful; /* the journal may be lost: what it alone knew is not asked for */
    bool replaces;  /* a session without a container is given another one */
};
extern struct life_limits life_limits;

/* calls.c: every API call is answered exactly once, in time, and never after its coordinator's
 * end. */
struct call;
typedef void call_answered_fn(void *arg, const struct cleat_error *, const char *document);
struct call *call_new(const char *what, int64_t within_ms, call_answered_fn *, void *arg);
void call_done(void *call, const struct cleat_error *,
               const char *document); /* a cleat_done_fn */
void call_keep(struct call *, struct cleat_call *);
void call_cancel(struct call *);
void calls_begin(void);
void calls_forget_all(void);
bool calls_all_answered(void);

#endif
