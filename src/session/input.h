/* The input of a session: checked when it is asked for, then copied into the artifact store by
 * a child process, side by side with the launch. */
#ifndef CLEAT_SESSION_INPUT_H
#define CLEAT_SESSION_INPUT_H

#include "session/core.h"

/* Its form alone: file:///directory or s3://bucket/prefix, without ".." and the like. */
enum error_code input_check(const char *url, struct error *e);
/* Whether the tenant may take it: it lies below one of the class's input_sources. */
enum error_code input_allow(const struct class *, const char *tenant, const char *url,
                            struct error *e);

/* Of a session that is not ready yet: starts what is missing, repeats what failed; in the end
 * the session closes. */
void input_step(struct session *);
void input_stop(struct session *); /* kills what is under way; idempotent */
bool input_is_running(const struct session *);
bool input_is_there(const struct session *); /* in the store, or there is none */

/* The body of the container's /file-sync that fetches it. New reference. */
json_t *input_request(const struct session *);

#endif
