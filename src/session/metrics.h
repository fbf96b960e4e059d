/* What is measured, class by class, from the start of this process on: metrics_* note what
 * happened, cleat_metrics (metrics_text.c) and cleat_status (figures.c) tell it. */
#ifndef CLEAT_SESSION_METRICS_H
#define CLEAT_SESSION_METRICS_H

#include "base/histogram.h"
#include "session/core.h"
#include "session/job.h"
#include "session/session.h"

/* How a session's start ended. */
enum start_result { START_READY, START_FAILED, START_CANCELLED, START_RESULTS };
extern const char *const start_result_names[START_RESULTS];

enum execution_result {
    EXECUTION_COMPLETED, /* a record says so */
    EXECUTION_FAILED,    /* a record says so */
    EXECUTION_LOST,      /* no record */
    EXECUTION_RESULTS
};
extern const char *const execution_result_names[EXECUTION_RESULTS];

#define STOP_REASONS 40 /* more are counted with the last */

struct metrics {
    struct histogram phases[SPAN_NAMES];
    uint64_t cleanup[SPAN_STEPS][STEP_LOST + 1]; /* by result */
    uint64_t starts[START_RESULTS];
    struct histogram session_starts;   /* from leaving the queue to READY */
    struct histogram container_starts; /* from the launch to the end of STARTING */
    uint64_t driver_calls[DRIVER_CALLS][ERR_COUNT];
    uint64_t attempts_failed[ATTEMPT_STATES][ERR_COUNT];
    uint64_t deaths; /* of containers that served */
    uint64_t executions[EXECUTION_RESULTS];
    struct histogram execution_times; /* of those with a record */
    uint64_t route_hits, route_misses;
    uint64_t jobs[JOB_OUTCOMES];
    struct histogram job_times; /* of those that ran */
    struct {
        char reason[32];
        uint64_t count;
    } ended[STOP_REASONS];
};

struct metrics *metrics_new(void); /* free() */

void metrics_phase(const struct group *, const char *name, int64_t ms);
void metrics_cleanup(const struct group *, const char *step, enum step_result);
void metrics_session(const struct session *, enum session_state from); /* it has gone on */
void metrics_attempt(const struct attempt *, enum attempt_state from); /* it has gone on */
void metrics_attempt_failed(const struct attempt *, enum error_code);
void metrics_driver_call(const struct group *, enum driver_call, const struct error *);
/* ms < 0: it never began. */
void metrics_execution(const struct group *, enum execution_result, int64_t ms);
void metrics_job(const struct session *); /* it has ended */
/* A request needed a route: hit: it was confirmed already. */
void metrics_route(const struct group *, bool hit);

const struct histogram *metrics_phase_of(const struct metrics *,
                                         const char *name); /* a name of span_names */
/* Over all classes. */
uint64_t metrics_failed_attempts(const struct cleat *);
uint64_t metrics_uploads(const struct cleat *, enum step_result);

#endif
