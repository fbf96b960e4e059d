/* What is said to the Docker Engine API; pure. Docker Engine API 1.41,
 * https://docs.docker.com/engine/api/v1.41/, and Podman's Docker-compatible one. */
#ifndef CLEAT_DRIVER_DOCKER_FIELDS_H
#define CLEAT_DRIVER_DOCKER_FIELDS_H

#include <jansson.h>
#include <stdint.h>
#include "driver/class.h"
#include "driver/runtime.h"

/* Inside a container. The store is the session's own directory, mounted where the executor
 * looks for it. */
#define DOCKER_WORKSPACE "/workspace"
#define DOCKER_ARTIFACTS "/artifacts"

/* Text is free()d by the caller. */

/* Body of POST /containers/create. It holds the secret. region: of a store in S3; "":
 * containers are not told one. New reference. */
json_t *docker_create_body(const struct class *, const struct launch *, const char *region);
/* The class's store for one session on this machine, NULL: there is none here. free(). */
char *docker_artifacts_of(const struct class *, const char *session);
char *docker_list_path(const char *owner);
/* since_s: Unix time from which what happened is told again. */
char *docker_events_path(const char *owner, int64_t since_s);
/* Without a tag or digest `latest` is pulled, not every tag that there is. */
char *docker_pull_path(const char *image);

#endif
