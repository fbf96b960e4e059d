/* The output of a job, as it came: STATE_DIR/jobs/ID.log has the bytes of both streams, and
 * ID.index an entry for each chunk of it (where it begins, when it came, of which stream). An
 * entry counts when its bytes are there, so that whatever interrupts us leaves a log that ends
 * earlier, never a wrong one. */
#ifndef CLEAT_SESSION_JOB_LOG_H
#define CLEAT_SESSION_JOB_LOG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

#define JOB_LOG_CHUNK (256 * 1024) /* bytes handed out at once, at most */

enum job_stream { JOB_STDOUT, JOB_STDERR, JOB_STREAMS };
extern const char *const job_stream_names[JOB_STREAMS];

struct job_log {
    char *path; /* without its ending; NULL: not looked at yet */
    bool truncated;
    uint64_t bytes, entries;
    unsigned fresh; /* a bit for each stream that was added to, since the owner cleared it */
};

struct job_chunk {
    enum job_stream stream;
    int64_t time_ms; /* Unix time */
    const char *data;
    size_t len;
};

/* Learns what is on the disk, once. */
void job_log_open(struct job_log *, const char *state_dir, const char *id);
void job_log_close(struct job_log *); /* its files stay */

/* Adds what fits within limit bytes and marks what did not. On an error nothing is added, and
 * the same may be added again. */
enum error_code job_log_add(struct job_log *, const struct job_chunk *, size_t count,
                            uint64_t limit, struct error *e);
void job_log_mark_truncated(struct job_log *);
void job_log_sync(const struct job_log *); /* until the disk has it */
unsigned job_log_streams(const struct job_log *, uint64_t from); /* bits: whose bytes follow */
/* [{"offset","time","stream","data" or "data_base64"}], a bounded piece from offset after on;
 * *next is where to go on. stream -1: both. */
json_t *job_log_read(struct job_log *, uint64_t after, int stream, uint64_t *next);

#endif
