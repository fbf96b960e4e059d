/* Reads the account for examine: one call after the other, for one target group after the
 * other; a load balancer that leads to several of them is read once. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/alb_balancer.h"
#include "driver/alb_judge.h"

#define PAGES_MAX 200 /* a listing without end is cut */

enum step {
    STEP_GROUP,
    STEP_TAGS,
    STEP_ATTRIBUTES,
    STEP_BALANCER,
    STEP_BALANCER_ATTRIBUTES,
    STEP_LISTENERS,
    STEP_RULES,
    STEP_END
};

struct alb_examination {
    struct balancer *b;
    finding_fn *finding;
    balancer_done_fn *done;
    void *arg;
    size_t index; /* of the target group */
    enum step step;
    struct alb_documents documents;
    char *balancer;             /* ARN of the one that was read last; NULL: none */
    size_t pages;               /* of its load balancer's listeners and rules */
    char *marker;               /* of the next page; NULL: the first */
    const struct xml *listener; /* whose rules are read, and where it stands */
    struct alb_page *listener_page;
    struct aws_call *call;
    TAILQ_ENTRY(alb_examination) entry;
};

static void go_on(struct alb_examination *);

/* ---- documents ---- */

static void free_pages(struct alb_page **pages)
{
    struct alb_page *p;
    while ((p = *pages) != NULL) {
        *pages = p->next;
        xml_free(p->root);
        free(p->listener);
        free(p);
    }
}

static void free_group(struct alb_documents *d)
{
    xml_free(d->group);
    xml_free(d->tags);
    xml_free(d->attributes);
    d->group = d->tags = d->attributes = NULL;
}

static void free_balancer(struct alb_examination *x)
{
    struct alb_documents *d = &x->documents;
    xml_free(d->balancer);
    xml_free(d->balancer_attributes);
    d->balancer = d->balancer_attributes = NULL;
    x->pages = 0;
    free_pages(&d->listeners);
    free_pages(&d->rules);
    free(x->balancer);
    x->balancer = NULL;
}

static void free_examination(struct alb_examination *x)
{
    TAILQ_REMOVE(&x->b->examinations, x, entry);
    if (x->call != NULL)
        aws_cancel(x->call);
    free_group(&x->documents);
    free_balancer(x);
    free(x->marker);
    free(x);
}

void alb_examine_cancel(struct balancer *b)
{
    while (!TAILQ_EMPTY(&b->examinations))
        free_examination(TAILQ_FIRST(&b->examinations));
}

static void add_page(struct alb_page **pages, struct xml *root, const char *listener)
{
    struct alb_page *p = mem_alloc(sizeof(*p));
    p->root = root;
    p->listener = mem_strdup(listener);
    while (*pages != NULL)
        pages = &(*pages)->next;
    *pages = p;
}

/* ---- order ---- */

static const struct {
    const char *action, *argument, *list;
    bool paged;
} calls[STEP_END] = {
    [STEP_GROUP] = {"DescribeTargetGroups", "TargetGroupArns.member.1",
                    "DescribeTargetGroupsResult/TargetGroups", false},
    [STEP_TAGS] = {"DescribeTags", "ResourceArns.member.1",
                   "DescribeTagsResult/TagDescriptions", false},
    [STEP_ATTRIBUTES] = {"DescribeTargetGroupAttributes", "TargetGroupArn",
                         "DescribeTargetGroupAttributesResult/Attributes", false},
    [STEP_BALANCER] = {"DescribeLoadBalancers", "LoadBalancerArns.member.1",
                       "DescribeLoadBalancersResult/LoadBalancers", false},
    [STEP_BALANCER_ATTRIBUTES] = {"DescribeLoadBalancerAttributes", "LoadBalancerArn",
                                  "DescribeLoadBalancerAttributesResult/Attributes", false},
    [STEP_LISTENERS] = {"DescribeListeners", "LoadBalancerArn",
                        "DescribeListenersResult/Listeners", true},
    [STEP_RULES] = {"DescribeRules", "ListenerArn", "DescribeRulesResult/Rules", true},
};

static const char *subject(const struct alb_examination *x)
{
    if (x->step <= STEP_ATTRIBUTES)
        return x->b->groups[x->index].arn;
    return x->step == STEP_RULES ? xml_text(x->listener, "ListenerArn") : x->balancer;
}

static struct alb_judge judge_of(struct alb_examination *x)
{
    const struct alb_group *g = &x->b->groups[x->index];
    return (struct alb_judge){.class = x->b->env.class,
                              .owner = x->b->env.owner,
                              .arn = g->arn,
                              .name = g->name,
                              .number = x->index + 1,
                              .url = g->node.url,
                              .documents = &x->documents,
                              .finding = x->finding,
                              .arg = x->arg};
}

static void next_group(struct alb_examination *x)
{
    free_group(&x->documents);
    x->index++;
    x->step = STEP_GROUP;
}

static void complain(struct alb_examination *x, const char *problem, const char *cure)
{
    char *text = mem_printf("target group %s: %s", x->b->groups[x->index].name, problem);
    x->finding(x->arg, FINDING_ERROR, text, cure);
    free(text);
}

static void judge_balancer(struct alb_examination *x)
{
    struct alb_judge j = judge_of(x);
    alb_judge_balancer(&j);
    next_group(x);
}

