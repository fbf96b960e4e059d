/* The simulated AWS: ECS, Elastic Load Balancing and STS at their hosts in eu-central-1. */
#ifndef SIMULATION_AWS_H
#define SIMULATION_AWS_H

#include <stdbool.h>
#include <stdint.h>
#include "haproxy.h"
#include "network.h"

#define AWS_REGION_OF_WORLD "eu-central-1"

void aws_begin(void);
void aws_listen(void);
/* A refusal as AWS writes it, by the service's protocol: 400 with its code. */
void aws_refuse(struct sim_request *, const char *code, const char *message);

struct aws_habits {
    unsigned throttled, fails; /* in 10,000, while faults last */
};
extern struct aws_habits aws_habits;

/* sim_ecs.c */
void ecs_begin(void);
void ecs_receive(struct sim_request *);
struct container *ecs_plant_twin(const char *session, bool with_target); /* NULL: not up yet */
unsigned ecs_left(void); /* tasks that are not STOPPED */
bool ecs_has_left(const char *key); /* a task of it had an address and gave it back */
struct ecs_habits {
    int64_t state_ms;     /* at most in each state on the way */
    unsigned late_to_see; /* MISSING for a while after RunTask */
    unsigned no_capacity, stuck, interrupted;
    bool forgets_bytes; /* every repeat of RunTask is a conflict */
};
extern struct ecs_habits ecs_habits;

/* sim_alb.c: target groups, each a node of the simulated balancer at http://albN.test */
void alb_begin(void);
void alb_receive(struct sim_request *);
struct node *alb_add_group(unsigned index, bool behind_header);
const char *alb_arn(unsigned index); /* of the n-th, from 0 */
/* The node behind the header, for a request at the common address. */
struct node *alb_choose(const struct node *, const struct sim_request *);
void alb_plant_target(const char *ip, uint16_t port); /* in a group that is empty */
unsigned alb_left(void); /* targets that are registered or draining */
struct alb_habits {
    int64_t deregistration_ms, traffic_after_ms;
};
extern struct alb_habits alb_habits;

#endif
