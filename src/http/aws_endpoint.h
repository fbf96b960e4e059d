/* Where an AWS service is, and how a name is written into URLs. Pure but for the environment:
 * AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_<SERVICE>, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS
 * (AWS SDKs and Tools Reference Guide, "Service-specific endpoints"). */
#ifndef CLEAT_HTTP_AWS_ENDPOINT_H
#define CLEAT_HTTP_AWS_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"
#include "http/aws.h"

bool aws_region_valid(const char *region);

/* As it is signed for: "ecs", "elasticloadbalancing" … */
const char *aws_service_name(enum aws_service);
/* Of forms; NULL: the service has none. */
const char *aws_service_version(enum aws_service);

/* URL without a slash at its end; free(). region "": the global one of STS. NULL and
 * ERR_CONFIG: the environment names no http or https URL. bucket: S3; path style where an
 * endpoint is set or the bucket's name has a dot, which no certificate covers, else the bucket
 * is a part of the host's name. */
char *aws_endpoint(enum aws_service, const char *region, const char *bucket, struct error *e);

/* The whole URL of a call. NULL and *e as above, or ERR_INVALID: no bucket's name. */
char *aws_url(const struct aws_request *, const char *region, struct error *e);

#endif
