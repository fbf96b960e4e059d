/* Work on S3 for a helper process: a loop of its own, credentials, and jobs, each for one
 * object (or one page of a listing), of which a few run at once.
 *
 * A job is stepped whenever something happened: it starts what can be started and says when it
 * has ended. The first failure, or a signal, ends everything: each job is stepped, sees the
 * error, lets go of its calls and undoes what it began. */
#ifndef CLEAT_EXECUTOR_S3_H
#define CLEAT_EXECUTOR_S3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include "base/buf.h"
#include "base/error.h"
#include "executor/s3_name.h"
#include "http/aws.h"
#include "loop/loop.h"

#define S3_PART_SIZE ((int64_t)8 << 20) /* above it a file is sent, and read, in parts */
#define S3_PARTS_MAX 10000
#define S3_OBJECT_MAX ((int64_t)5 << 40)
#define S3_JOBS 4 /* at once, of those that carry bytes */
/* Bytes of bodies under way; calls and connections hold a copy each. */
#define S3_FLYING_MAX (2 * (size_t)S3_PART_SIZE)

struct s3_job {
    bool (*step)(struct s3_job *); /* true: it has ended */
    void (*release)(struct s3_job *);
    TAILQ_ENTRY(s3_job) entry;
};

/* The next job to run, NULL: none now. It is asked again whenever a job ends. */
typedef struct s3_job *s3_next_fn(void *arg);

struct s3 {
    struct loop *loop;
    struct http_client *client;
    struct aws *aws;
    struct error error; /* the first */
    size_t flying;
    TAILQ_HEAD(, s3_job) jobs;
    unsigned job_count, jobs_max;
    s3_next_fn *next;
    void *arg;
    struct task pump;
    struct timer limit; /* of undoing */
    struct signal_watch *sigterm, *sigint;
    struct fd_watch *settings; /* NULL: nobody tells us anything */
    struct buf told;
};

/* Makes this process untraceable. of_executor: waits for the settings that the executor hands
 * over (settings.h), and takes new credentials from there later. Close it also after an error.
 */
enum error_code s3_open(struct s3 *, bool of_executor, struct error *e);
void s3_close(struct s3 *);

/* Runs jobs, at most jobs_max at once, until next has none and all have ended. */
enum error_code s3_run(struct s3 *, unsigned jobs_max, s3_next_fn *next, void *arg,
                       struct error *e);
void s3_fail(struct s3 *, const char *key,
             const struct error *); /* key: of which object; may be NULL */
bool s3_has_room(const struct s3 *, int64_t len);

/* One call, part of a job. take sees a good answer, in the callback; setting *e there makes it
 * a failed one. */
struct s3_call;
typedef void s3_take_fn(void *arg, const struct aws_answer *, struct error *e);
struct s3_call {
    struct s3 *s3;
    struct aws_call *call; /* NULL: none is under way */
    bool answered;         /* since it was started */
    struct error error;
    int status;
    char code[96];
    size_t flying;
    s3_take_fn *take;
    void *arg;
};

/* request: service and, unless given, time-out are filled in; len: bytes that move. take may be
 * NULL. */
void s3_call_start(struct s3_call *, struct s3 *, struct aws_request *, int64_t len,
                   s3_take_fn *take, void *arg);
void s3_call_drop(struct s3_call *); /* cancels it; also one that was never started */

/* One call, run to its end. */
enum error_code s3_do(struct s3 *, struct aws_request *, struct error *e);

/* A header of an answer, NULL: it has none. */
const char *s3_header(const struct aws_answer *, const char *name);

#endif
