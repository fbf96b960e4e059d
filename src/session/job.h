/* A job: a session that runs one command and closes. Its command waits in STATE_DIR/jobs, apart
 * from the journal, which only knows its digest; its output is kept beside it (job_log.h). */
#ifndef CLEAT_SESSION_JOB_H
#define CLEAT_SESSION_JOB_H

#include "session/core.h"
#include "session/job_log.h"

enum job_outcome {
    JOB_OPEN, /* it has not ended */
    JOB_SUCCEEDED,
    JOB_FAILED,
    JOB_TIMED_OUT,
    JOB_CANCELLED,
    JOB_LOST, /* it may have run, and nobody knows how it ended */
    JOB_OUTCOMES
};
extern const char *const job_outcome_names[JOB_OUTCOMES]; /* [JOB_OPEN] is "" */

struct job {
    char *name; /* NULL: it has none */
    int64_t timeout_s;
    bool sent;       /* its command may have begun */
    bool cancelling; /* its end was asked for, and is awaited until … */
    int64_t cancel_by;
    int64_t started, ended; /* core time; 0: not yet */
    enum job_outcome outcome;
    int exit_code, signal; /* -1: none */
    struct error error;
    struct job_log log;
    uint64_t marked; /* of its bytes: events tell of them */
    bool mark_waits; /* among core->marks */
    uint64_t bytes;  /* of output, once it has ended */
    bool truncated;
    int64_t log_failing; /* since then its log cannot be written; 0: it can */
    bool log_lost;       /* and is not waited for any more */
    int64_t retry_at;
    unsigned hurried; /* answers in a row that came with little output */
};

/* ---- its life ---- */

/* spec: "job" of the session's parameters (job_request.h). */
void job_new(struct session *, const json_t *spec);
void job_free(struct session *); /* of a session that is none it does nothing, as all here */
/* Of a session that serves: runs its command, once. */
void job_step(struct session *);
/* Its session is about to close, for that reason: how it ended. */
void job_closing(struct session *, const char *stop_reason, const struct error *);
void job_over(struct session *); /* its command is not needed any more */
bool job_has_ended(const struct session *);
/* It, or what it runs, is to end; its output so far is still collected. */
#define JOB_CANCEL_MS 15000 /* then its container is stopped whatever runs there */
void job_cancel(struct session *);

/* For its row; new reference, NULL: it is none. */
json_t *job_row(const struct session *);
void job_from_row(struct session *, const json_t *);

/* ---- its execution ---- */

/* Before it is sent. False: what must be durable first is not. */
bool job_may_begin(struct session *);
void job_begun(struct execution *, const json_t *answer); /* the container has it */
/* Asks for its output, or for its end, in place of asking for its record. False: that is not
 * yet, or never, the way to ask. */
bool job_ask(struct execution *);
/* Takes an answer to job_ask. False: it is none. */
bool job_take(struct execution *);
/* It waits for output, and the job is to end: it waits no longer. */
void job_hurry_cancel(struct execution *);
void job_take_plain(struct session *, const json_t *record); /* its output */
void job_finished(struct session *, enum run_state ran, const struct error *,
                  const json_t *record);

#endif
