/* A class of runtime ecs and its RunTask templates. */
#ifndef ECS_CLASS_H
#define ECS_CLASS_H

#include <jansson.h>
#include "driver/class.h"

#define NETWORK                                                                                \
    "\"networkConfiguration\":{\"awsvpcConfiguration\":{\"subnets\":[\"subnet-1\"]}}"
#define MINIMAL "{\"taskDefinition\":\"agent:3\"," NETWORK "}"

/* Set-up and tear-down of a test; its state is the class. */
int ecs_class_open(void **state);
int ecs_class_close(void **state);

/* New references; a text that is refused fails the test. */
json_t *ecs_template_of(const struct class *, const char *text);
json_t *ecs_template_of_size(size_t len); /* an environment variable of that length */

#endif
