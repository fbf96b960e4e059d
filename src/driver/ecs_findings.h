/* What an account's settings would break, from what ECS and EC2 say of cluster, task definition
 * and subnets. Pure. */
#ifndef CLEAT_DRIVER_ECS_FINDINGS_H
#define CLEAT_DRIVER_ECS_FINDINGS_H

#include <jansson.h>
#include <stddef.h>
#include "driver/class.h"

struct ecs_found {
    const struct class *class;
    const json_t *template;
    finding_fn *tell;
    void *arg;
};

/* The request that a launch would make, and what it says against the class. */
void ecs_find_request(const struct ecs_found *, const char *owner, const char *region);
/* Answers of DescribeClusters, DescribeTaskDefinition and EC2's DescribeSubnets (XML). */
void ecs_find_cluster(const struct ecs_found *, const char *text, size_t len);
void ecs_find_definition(const struct ecs_found *, const char *text, size_t len);
void ecs_find_subnets(const struct ecs_found *, const char *text, size_t len);

/* The request of DescribeSubnets: a form; free(). */
char *ecs_subnets_request(const json_t *template);

#endif