/* The target group is read; its load balancer may be known from another one. */
static void begin_balancer(struct alb_examination *x)
{
    struct alb_judge j = judge_of(x);
    const char *arn = alb_balancer_of(&x->documents);
    alb_judge_group(&j);
    if (*arn == '\0') {
        complain(x, "no load balancer uses it",
                 "Let a listener of an Application Load Balancer forward to it.");
        next_group(x);
    } else if (x->balancer != NULL && strcmp(x->balancer, arn) == 0) {
        judge_balancer(x);
    } else {
        free_balancer(x);
        x->balancer = mem_strdup(arn);
        x->step = STEP_BALANCER;
    }
}

/* The listener after this one; NULL: it was the last. */
static void next_listener(struct alb_examination *x)
{
    if (x->listener != NULL)
        x->listener = x->listener->next;
    while (x->listener == NULL && x->listener_page != NULL) {
        x->listener = alb_described(x->listener_page->root, calls[STEP_LISTENERS].list);
        x->listener_page = x->listener_page->next;
    }
    if (x->listener == NULL)
        judge_balancer(x);
}

static void next_step(struct alb_examination *x)
{
    if (x->marker != NULL)
        return; /* the same, next page */
    if (x->step == STEP_ATTRIBUTES) {
        begin_balancer(x);
    } else if (x->step == STEP_RULES) {
        next_listener(x);
    } else if (x->step == STEP_LISTENERS) {
        x->step = STEP_RULES;
        x->listener = NULL;
        x->listener_page = x->documents.listeners;
        next_listener(x);
    } else {
        x->step++;
    }
}

/* ---- answers ---- */

static void keep(struct alb_examination *x, struct xml *root)
{
    struct alb_documents *d = &x->documents;
    struct xml **one[] = {[STEP_GROUP] = &d->group,
                          [STEP_TAGS] = &d->tags,
                          [STEP_ATTRIBUTES] = &d->attributes,
                          [STEP_BALANCER] = &d->balancer,
                          [STEP_BALANCER_ATTRIBUTES] = &d->balancer_attributes};
    if (x->step == STEP_LISTENERS)
        add_page(&d->listeners, root, NULL);
    else if (x->step == STEP_RULES)
        add_page(&d->rules, root, subject(x));
    else
        *one[x->step] = root;
}

static void take_marker(struct alb_examination *x, const struct xml *root)
{
    char path[64];
    snprintf(path, sizeof(path), "%sResult/NextMarker", calls[x->step].action);
    const char *marker = calls[x->step].paged ? xml_text(root, path) : "";
    free(x->marker);
    x->marker = *marker != '\0' && ++x->pages < PAGES_MAX ? mem_strdup(marker) : NULL;
}

static bool take(struct alb_examination *x, const struct aws_answer *answer, struct error *e)
{
    struct xml *root = xml_parse(answer->body, answer->body_len, e);
    if (root == NULL)
        return false;
    if (xml_find(root, calls[x->step].list) == NULL ||
        (x->step == STEP_GROUP && alb_described(root, calls[x->step].list) == NULL)) {
        error_set(e, ERR_PROTOCOL, "%s: the answer lacks what was asked for",
                  calls[x->step].action);
        xml_free(root);
        return false;
    }
    take_marker(x, root);
    keep(x, root);
    return true;
}

static void finish(struct alb_examination *x, const struct error *e)
{
    later_finish(&x->b->later, x->done, x->arg, e);
    free_examination(x);
}

static void refused(struct alb_examination *x, const struct error *e)
{
    if (x->step <= STEP_ATTRIBUTES)
        complain(
            x, e->message,
            "Check the ARN in alb_target_groups, its region, and that cleatd may read it.");
    else
        complain(x, e->message,
                 "Let cleatd's role describe load balancers, listeners and rules.");
    free(x->marker);
    x->marker = NULL;
    free_balancer(x);
    next_group(x);
}

static void answered(void *arg, const struct aws_answer *answer)
{
    struct alb_examination *x = arg;
    struct error e = answer->error;
    x->call = NULL;
    if (e.code == ERR_NONE && take(x, answer, &e))
        next_step(x);
    else if (answer->class == AWS_PERMANENT)
        refused(x, &e);
    else {
        finish(x, &e);
        return;
    }
    go_on(x);
}

static void go_on(struct alb_examination *x)
{
    struct buf form = {0};
    if (x->index == x->b->count) {
        finish(x, NULL);
        return;
    }
    alb_form_add(&form, calls[x->step].argument, subject(x));
    if (x->marker != NULL)
        alb_form_add(&form, "Marker", x->marker);
    struct aws_request request = {.service = AWS_ELB,
                                  .action = calls[x->step].action,
                                  .body = form.data,
                                  .body_len = form.len};
    x->call = aws_start(x->b->env.aws, &request, answered, x);
    buf_free(&form);
}

void alb_examine(struct balancer *b, finding_fn *finding, balancer_done_fn *done, void *arg)
{
    struct alb_examination *x = mem_alloc(sizeof(*x));
    x->b = b;
    x->finding = finding;
    x->done = done;
    x->arg = arg;
    TAILQ_INSERT_TAIL(&b->examinations, x, entry);
    go_on(x);
}
