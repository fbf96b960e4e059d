#include "sim_aws.h"
#include <stdlib.h>
#include <string.h>
#include "service.h"
#include "world.h"

struct aws_habits aws_habits;

void aws_begin(void)
{
    aws_habits = (struct aws_habits){0};
    ecs_begin();
    alb_begin();
}

static bool speaks_json(const struct sim_request *r)
{
    return request_header(r, "X-Amz-Target") != NULL;
}

void aws_refuse(struct sim_request *r, const char *code, const char *message)
{
    if (speaks_json(r))
        service_answer_json(r, 400,
                            json_pack("{s:s, s:s}", "__type", code, "message", message));
    else
        service_answer(r, 400,
                       world_printf("<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code>"
                                    "<Message>%s</Message></Error></ErrorResponse>",
                                    code, message));
}

struct arrival {
    struct sim_request *request;
    service_fn *handle;
};

static void handle(void *arg)
{
    struct arrival *a = arg;
    struct sim_request *r = a->request;
    if (!r->is_signed)
        world_violate("AWS", "a request without a signature: %s %s", r->method, r->body);
    else if (world_fault(aws_habits.throttled))
        aws_refuse(r, speaks_json(r) ? "ThrottlingException" : "Throttling", "Rate exceeded");
    else if (world_fault(aws_habits.fails))
        service_answer(r, 503, "<html>Service Unavailable</html>");
    else
        a->handle(r);
}

static void arrive(struct sim_request *r, service_fn *to)
{
    struct arrival *a = world_alloc(sizeof *a);
    *a = (struct arrival){r, to};
    world_at(world_pick(5, 60), handle, a);
}

static void at_ecs(struct sim_request *r)
{
    arrive(r, ecs_receive);
}

static void at_elb(struct sim_request *r)
{
    arrive(r, alb_receive);
}

/* AssumeRole: anybody may, for as long as it lasts. */
static void assume_role(struct sim_request *r)
{
    if (!strstr(r->body, "Action=AssumeRole&"))
        world_violate("SIM", "STS does not know %s", r->body);
    service_answer(r, 200,
                   "<AssumeRoleResponse><AssumeRoleResult><Credentials>"
                   "<AccessKeyId>ASIASIMULATED0000001</AccessKeyId>"
                   "<SecretAccessKey>simulated</SecretAccessKey>"
                   "<SessionToken>token</SessionToken>"
                   "<Expiration>2030-01-01T00:00:00Z</Expiration>"
                   "</Credentials></AssumeRoleResult></AssumeRoleResponse>");
}

static void at_sts(struct sim_request *r)
{
    arrive(r, assume_role);
}

void aws_listen(void)
{
    service_listen("ecs." AWS_REGION_OF_WORLD ".amazonaws.com", at_ecs);
    service_listen("elasticloadbalancing." AWS_REGION_OF_WORLD ".amazonaws.com", at_elb);
    service_listen("sts." AWS_REGION_OF_WORLD ".amazonaws.com", at_sts);
}
