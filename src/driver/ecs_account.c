/* Reads what a class names in the account, one thing after the other. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/ecs_fields.h"
#include "driver/ecs_findings.h"
#include "driver/ecs_tasks.h"
#include "http/json.h"

struct ecs_account {
    struct runtime *rt;
    struct ecs_found found;
    size_t step;
    struct aws_call *call;
    runtime_done_fn *done;
    void *arg;
};

static char *clusters_request(const struct runtime *rt)
{
    json_t *o = json_pack("{s:[s]}", "clusters", ecs_cluster(rt->template, rt->env.class));
    char *text = js_text(o);
    json_decref(o);
    return text;
}

static char *definition_request(const struct runtime *rt)
{
    json_t *o =
        json_pack("{s:O}", "taskDefinition", json_object_get(rt->template, "taskDefinition"));
    char *text = js_text(o);
    json_decref(o);
    return text;
}

static char *subnets_request(const struct runtime *rt)
{
    return ecs_subnets_request(rt->template);
}

static const struct step {
    enum aws_service service;
    const char *action, *permission;
    char *(*request)(const struct runtime *);
    void (*find)(const struct ecs_found *, const char *text, size_t len);
} steps[] = {
    {AWS_ECS, "DescribeClusters", "allow ecs:DescribeClusters", clusters_request,
     ecs_find_cluster},
    {AWS_ECS, "DescribeTaskDefinition", "allow ecs:DescribeTaskDefinition", definition_request,
     ecs_find_definition},
    {AWS_EC2, "DescribeSubnets", "allow ec2:DescribeSubnets", subnets_request,
     ecs_find_subnets},
};

static void next_step(struct ecs_account *a);

/* What may not be read may still be right. */
static void say_unread(const struct ecs_account *a, const struct aws_answer *answer)
{
    const struct ecs_found *f = &a->found;
    bool denied = strncmp(answer->code, "AccessDenied", 12) == 0 ||
                  strcmp(answer->code, "UnauthorizedOperation") == 0;
    f->tell(f->arg, denied ? FINDING_WARNING : FINDING_ERROR, answer->error.message,
            denied ? steps[a->step].permission
            : answer->class == AWS_PERMANENT
                ? "correct ecs_task, ecs_cluster or the region"
                : "credentials, region or network of this machine");
}

static void read_step(void *arg, const struct aws_answer *answer)
{
    struct ecs_account *a = arg;
    a->call = NULL;
    if (answer->class == AWS_FINE)
        steps[a->step].find(&a->found, answer->body, answer->body_len);
    else
        say_unread(a, answer);
    a->step++;
    next_step(a);
}

static void next_step(struct ecs_account *a)
{
    struct runtime *rt = a->rt;
    runtime_done_fn *done = a->done;
    void *arg = a->arg;
    if (a->step == sizeof(steps) / sizeof(steps[0])) {
        rt->account = NULL;
        free(a);
        done(arg, NULL);
        return;
    }
    const struct step *s = &steps[a->step];
    char *body = s->request(rt);
    a->call = aws_start(
        rt->env.aws,
        &(struct aws_request){
            .service = s->service, .action = s->action, .body = body, .body_len = strlen(body)},
        read_step, a);
    free(body);
}

void ecs_examine(struct runtime *rt, finding_fn *tell, runtime_done_fn *done, void *arg)
{
    struct error e;
    if (rt->account != NULL) {
        error_set(&e, ERR_CONFLICT, "the account is being read already");
        later_finish(&rt->later, done, arg, &e);
        return;
    }
    struct ecs_account *a = mem_alloc(sizeof(*a));
    rt->account = a;
    a->rt = rt;
    a->found = (struct ecs_found){
        .class = rt->env.class, .template = rt->template, .tell = tell, .arg = arg};
    a->done = done;
    a->arg = arg;
    ecs_find_request(&a->found, rt->env.owner, aws_region(rt->env.aws));
    next_step(a);
}

void ecs_examine_drop(struct runtime *rt)
{
    if (rt->account == NULL)
        return;
    aws_cancel(rt->account->call);
    free(rt->account);
    rt->account = NULL;
}
