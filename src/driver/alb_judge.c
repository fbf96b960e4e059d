#include "driver/alb_judge.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "driver/alb_fields.h"

#define NUMBER_MAX 1000000000L
#define CALM_S 60 /* a machine under load may be silent for so long without being dead */
#define DRAIN_MIN_S 5
#define DRAIN_SLOT_S 30 /* so long a slot is empty and taken */
#define DRAIN_SHARED_S 60
#define IDLE_MAX_S 4000 /* the largest idle time-out of a load balancer */

static void say(const struct alb_judge *j, enum finding_level level, const char *cure,
                const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static void say(const struct alb_judge *j, enum finding_level level, const char *cure,
                const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    error_make_printable(text);
    char *problem = mem_printf("target group %s: %s", j->name, text);
    j->finding(j->arg, level, problem, cure);
    free(problem);
}

#define ERROR(j, ...) say(j, FINDING_ERROR, __VA_ARGS__)
#define WARN(j, ...) say(j, FINDING_WARNING, __VA_ARGS__)

/* ---- reading ---- */

const struct xml *alb_described(const struct xml *root, const char *path)
{
    const struct xml *list = xml_find(root, path);
    return list != NULL ? list->children : NULL;
}

static const struct xml *group_of(const struct alb_documents *d)
{
    return alb_described(d->group, "DescribeTargetGroupsResult/TargetGroups");
}

const char *alb_balancer_of(const struct alb_documents *d)
{
    return xml_text(group_of(d), "LoadBalancerArns/member");
}

static const char *attribute(const struct xml *root, const char *path, const char *key,
                             const char *otherwise)
{
    for (const struct xml *m = alb_described(root, path); m != NULL; m = m->next)
        if (strcmp(xml_text(m, "Key"), key) == 0)
            return xml_text(m, "Value");
    return otherwise;
}

static const char *group_attribute(const struct alb_judge *j, const char *key,
                                   const char *otherwise)
{
    return attribute(j->documents->attributes, "DescribeTargetGroupAttributesResult/Attributes",
                     key, otherwise);
}

static const char *balancer_attribute(const struct alb_judge *j, const char *key,
                                      const char *otherwise)
{
    return attribute(j->documents->balancer_attributes,
                     "DescribeLoadBalancerAttributesResult/Attributes", key, otherwise);
}

/* Whatever the API says, such numbers can be multiplied. */
static long number(const char *text)
{
    long n = strtol(text, NULL, 10);
    return n < -NUMBER_MAX ? -NUMBER_MAX : n > NUMBER_MAX ? NUMBER_MAX : n;
}

static bool is_shared(const struct alb_judge *j)
{
    return j->class->alb_mode == ALB_SHARED;
}

/* ---- the target group ---- */

static void judge_kind(const struct alb_judge *j, const struct xml *g)
{
    const char *type = xml_text(g, "TargetType"), *protocol = xml_text(g, "Protocol");
    const char *version = xml_text(g, "ProtocolVersion");
    if (strcmp(type, "ip") != 0)
        ERROR(j,
              "Make a target group with target type ip for cleat; the type cannot be changed.",
              "its targets are of type %s, but containers are registered by address", type);
    if (strcmp(protocol, "HTTP") != 0)
        ERROR(j, "Make a target group with protocol HTTP; a listener may still speak HTTPS.",
              "it speaks %s to its targets, but containers serve HTTP", protocol);
    else if (*version != '\0' && strcmp(version, "HTTP1") != 0)
        ERROR(j, "Make a target group with protocol version HTTP1.",
              "it speaks %s to its targets, but containers serve HTTP/1.1", version);
    if (number(xml_text(g, "Port")) != (long)j->class->port)
        WARN(j, "Make the target group with the class's port, or set port in the class.",
             "its port is %s, while containers listen on %lld and are registered with that",
             xml_text(g, "Port"), (long long)j->class->port);
}

/* matcher: "200", "200,202" or "200-299". */
static bool accepts_200(const char *matcher)
{
    for (const char *p = matcher; *p != '\0';
         p += strcspn(p, ",") + (p[strcspn(p, ",")] == ',')) {
        long low, high;
        int n = sscanf(p, "%ld-%ld", &low, &high);
        if ((n == 1 && low == 200) || (n == 2 && low <= 200 && high >= 200))
            return true;
    }
    return false;
}

static void judge_check(const struct alb_judge *j, const struct xml *g)
{
    const char *port = xml_text(g, "HealthCheckPort"), *path = xml_text(g, "HealthCheckPath");
    if (strcmp(xml_text(g, "HealthCheckEnabled"), "false") == 0) {
        ERROR(j, "Switch its health checks on, with path /health.",
              "its health checks are off, so no target ever counts as healthy");
        return;
    }
    if (strcmp(port, "traffic-port") != 0 && number(port) != (long)j->class->port)
        ERROR(j, "Set the health check's port to traffic-port.",
              "its health checks ask port %s, where no container listens", port);
    if (strcmp(path, "/health") != 0)
        ERROR(j, "Set the health check's path to /health.",
              "its health checks ask for %s, which containers do not serve", path);
    if (!accepts_200(xml_text(g, "Matcher/HttpCode")))
        ERROR(j, "Let the health check expect status 200.",
              "its health checks expect status %s, but a healthy container answers 200",
              xml_text(g, "Matcher/HttpCode"));
}

/* A container that cannot prove itself runs user code in the process that answers the checks:
 * it is silent for as long as an execution takes. Ours answers beside user code, but late when
 * the machine is busy. */
static void judge_patience(const struct alb_judge *j, const struct xml *g)
{
    long interval = number(xml_text(g, "HealthCheckIntervalSeconds"));
    long timeout = number(xml_text(g, "HealthCheckTimeoutSeconds"));
    long fall = number(xml_text(g, "UnhealthyThresholdCount"));
    long long exec = (long long)j->class->exec_timeout_s;
    long long need = j->class->proof == PROOF_NONE || exec < CALM_S ? exec : CALM_S;
    if ((long long)interval * fall < need)
        WARN(j,
             "Raise the unhealthy threshold (at most 10) or the interval of its health check.",
             "a target that is busy counts as dead after %ld s (%ld checks, every %ld s, each "
             "with %ld s to answer); executions may take %lld s",
             interval * fall, fall, interval, timeout, exec);
}

static void judge_stickiness(const struct alb_judge *j)
{
    const char *type = group_attribute(j, "stickiness.type", "lb_cookie");
    const char *seconds = group_attribute(j, "stickiness.lb_cookie.duration_seconds", "86400");
    if (strcmp(group_attribute(j, "stickiness.enabled", "false"), "true") != 0)
        ERROR(j, "Set stickiness.enabled to true, or use alb_mode slot.",
              "stickiness is off, so requests of a session reach any container");
    else if (strcmp(type, "lb_cookie") != 0)
        ERROR(j, "Set stickiness.type to lb_cookie.",
              "stickiness is of type %s, but containers set no cookie of their own", type);
    else if (number(seconds) < (long)j->class->max_lifetime_s)
        WARN(j, "Set stickiness.lb_cookie.duration_seconds to max_lifetime_s or more.",
             "stickiness lapses after %s s, but sessions may live for %lld s", seconds,
             (long long)j->class->max_lifetime_s);
}

static void judge_drain(const struct alb_judge *j)
{
    long delay = number(group_attribute(j, "deregistration_delay.timeout_seconds", "300"));
    long most = is_shared(j) ? DRAIN_SHARED_S : DRAIN_SLOT_S;
    if (delay < DRAIN_MIN_S)
        WARN(j, "Set deregistration_delay.timeout_seconds to 5 or more.",
             "the deregistration delay of %ld s cuts off requests that are under way", delay);
    else if (delay > most && is_shared(j))
        WARN(j, "Set deregistration_delay.timeout_seconds to 30: cleat ends requests first.",
             "a deregistration delay of %ld s keeps addresses of ended sessions listed", delay);
    else if (delay > most)
        WARN(j, "Set deregistration_delay.timeout_seconds to 5: cleat ends requests first.",
             "a deregistration delay of %ld s keeps the slot of an ended session taken", delay);
}

static void judge_fail_open(const struct alb_judge *j)
{
#define ROUTING "target_group_health.unhealthy_state_routing.minimum_healthy_targets."
    const char *least = group_attribute(j, ROUTING "count", "1");
    const char *share = group_attribute(j, ROUTING "percentage", "off");
    if (number(least) > 1 || number(share) > 0)
        WARN(j, "Set " ROUTING "count to 1 and " ROUTING "percentage to off.",
             "it routes to unhealthy targets when fewer than %s (%s %%) are healthy", least,
             share);
}

static void judge_attributes(const struct alb_judge *j)
{
    const char *slow = group_attribute(j, "slow_start.duration_seconds", "0");
    if (is_shared(j))
        judge_stickiness(j);
    if (is_shared(j) && number(slow) > 0)
        WARN(j, "Set slow_start.duration_seconds to 0.",
             "slow start of %s s keeps probes from new containers, so routes come late", slow);
    judge_drain(j);
    judge_fail_open(j);
    if (strcmp(group_attribute(j, "load_balancing.cross_zone.enabled", ""), "false") == 0)
        ERROR(j, "Set load_balancing.cross_zone.enabled to true or to the load balancer's.",
              "cross-zone load balancing is off, so a request that enters in another zone does "
              "not reach its container");
}

void alb_judge_group(const struct alb_judge *j)
{
    const struct xml *g = group_of(j->documents);
    const struct xml *tags =
        alb_described(j->documents->tags, "DescribeTagsResult/TagDescriptions");
    const struct xml *list = xml_child(tags, "Tags");
    judge_kind(j, g);
    judge_check(j, g);
    judge_patience(j, g);
    for (const struct xml *t = list != NULL ? list->children : NULL; t != NULL; t = t->next)
        if (strcmp(xml_text(t, "Key"), ALB_OWNER_TAG) == 0 &&
            strcmp(xml_text(t, "Value"), j->owner) != 0)
            ERROR(j,
                  "Give each owner target groups of its own; when that coordinator is gone for "
                  "good, delete the tag.",
                  "it belongs to owner %s by its tag " ALB_OWNER_TAG, xml_text(t, "Value"));
    judge_attributes(j);
}

/* ---- its load balancer ---- */

static void judge_times(const struct alb_judge *j)
{
    long idle = number(balancer_attribute(j, "idle_timeout.timeout_seconds", "60"));
    long long exec = (long long)j->class->exec_timeout_s;
    if (idle >= exec)
        return;
    say(j, j->class->proof == PROOF_NONE ? FINDING_ERROR : FINDING_WARNING,
        exec < IDLE_MAX_S ? "Set the load balancer's idle_timeout.timeout_seconds above "
                            "exec_timeout_s."
                          : "Set the load balancer's idle_timeout.timeout_seconds to 4000 and "
                            "exec_timeout_s below.",
        "its load balancer answers 504 after %ld s without a byte, but executions may take "
        "%lld s",
        idle, exec);
}

static void judge_self(const struct alb_judge *j)
{
    const struct xml *b =
        alb_described(j->documents->balancer, "DescribeLoadBalancersResult/LoadBalancers");
    const char *type = xml_text(b, "Type"), *state = xml_text(b, "State/Code");
    if (strcmp(type, "application") != 0)
        ERROR(j, "Let an Application Load Balancer lead to the target group.",
              "its load balancer is a %s one", type);
    if (strcmp(state, "active") != 0)
        WARN(j, "Look at the load balancer in the AWS console.", "its load balancer is %s",
             state);
    if (strcmp(xml_text(b, "Scheme"), "internal") != 0)
        WARN(j, "Use an internal load balancer, or let its security group admit only cleat.",
             "its load balancer faces the internet, and behind it user code runs");
}

/* ---- the way to it ---- */

static bool forwards(const struct xml *actions, const char *arn, size_t *others)
{
    bool to = false;
    *others = 0;
    for (const struct xml *a = actions != NULL ? actions->children : NULL; a; a = a->next) {
        const struct xml *list = xml_find(a, "ForwardConfig/TargetGroups");
        if (strcmp(xml_text(a, "Type"), "forward") != 0)
            continue;
        to |= strcmp(xml_text(a, "TargetGroupArn"), arn) == 0;
        for (const struct xml *m = list != NULL ? list->children : NULL; m; m = m->next) {
            bool this = strcmp(xml_text(m, "TargetGroupArn"), arn) == 0;
            to |= this;
            *others += !this && strcmp(xml_text(m, "Weight"), "0") != 0;
        }
    }
    return to;
}

static bool is_for_number(const struct alb_judge *j, const struct xml *rule)
{
    const struct xml *conditions = xml_child(rule, "Conditions");
    char number[24];
    snprintf(number, sizeof(number), "%zu", j->number);
    for (const struct xml *c = conditions ? conditions->children : NULL; c; c = c->next) {
        const char *name = xml_text(c, "HttpHeaderConfig/HttpHeaderName");
        const struct xml *values = xml_find(c, "HttpHeaderConfig/Values");
        if (strcmp(xml_text(c, "Field"), "http-header") != 0 ||
            strcasecmp(name, j->class->alb_header) != 0)
            continue;
        for (const struct xml *v = values != NULL ? values->children : NULL; v; v = v->next)
            if (strcmp(v->text, number) == 0)
                return true;
    }
    return false;
}

/* Of the rules of that listener one that fits; with a header the one for our number, else the
 * first that leads to the target group. */
static const struct xml *find_rule(const struct alb_judge *j, const char *listener)
{
    size_t others;
    for (const struct alb_page *p = j->documents->rules; p != NULL; p = p->next) {
        if (strcmp(p->listener, listener) != 0)
            continue;
        const struct xml *r = alb_described(p->root, "DescribeRulesResult/Rules");
        for (; r != NULL; r = r->next)
            if (*j->class->alb_header != '\0'
                    ? is_for_number(j, r)
                    : forwards(xml_child(r, "Actions"), j->arn, &others))
                return r;
    }
    return NULL;
}

static void judge_rule(const struct alb_judge *j, const struct xml *listener)
{
    const struct xml *rule = find_rule(j, xml_text(listener, "ListenerArn"));
    const char *header = j->class->alb_header, *port = xml_text(listener, "Port");
    size_t others = 0;
    if (rule == NULL && *header != '\0')
        ERROR(
            j,
            "Add a listener rule for that header and value that forwards to the target group.",
            "no rule of the listener on port %s is for header %s with value %zu", port, header,
            j->number);
    else if (rule == NULL)
        ERROR(j, "Let the listener forward to the target group.",
              "the listener on port %s does not lead to it", port);
    else if (!forwards(xml_child(rule, "Actions"), j->arn, &others))
        ERROR(j,
              "Let that rule forward to the target group that alb_target_groups names there.",
              "the rule for header %s with value %zu leads elsewhere", header, j->number);
    else if (others > 0)
        ERROR(j, "Let the rule forward to this target group alone.",
              "its rule on port %s spreads requests over other target groups as well", port);
}

static const struct xml *find_listener(const struct alb_judge *j, long port)
{
    for (const struct alb_page *p = j->documents->listeners; p != NULL; p = p->next) {
        const struct xml *l = alb_described(p->root, "DescribeListenersResult/Listeners");
        for (; l != NULL; l = l->next)
            if (number(xml_text(l, "Port")) == port)
                return l;
    }
    return NULL;
}

/* The URL was checked before: http:// or https://, perhaps with a port. */
static void judge_way(const struct alb_judge *j)
{
    bool tls = strncmp(j->url, "https://", 8) == 0;
    const char *host = j->url + (tls ? 8 : 7), *end = host + strcspn(host, "/");
    const char *colon = memrchr(host, ':', (size_t)(end - host));
    bool has_port = colon != NULL && memchr(colon, ']', (size_t)(end - colon)) == NULL;
    long port = has_port ? number(colon + 1) : tls ? 443 : 80;
    const struct xml *listener = find_listener(j, port);
    const char *protocol = tls ? "HTTPS" : "HTTP";
    if (listener == NULL)
        ERROR(j, "Name the URL of a listener of that load balancer in alb_urls.",
              "its load balancer has no listener on port %ld, which alb_urls names", port);
    else if (strcmp(xml_text(listener, "Protocol"), protocol) != 0)
        ERROR(j, "Write the listener's protocol in alb_urls.",
              "the listener on port %ld speaks %s, but alb_urls says %s", port,
              xml_text(listener, "Protocol"), protocol);
    else
        judge_rule(j, listener);
}

void alb_judge_balancer(const struct alb_judge *j)
{
    judge_self(j);
    judge_times(j);
    judge_way(j);
}
