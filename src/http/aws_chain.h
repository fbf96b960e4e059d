/* One run through the sources of credentials, in the SDKs' order: the first that is configured
 * is the one; when it fails the run fails, for another one's keys would be another identity. */
#ifndef CLEAT_HTTP_AWS_CHAIN_H
#define CLEAT_HTTP_AWS_CHAIN_H

#include "base/error.h"
#include "http/aws.h"
#include "http/client.h"
#include "loop/loop.h"

struct aws_chain;

/* keys and source ("environment") are NULL when e says why; e names every source that was asked
 * and its reason. All are valid during the call. Called once, from the loop. */
typedef void aws_chain_fn(void *arg, const struct aws_keys *keys, const char *source,
                          const struct error *e);

/* region: for STS; may be "". */
struct aws_chain *aws_chain_start(struct loop *, struct http_client *, const char *region,
                                  aws_chain_fn *done, void *arg);
void aws_chain_cancel(struct aws_chain *); /* never calls back */

#endif
