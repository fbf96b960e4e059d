/* One HTTP request of a source of credentials, repeated a few times: without an answer, after
 * 5xx and throttling. Connections are its own. */
#ifndef CLEAT_HTTP_AWS_FETCH_H
#define CLEAT_HTTP_AWS_FETCH_H

#include "http/aws.h"
#include "http/aws_prepare.h"
#include "loop/loop.h"

struct aws_fetch;

struct aws_fetch_limits {
    int64_t connect_ms, total_ms; /* of one try */
    unsigned tries;
};

/* *m is taken, and empty afterwards. keys NULL: not signed; else copied, for STS in region.
 * done as in http_start: the last try's answer. */
struct aws_fetch *aws_fetch_start(struct loop *, struct http_client *, struct aws_message *m,
                                  const struct aws_keys *keys, const char *region,
                                  const struct aws_fetch_limits *, http_done_fn *done,
                                  void *arg);
void aws_fetch_cancel(struct aws_fetch *); /* NULL is fine; never calls back */

/* What such an answer says when it is no success: "HTTP status 403: AccessDenied: …". */
void aws_fetch_complain(const struct http_answer *, struct error *e);

#endif
