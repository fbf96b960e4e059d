/* What is wrong with a target group and its load balancer for sessions: pure. It reads the
 * answers of Elastic Load Balancing as trees. */
#ifndef CLEAT_DRIVER_ALB_JUDGE_H
#define CLEAT_DRIVER_ALB_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include "driver/class.h"
#include "http/xml.h"

/* One page of DescribeListeners or DescribeRules. */
struct alb_page {
    struct xml *root;
    char *listener; /* of rules: its ARN; NULL with listeners */
    struct alb_page *next;
};

/* Answers of the API; NULL: not asked for. */
struct alb_documents {
    struct xml *group, *tags, *attributes; /* of the target group */
    struct xml *balancer, *balancer_attributes;
    struct alb_page *listeners, *rules;
};

struct alb_judge {
    const struct class *class;
    const char *owner, *arn, *name;
    size_t number; /* of the target group, from 1 */
    const char *url;
    const struct alb_documents *documents;
    finding_fn *finding;
    void *arg;
};

/* The first member of the answer's list; NULL: there is none. */
const struct xml *alb_described(const struct xml *root, const char *path);
/* A load balancer that uses it; "": none does. */
const char *alb_balancer_of(const struct alb_documents *);

void alb_judge_group(const struct alb_judge *);    /* group, tags, attributes */
void alb_judge_balancer(const struct alb_judge *); /* the rest */

#endif
