/* Simulated target groups of an Application Load Balancer: the calls of Elastic Load Balancing
 * v2 that cleat makes (API Reference, version 2015-12-01), over the nodes of the simulated
 * balancer, which carry the traffic. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "books.h"
#include "container.h"
#include "life.h"
#include "sim_aws.h"
#include "service.h"
#include "world.h"

#define GROUPS 8
#define SLOT_HEADER "X-Cleat-Slot"
#define CHECK_MS 5000
#define FALL 3
#define LATE_UNTIL_MS 600000

struct group {
    struct node *node;
    const char *arn, *owner;
};

struct alb_habits alb_habits;
static struct group groups[GROUPS];
static unsigned group_count;

void alb_begin(void)
{
    group_count = 0;
    alb_habits = (struct alb_habits){.deregistration_ms = 30000, .traffic_after_ms = 5000};
}

struct node *alb_add_group(unsigned index, bool behind_header)
{
    const char *host = behind_header ? "alb.test" : world_printf("alb%u.test", index);
    struct group *g = &groups[group_count++];
    g->node = haproxy_start_at(index, host, 80);
    g->node->fails_open = true;
    if (behind_header)
        g->node->header_value = world_printf("%u", index + 1);
    g->arn = world_printf("arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/"
                          "g%u/0123456789abcdef",
                          index);
    g->owner = NULL;
    return g->node;
}

const char *alb_arn(unsigned index)
{
    return groups[index].arn;
}

struct node *alb_choose(const struct node *at, const struct sim_request *r)
{
    const char *value = request_header(r, SLOT_HEADER);
    for (unsigned i = 0; i < group_count; i++)
        if (groups[i].node->header_value && value && strcmp(groups[i].node->ip, at->ip) == 0 &&
            strcmp(groups[i].node->header_value, value) == 0)
            return groups[i].node;
    return NULL;
}

unsigned alb_left(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < group_count; i++)
        for (const struct server *s = groups[i].node->servers; s; s = s->next)
            count += !s->deleted;
    return count;
}

/* ---- forms ---- */

static int hex(char c)
{
    return c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

/* The value of a member of the form, decoded; NULL: it is not there. */
static const char *member(const struct sim_request *r, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = r->body; p; p = strchr(p, '&')) {
        p += *p == '&';
        if (strncmp(p, name, len) != 0 || p[len] != '=')
            continue;
        char *out = world_strdup(p + len + 1), *to = out;
        for (const char *from = out; *from && *from != '&'; from++)
            if (*from == '%') {
                *to++ = (char)(hex(from[1]) * 16 + hex(from[2]));
                from += 2;
            } else {
                *to++ = *from;
            }
        *to = '\0';
        return out;
    }
    return NULL;
}

static struct group *group_of(const char *arn)
{
    for (unsigned i = 0; arn && i < group_count; i++)
        if (strcmp(groups[i].arn, arn) == 0)
            return &groups[i];
    return NULL;
}

static void answer(struct sim_request *r, const char *action, const char *result)
{
    service_answer(r, 200,
                   world_printf("<%sResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/"
                                "doc/2015-12-01/\"><%sResult>%s</%sResult></%sResponse>",
                                action, action, result, action, action));
}

/* ---- targets ---- */

static struct server *find_target(const struct group *g, const char *ip, uint16_t port)
{
    for (struct server *s = g->node->servers; s; s = s->next)
        if (!s->deleted && s->port == port && strcmp(s->ip, ip) == 0)
            return s;
    return NULL;
}

static void add_target(struct group *g, const char *ip, uint16_t port)
{
    const struct container *c = container_at(ip, port);
    const char *name = c ? c->key : world_printf("%s:%u", ip, (unsigned)port);
    struct server *s = find_target(g, ip, port);
    if (s && !s->draining)
        return;
    if (s) { /* its address has a new holder, or the old one is back */
        s->name = name;
        s->draining = s->passed = s->up = false;
        world.dirty = true;
    } else {
        s = haproxy_add_server(g->node, name, ip, port, CHECK_MS, FALL, 1);
    }
    s->maint = false;
    haproxy_enable_health(s);
}

void alb_plant_target(const char *ip, uint16_t port)
{
    for (unsigned i = group_count; i-- > 0;) {
        if (groups[i].node->servers && !groups[i].node->servers->deleted)
            continue;
        add_target(&groups[i], ip, port);
        return;
    }
}

struct drain {
    struct server *server;
    int64_t since_ms;
};

static bool still_draining(const struct drain *d)
{
    return !d->server->deleted && d->server->draining && d->server->drained_ms == d->since_ms;
}

static void end_traffic(void *arg)
{
    struct drain *d = arg;
    if (still_draining(d))
        haproxy_maint(d->server);
}

static void end_drain(void *arg)
{
    struct drain *d = arg;
    if (!still_draining(d) || world.sabotage == SABOTAGE_LISTED_TARGET)
        return;
    haproxy_break_requests(d->server);
    haproxy_delete(d->server);
}

static bool leads_through(const struct group *g, const char *route)
{
    json_t *o = json_loads(route, 0, NULL);
    const char *url = json_string_value(json_object_get(o, "base_url"));
    const char *value =
        json_string_value(json_object_get(json_object_get(o, "headers"), SLOT_HEADER));
    const char *wanted = g->node->header_value;
    bool leads = url && strcmp(url, world_printf("http://%s", g->node->ip)) == 0 &&
                 (!wanted || (value && strcmp(value, wanted) == 0));
    json_decref(o);
    return leads;
}

