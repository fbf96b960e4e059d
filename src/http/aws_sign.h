/* Signature version 4 by ourselves (AWS General Reference, "Create a signed AWS API request"),
 * for S3 requests that libcurl 7.88 signs wrongly: it sorts whole header lines, not names, so
 * that where one name begins another, as in x-amz-copy-source and x-amz-copy-source-range, AWS
 * sees another order. Pure. */
#ifndef CLEAT_HTTP_AWS_SIGN_H
#define CLEAT_HTTP_AWS_SIGN_H

#include <stdbool.h>
#include "http/aws_prepare.h"

/* One header's name is the beginning of another's. */
bool aws_sign_needed(const struct aws_message *);

#define AWS_SIGN_HEADERS 3

/* Fills signed_headers with Authorization, X-Amz-Date and, when there is a token,
 * X-Amz-Security-Token: their number; free() the values. The message has x-amz-content-sha256
 * among its headers, a path and a query as they are signed. */
size_t aws_sign(struct http_header signed_headers[AWS_SIGN_HEADERS], const struct aws_message *,
                const struct http_sign *, int64_t wall_ms);

#endif
