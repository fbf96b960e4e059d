/* The files of jobs: STATE_DIR/jobs/ID.request, .log and .index. */
#ifndef CLEAT_SESSION_JOB_FILES_H
#define CLEAT_SESSION_JOB_FILES_H

#include "session/core.h"

/* The command of a session that is about to be made; ERR_STORE. */
enum error_code job_files_put(struct cleat *, const char *id, const char *command,
                              struct error *e);
json_t *job_files_command(const struct session *); /* new reference; NULL: it is not there */
void job_files_drop_command(const struct session *);
/* All of a session that is forgotten, a few at a time. */
void job_files_drop(struct cleat *, const char *id);
void job_files_init(struct cleat *);
enum error_code job_files_open(struct cleat *, struct error *e); /* makes the directory */
/* Drops what belongs to no session and is older than any that is remembered. */
void job_files_sweep(struct cleat *);
void job_files_close(struct cleat *);

#endif
