/* What an HTTP answer means for an AWS call. Pure. */
#ifndef CLEAT_HTTP_AWS_VERDICT_H
#define CLEAT_HTTP_AWS_VERDICT_H

#include "http/aws.h"

/* Fills *a but for tries and sent; body and headers are http's. True: the try may have had its
 * effect (no answer though it was sent, success, 5xx); a refusal certainly had none. */
bool aws_verdict(struct aws_answer *a, enum aws_service, const char *method, const char *action,
                 const struct http_answer *http, int64_t wall_ms);

#endif
