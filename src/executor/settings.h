/* What an executor hands to a helper process that speaks to S3: its own AWS_* variables and the
 * credentials that it was given. They travel over the socket that is the helper's descriptor 1,
 * after the helper made itself untraceable: never as arguments, environment or file, where user
 * code of the same user id could read them.
 *
 *   helper → executor   ready
 *   executor → helper   {"env":{"AWS_REGION":"…"},"keys":{"access_key_id","secret_access_key",
 *                       "session_token","expires_ms"}?}    one line, again when the keys change
 */
#ifndef CLEAT_EXECUTOR_SETTINGS_H
#define CLEAT_EXECUTOR_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>
#include "base/buf.h"
#include "base/error.h"
#include "http/aws.h"

#define SETTINGS_READY "ready"

/* Reads {"access_key_id",…}. ERR_INVALID. Release the keys. */
enum error_code settings_read_keys(const json_t *, struct aws_keys *, struct error *e);
void settings_release_keys(struct aws_keys *); /* erases them */

/* The line; keys NULL or without access_key: none. Erase it, free(). */
char *settings_line(json_t *env, const struct aws_keys *keys);

/* In the helper. await: says that we are ready, and takes environment and keys over; blocks, at
 * most 10 s for each piece. receive: what came since; keys stay as they are when there are
 * none. False: the executor is gone. */
enum error_code settings_await(struct buf *told, struct aws_keys *, struct error *e);
bool settings_receive(struct buf *told, struct aws_keys *);
void settings_release(struct buf *told); /* erases it */

#endif
