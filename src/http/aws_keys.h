/* Keys as values: copying, erasing, and reading them out of what a source answered. */
#ifndef CLEAT_HTTP_AWS_KEYS_H
#define CLEAT_HTTP_AWS_KEYS_H

#include "base/error.h"
#include "http/aws.h"

void aws_keys_copy(struct aws_keys *to, const struct aws_keys *from); /* to: empty or erased */
void aws_keys_clear(struct aws_keys *);                               /* erases, frees */

/* ERR_PROTOCOL unless both keys are there and can be sent, and they have not yet run out. */
enum error_code aws_keys_check(const struct aws_keys *, int64_t wall_ms, struct error *e);

/* {"AccessKeyId","SecretAccessKey","Token","Expiration"} of the container and instance metadata
 * services. keys is empty before; ERR_PROTOCOL. */
enum error_code aws_keys_from_json(struct aws_keys *, const char *text, size_t len,
                                   struct error *e);
/* <Credentials> in an STS answer to action ("AssumeRole"). As above. */
enum error_code aws_keys_from_sts(struct aws_keys *, const char *action, const char *text,
                                  size_t len, struct error *e);

/* "2026-11-21T05:00:00Z", also with a fraction or "+00:00": Unix time; -1: it is no such time.
 */
int64_t aws_time_ms(const char *text);

#endif
