/* An AWS call as an HTTP request: URL, headers and body in the protocol of its service. Pure
 * but for the environment that names endpoints. */
#ifndef CLEAT_HTTP_AWS_PREPARE_H
#define CLEAT_HTTP_AWS_PREPARE_H

#include "http/aws.h"

struct aws_message {
    char *url, *method, *body; /* body NULL: none */
    size_t body_len;
    struct http_header *headers; /* names and values are owned, too */
    size_t header_count;
};

/* Everything is copied. On an error *m is empty. */
enum error_code aws_prepare(struct aws_message *m, const struct aws_request *,
                            const char *region, struct error *e);
void aws_message_clear(struct aws_message *);

#endif
