/* What is said to ECS: the RunTask request made of a class's template and one launch, and the
 * requests about tasks. Pure. Members and limits: Amazon ECS API Reference, RunTask. */
#ifndef CLEAT_DRIVER_ECS_FIELDS_H
#define CLEAT_DRIVER_ECS_FIELDS_H

#include <jansson.h>
#include <stddef.h>
#include "driver/class.h"
#include "driver/runtime.h"

#define ECS_TASK_BYTES (256 * 1024) /* of a template */
#define ECS_OVERRIDES_MAX 8192      /* characters of JSON */
#define ECS_DESCRIBE_MAX 100        /* tasks in one DescribeTasks */

/* A label is spread over tags of its own: botocore's model (TagValue). */
#define ECS_TAG_MAX 256 /* characters of a value */
#define ECS_LABEL_TAGS ((LABEL_MAX + ECS_TAG_MAX - 1) / ECS_TAG_MAX)
#define ECS_LABEL_TAG "cleat:label." /* and a number from 0 */

/* The file's JSON (aws ecs run-task --cli-input-json). NULL: *e (ERR_CONFIG) says which member
 * is unknown, missing, of the wrong type or set by cleat itself. New reference. */
json_t *ecs_read_template(const char *text, size_t len, const struct class *, struct error *e);

/* The request's override of that container; NULL: it has none. Borrowed. */
json_t *ecs_override_of(const json_t *request, const char *container);

/* The template's cluster, else the class's. */
const char *ecs_cluster(const json_t *template, const struct class *);

/* The request of this launch, the same bytes for the same arguments; it holds the secret;
 * free(). region "": containers are not told one. NULL: *e (ERR_TOO_LARGE, ERR_PERMANENT). */
char *ecs_run_request(const json_t *template, const struct class *, const struct launch *,
                      const char *region, struct error *e);

/* ids: up to ECS_DESCRIBE_MAX. tags: they are wanted in the answer. free(). */
char *ecs_describe_request(const char *cluster, const char *const *ids, size_t count,
                           bool tags);
char *ecs_list_request(const char *cluster, const char *owner, const char *next);
char *ecs_stop_request(const char *cluster, const char *id, const char *reason);

#endif
