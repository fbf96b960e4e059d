/* What the commands of `cleat job` share. */
#ifndef CLEAT_CLEAT_JOB_H
#define CLEAT_CLEAT_JOB_H

#include "base/buf.h"
#include "cleat/ids.h"
#include "cleat/term.h"

int job_submit(struct cli *, int argc, char **argv);
int job_list(struct cli *, int argc, char **argv);
int job_show(struct cli *, int argc, char **argv);
int job_logs(struct cli *, int argc, char **argv);
int job_wait(struct cli *, int argc, char **argv);
int job_cancel(struct cli *, int argc, char **argv);
int job_timeline(struct cli *, int argc, char **argv);

/* Exit status of a command that waits for a job: what the job's own was (cleat(1)), or: */
enum {
    JOB_TIMED_OUT = 124,
    JOB_NO_RESULT = 125, /* cleat failed, or the job's result is not known */
    JOB_CANCELLED = 130,
    JOB_KILLED = 128, /* and the signal's number */
};

bool job_has_ended(const json_t *job);
bool job_succeeded(const json_t *job);
/* "succeeded in 6.02s", "failed in 0.31s: exit code 3", "running for 2.00s, 12 KiB of output",
 * "in the queue, place 3"; without colours. now_ms: Unix time. */
void job_describe(struct buf *, const json_t *job, int64_t now_ms);
/* "0", "SIGKILL" or NULL: none. Valid until the next call. */
const char *job_exit_text(const json_t *job);
/* Of one that has ended. */
int job_exit_status(const json_t *job);

/* Waits for all, with progress on a terminal, says how those ended that did not succeed, and
 * gives the exit status of the first of these. */
int job_await_all(struct cli *, char *const *ids, size_t count, int64_t timeout_s);

struct job_log {
    const char *id, *stream; /* "stdout" or "stderr"; NULL: both */
    int64_t after;           /* resumes here; afterwards where it stopped */
    bool follow;
};
/* Copies the job's output to ours, or the answers with --json, to its end (follow) or to what
 * there is. */
int job_copy_log(struct cli *, struct job_log *);

#endif
