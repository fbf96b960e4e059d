/* Credentials for one session's own prefix in the artifact store: STS AssumeRole of the class's
 * s3_role with a session policy (IAM User Guide, "Session policies"), so that a container that
 * has them can read and write s3://BUCKET/PREFIX/SESSION/ and nothing else. */
#ifndef CLEAT_DRIVER_GRANT_H
#define CLEAT_DRIVER_GRANT_H

#include "driver/class.h"
#include "http/aws.h"

#define GRANT_LIFE_S                                                                           \
    3600 /* what is asked for; a chained role gets no more (IAM User Guide)                    \
          */

struct grant;

/* keys is NULL when e says why not; owned by the caller of the callback (valid during the
 * call). */
typedef void grant_fn(void *arg, const struct error *e, const struct aws_keys *keys);

/* class has an s3_role and artifacts in S3. done is called once, from the loop. */
struct grant *grant_start(struct loop *, struct aws *, const struct class *, const char *owner,
                          const char *session, grant_fn *done, void *arg);
void grant_cancel(struct grant *); /* NULL is fine; never calls back */

/* The session policy, for the partition of the role's ARN ("aws", "aws-cn"); free(). */
char *grant_policy(const char *role, const char *bucket, const char *prefix,
                   const char *session);

/* Reads STS's answer; keys: strings to free(). For tests. */
bool grant_read(const void *body, size_t len, int64_t now_ms, struct aws_keys *keys,
                struct error *e);

#endif