/* I3: whoever has it now and is in use keeps it. */
static void check_holder(const struct group *g, const struct server *s)
{
    const struct container *c = container_at(s->ip, s->port);
    if (c && c->planted)
        return;
    /* The route is the newest attempt's. */
    const char *session = c ? books_owner(c->session) : NULL;
    bool newest = c && container_of_session(session) == c;
    char *route = newest && coordinator ? cleat_route(coordinator, NULL, session, NULL) : NULL;
    if (route && !c->stop_asked && leads_through(g, route))
        world_violate("I3", "the target of %s is deregistered while its route leads there",
                      c->session);
    free(route);
}

/* Sabotage: a call that was made long ago. */
struct late_removal {
    struct group *group;
    const char *ip;
    uint16_t port;
};

static void remove_target(struct group *, const char *ip, uint16_t port);

static void remove_again(void *arg)
{
    struct late_removal *l = arg;
    remove_target(l->group, l->ip, l->port);
}

static void plant_late_removal(struct group *g, const char *ip, uint16_t port)
{
    struct late_removal *l = world_alloc(sizeof *l);
    *l = (struct late_removal){g, world_strdup(ip), port};
    world_at(5000, remove_again, l);
}

static void remove_target(struct group *g, const char *ip, uint16_t port)
{
    struct server *s = find_target(g, ip, port);
    if (world.sabotage == SABOTAGE_LATE_REMOVAL && world.now_ms < LATE_UNTIL_MS)
        plant_late_removal(g, ip, port);
    if (!s || s->draining)
        return;
    check_holder(g, s);
    s->draining = true;
    s->drained_ms = world.now_ms;
    struct drain *d = world_alloc(sizeof *d);
    *d = (struct drain){s, world.now_ms};
    world_log("%s drains %s:%u", g->arn, ip, (unsigned)port);
    world_at(alb_habits.traffic_after_ms, end_traffic, d);
    world_at(alb_habits.deregistration_ms, end_drain, d);
}

static void change_targets(struct sim_request *r, const char *action,
                           void (*change)(struct group *, const char *ip, uint16_t port))
{
    struct group *g = group_of(member(r, "TargetGroupArn"));
    if (!g) {
        aws_refuse(r, "TargetGroupNotFound", "One or more target groups not found");
        return;
    }
    for (unsigned n = 1;; n++) {
        const char *ip = member(r, world_printf("Targets.member.%u.Id", n));
        const char *port = member(r, world_printf("Targets.member.%u.Port", n));
        if (!ip)
            break;
        change(g, ip, (uint16_t)strtoul(port ? port : "0", NULL, 10));
    }
    answer(r, action, "");
}

static void register_targets(struct sim_request *r)
{
    change_targets(r, "RegisterTargets", add_target);
}

static void deregister_targets(struct sim_request *r)
{
    change_targets(r, "DeregisterTargets", remove_target);
}

static const char *health_of(const struct server *s)
{
    return s->draining  ? "<State>draining</State>"
                          "<Reason>Target.DeregistrationInProgress</Reason>"
           : s->up      ? "<State>healthy</State>"
           : !s->passed ? "<State>initial</State><Reason>Elb.InitialHealthChecking</Reason>"
                        : "<State>unhealthy</State><Reason>Target.FailedHealthChecks</Reason>";
}

static void describe_health(struct sim_request *r)
{
    const struct group *g = group_of(member(r, "TargetGroupArn"));
    const char *all = "";
    if (!g) {
        aws_refuse(r, "TargetGroupNotFound", "One or more target groups not found");
        return;
    }
    for (const struct server *s = g->node->servers; s; s = s->next)
        if (!s->deleted)
            all = world_printf("%s<member><Target><Id>%s</Id><Port>%u</Port></Target>"
                               "<TargetHealth>%s</TargetHealth></member>",
                               all, s->ip, (unsigned)s->port, health_of(s));
    answer(r, "DescribeTargetHealth",
           world_printf("<TargetHealthDescriptions>%s</TargetHealthDescriptions>", all));
}

/* ---- tags ---- */

static void describe_tags(struct sim_request *r)
{
    const char *all = "", *arn;
    for (unsigned n = 1; (arn = member(r, world_printf("ResourceArns.member.%u", n))); n++) {
        const struct group *g = group_of(arn);
        const char *tags = g && g->owner ? world_printf("<member><Key>cleat:owner</Key>"
                                                        "<Value>%s</Value></member>",
                                                        g->owner)
                                         : "";
        all = world_printf("%s<member><ResourceArn>%s</ResourceArn><Tags>%s</Tags></member>",
                           all, arn, tags);
    }
    answer(r, "DescribeTags", world_printf("<TagDescriptions>%s</TagDescriptions>", all));
}

static void add_tags(struct sim_request *r)
{
    const char *value = member(r, "Tags.member.1.Value"), *arn;
    for (unsigned n = 1; (arn = member(r, world_printf("ResourceArns.member.%u", n))); n++) {
        struct group *g = group_of(arn);
        if (g)
            g->owner = value;
    }
    answer(r, "AddTags", "");
}

void alb_receive(struct sim_request *r)
{
    static const struct {
        const char *name;
        void (*handle)(struct sim_request *);
    } calls[] = {{"RegisterTargets", register_targets},
                 {"DeregisterTargets", deregister_targets},
                 {"DescribeTargetHealth", describe_health},
                 {"DescribeTags", describe_tags},
                 {"AddTags", add_tags}};
    const char *action = member(r, "Action");
    for (size_t i = 0; action && i < sizeof calls / sizeof *calls; i++)
        if (strcmp(calls[i].name, action) == 0) {
            calls[i].handle(r);
            return;
        }
    world_violate("SIM", "ELB does not know %s", r->body);
}
