/* Keys from the services beside a machine: the container credential provider (ECS, EKS) and the
 * instance metadata service of EC2, version 2 (AWS SDKs and Tools Reference Guide, "Container
 * credential provider", "IMDS credential provider"). Addresses and tokens come from the
 * environment. */
#ifndef CLEAT_HTTP_AWS_METADATA_H
#define CLEAT_HTTP_AWS_METADATA_H

#include <stdbool.h>
#include "base/error.h"
#include "http/aws.h"
#include "loop/loop.h"

struct aws_metadata;

/* keys NULL when e says why; valid during the call. Called once, from the loop. */
typedef void aws_metadata_fn(void *arg, const struct aws_keys *keys, const struct error *e);

bool aws_container_configured(void);
struct aws_metadata *aws_container_start(struct loop *, struct http_client *,
                                         aws_metadata_fn *done, void *arg);
bool aws_instance_disabled(void); /* $AWS_EC2_METADATA_DISABLED */
struct aws_metadata *aws_instance_start(struct loop *, struct http_client *,
                                        aws_metadata_fn *done, void *arg);
void aws_metadata_cancel(struct aws_metadata *); /* NULL is fine; never calls back */

/* https, or http to this machine or to the addresses of the ECS and EKS agents. */
bool aws_container_url_allowed(const char *url);

#endif
