/* Roles by STS: AssumeRoleWithWebIdentity, AssumeRole (AWS STS API Reference). */
#ifndef CLEAT_HTTP_AWS_ASSUME_H
#define CLEAT_HTTP_AWS_ASSUME_H

#include "http/aws_metadata.h"
#include "http/aws_profile.h"

struct aws_assume;

/* keys: who assumes it; NULL: who holds the token in token_file. done as in aws_metadata.h.
 * region may be "": then the global endpoint is asked. */
struct aws_assume *aws_assume_start(struct loop *, struct http_client *, const char *region,
                                    const struct aws_role *, const struct aws_keys *keys,
                                    const char *token_file, aws_metadata_fn *done, void *arg);
void aws_assume_cancel(struct aws_assume *); /* NULL is fine; never calls back */

#endif
