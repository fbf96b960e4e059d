/* What is said to Elastic Load Balancing, what its answers mean, and what is wrong with an
 * account. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/alb_fields.h"
#include "driver/alb_judge.h"
#include "driver_help.h"

#define ARN "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/agents/0123"

/* ---- forms ---- */

static void forms(void **state)
{
    (void)state;
    struct buf form = {0};
    const char *arns[] = {"a/b", "c d"};
    alb_form_add(&form, "TargetGroupArn", ARN);
    alb_form_target(&form, 1, "10.0.0.7", 8080);
    alb_form_target(&form, 2, "fd00::1", 81);
    assert_string_equal(form.data,
                        "TargetGroupArn=arn%3Aaws%3Aelasticloadbalancing%3Aeu-central-1%3A"
                        "123456789012%3Atargetgroup%2Fagents%2F0123"
                        "&Targets.member.1.Id=10.0.0.7&Targets.member.1.Port=8080"
                        "&Targets.member.2.Id=fd00%3A%3A1&Targets.member.2.Port=81");
    buf_free(&form);
    form = (struct buf){0};
    alb_form_list(&form, "ResourceArns", arns, 2);
    alb_form_tag(&form, 1, "cleat:owner", "me&you");
    assert_string_equal(form.data,
                        "ResourceArns.member.1=a%2Fb&ResourceArns.member.2=c%20d"
                        "&Tags.member.1.Key=cleat%3Aowner&Tags.member.1.Value=me%26you");
    buf_free(&form);
}

/* ---- health ---- */

#define HEALTH(members)                                                                        \
    "<DescribeTargetHealthResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/"     \
    "2015-12-01/\"><DescribeTargetHealthResult><TargetHealthDescriptions>" members             \
    "</TargetHealthDescriptions></DescribeTargetHealthResult><ResponseMetadata><RequestId>1"   \
    "</RequestId></ResponseMetadata></DescribeTargetHealthResponse>"
#define MEMBER(id, port, state, reason)                                                        \
    "<member><HealthCheckPort>8080</HealthCheckPort><Target><Id>" id "</Id><Port>" port        \
    "</Port><AvailabilityZone>a</AvailabilityZone></Target><TargetHealth><State>" state        \
    "</State>" reason "</TargetHealth></member>"

static bool read_health(const char *text, struct alb_listing *l)
{
    struct error e = {.code = ERR_NONE};
    bool fine = alb_read_health(text, strlen(text), l, &e);
    assert_int_equal(e.code, fine ? ERR_NONE : ERR_PROTOCOL);
    return fine;
}

static void healths(void **state)
{
    (void)state;
    struct alb_listing l;
    assert_true(read_health(
        HEALTH(MEMBER("10.0.0.1", "80", "healthy", "") MEMBER(
            "10.0.0.2", "65535", "initial", "<Reason>Elb.InitialHealthChecking</Reason>")
                   MEMBER("fd00::2", "1", "curious", "<Reason>Elb.New</Reason>")),
        &l));
    assert_int_equal(l.count, 3);
    assert_string_equal(l.list[0].ip, "10.0.0.1");
    assert_int_equal(l.list[0].port, 80);
    assert_int_equal(l.list[0].health, ALB_HEALTHY);
    assert_string_equal(l.list[0].reason, "healthy");
    assert_int_equal(l.list[1].port, 65535);
    assert_int_equal(l.list[1].health, ALB_INITIAL);
    assert_string_equal(l.list[1].reason, "first health checks");
    assert_string_equal(l.list[2].ip, "fd00::2");
    assert_int_equal(l.list[2].health, ALB_ODD);
    assert_string_equal(l.list[2].reason, "Elb.New");
    alb_listing_free(&l);
    assert_true(read_health(HEALTH(""), &l));
    assert_int_equal(l.count, 0);
    alb_listing_free(&l);
}

static void every_state_and_reason(void **state)
{
    static const char *const states[] = {"initial", "healthy",  "unhealthy",
                                         "unused",  "draining", "unavailable"};
    static const char *const reasons[] = {"Elb.RegistrationInProgress",
                                          "Elb.InitialHealthChecking",
                                          "Target.ResponseCodeMismatch",
                                          "Target.Timeout",
                                          "Target.FailedHealthChecks",
                                          "Target.NotRegistered",
                                          "Target.NotInUse",
                                          "Target.DeregistrationInProgress",
                                          "Target.InvalidState",
                                          "Target.IpUnusable",
                                          "Target.HealthCheckDisabled",
                                          "Elb.InternalError"};
    struct alb_listing l;
    (void)state;
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        for (size_t k = 0; k < sizeof(reasons) / sizeof(reasons[0]); k++) {
            char *text =
                mem_printf(HEALTH(MEMBER("10.0.0.1", "80", "%s", "<Reason>%s</Reason>")),
                           states[i], reasons[k]);
            assert_true(read_health(text, &l));
            assert_string_equal(alb_health_name(l.list[0].health), states[i]);
            assert_string_not_equal(l.list[0].reason, reasons[k]);
            alb_listing_free(&l);
            free(text);
        }
}

static void reasons_of_two_lines(void **state)
{
    struct alb_listing l;
    (void)state;
    assert_true(read_health(
        HEALTH(MEMBER("10.0.0.1", "80", "initial", "<Reason>Elb.\nNew</Reason>")), &l));
    assert_string_equal(l.list[0].reason, "Elb. New");
    alb_listing_free(&l);
}

static void health_that_makes_no_sense(void **state)
{
    static const char *const texts[] = {
        "",
        "no",
        "<a/>",
        "<DescribeTargetHealthResponse/>",
        HEALTH("<member/>"),
        HEALTH(MEMBER("10.0.0.1", "0", "healthy", "")),
        HEALTH(MEMBER("10.0.0.1", "65536", "healthy", "")),
        HEALTH(MEMBER("10.0.0.1", "-1", "healthy", "")),
        HEALTH(MEMBER("10.0.0.1", "80x", "healthy", "")),
        HEALTH(MEMBER("10.0.0.1", "", "healthy", "")),
        HEALTH(MEMBER("", "80", "healthy", "")),
        HEALTH(MEMBER("10.0.0.1", "80", "", "")),
        HEALTH(MEMBER("10.0.0.1", "80", "healthy", "") MEMBER("", "80", "healthy", "")),
        HEALTH(MEMBER("0123456789012345678901234567890123456789012345", "80", "healthy", "")),
    };
    struct alb_listing l;
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_false(read_health(texts[i], &l));
        assert_null(l.list);
    }
    const char *whole = HEALTH(MEMBER("10.0.0.1", "80", "healthy", ""));
    struct error e;
    for (size_t len = 0; len < strlen(whole); len++)
        assert_false(alb_read_health(whole, len, &l, &e));
}

static void states_of_targets(void **state)
{
    (void)state;
    assert_int_equal(alb_state(ALB_HEALTHY, TARGET_UNKNOWN), TARGET_HEALTHY);
    assert_int_equal(alb_state(ALB_HEALTHY, TARGET_UNHEALTHY), TARGET_HEALTHY);
    assert_int_equal(alb_state(ALB_INITIAL, TARGET_UNKNOWN), TARGET_CHECKING);
    assert_int_equal(alb_state(ALB_INITIAL, TARGET_CHECKING), TARGET_CHECKING);
    assert_int_equal(alb_state(ALB_UNHEALTHY, TARGET_CHECKING), TARGET_CHECKING);
    assert_int_equal(alb_state(ALB_UNHEALTHY, TARGET_HEALTHY), TARGET_UNHEALTHY);
    assert_int_equal(alb_state(ALB_UNHEALTHY, TARGET_UNKNOWN), TARGET_UNHEALTHY);
    assert_int_equal(alb_state(ALB_INITIAL, TARGET_HEALTHY), TARGET_UNHEALTHY);
    assert_int_equal(alb_state(ALB_UNUSED, TARGET_CHECKING), TARGET_CHECKING);
    assert_int_equal(alb_state(ALB_UNAVAILABLE, TARGET_HEALTHY), TARGET_UNHEALTHY);
    assert_int_equal(alb_state(ALB_ODD, TARGET_HEALTHY), TARGET_UNHEALTHY);
}

/* ---- tags ---- */

#define TAGS(members)                                                                          \
    "<DescribeTagsResponse><DescribeTagsResult><TagDescriptions>" members                      \
    "</TagDescriptions></DescribeTagsResult></DescribeTagsResponse>"
#define OWNED(arn, owner)                                                                      \
    "<member><ResourceArn>" arn "</ResourceArn><Tags><member><Key>Name</Key></member>"         \
    "<member><Key>cleat:owner</Key><Value>" owner "</Value></member></Tags></member>"

static void take_tag(void *arg, const char *arn, const char *value)
{
    struct buf *out = arg;
    buf_printf(out, "%s=%s;", arn, value != NULL ? value : "-");
}

static void tags(void **state)
{
    (void)state;
    struct buf out = {0};
    struct error e = {.code = ERR_NONE};
    const char *text =
        TAGS(OWNED("a", "me") OWNED("b", "") "<member><ResourceArn>c</ResourceArn><Tags/>"
                                             "</member><member><ResourceArn>d</ResourceArn>"
                                             "</member>");
    assert_true(alb_read_tags(text, strlen(text), ALB_OWNER_TAG, take_tag, &out, &e));
    assert_string_equal(out.data, "a=me;b=;c=-;d=-;");
    assert_false(alb_read_tags("<a/>", 4, ALB_OWNER_TAG, take_tag, &out, &e));
    assert_int_equal(e.code, ERR_PROTOCOL);
    assert_false(alb_read_tags("<a>", 3, ALB_OWNER_TAG, take_tag, &out, &e));
    buf_free(&out);
}

static void names(void **state)
{
    char name[16];
    (void)state;
    assert_true(alb_is_target_group(ARN));
    assert_false(alb_is_target_group("targetgroup/agents/0123"));
    assert_false(alb_is_target_group("arn:aws:elasticloadbalancing:r:1:loadbalancer/app/a/1"));
    assert_false(alb_is_target_group("arn:aws:elasticloadbalancing:r:1:targetgroup/a"));
    assert_false(alb_is_target_group("arn:aws:elasticloadbalancing:r:1:targetgroup//1"));
    assert_false(alb_is_target_group("arn:aws:elasticloadbalancing:r:1:targetgroup/a/"));
    alb_name(ARN, name, sizeof(name));
    assert_string_equal(name, "agents");
    alb_name("odd", name, sizeof(name));
    assert_string_equal(name, "odd");
}

/* ---- the account ---- */

struct account {
    struct class *class;
    struct buf group, check, attributes, balancer, listener, rules, tag;
    const char *url;
    struct buf found;
};

static void put(struct buf *b, const char *text)
{
    buf_free(b);
    *b = (struct buf){0};
    buf_puts(b, text);
}

#define ATTRIBUTE(key, value) "<member><Key>" key "</Key><Value>" value "</Value></member>"
#define FINE_ATTRIBUTES                                                                        \
    ATTRIBUTE("stickiness.enabled", "true")                                                    \
    ATTRIBUTE("stickiness.type", "lb_cookie")                                                  \
    ATTRIBUTE("stickiness.lb_cookie.duration_seconds", "86400")                                \
    ATTRIBUTE("deregistration_delay.timeout_seconds", "30")
#define KIND(type, protocol, port)                                                             \
    "<TargetType>" type "</TargetType><Protocol>" protocol "</Protocol><Port>" port "</Port>"
#define CHECK(path, port, matcher, interval, fall)                                             \
    "<HealthCheckEnabled>true</HealthCheckEnabled><HealthCheckPath>" path                      \
    "</HealthCheckPath><HealthCheckPort>" port "</HealthCheckPort><Matcher><HttpCode>" matcher \
    "</HttpCode></Matcher><HealthCheckIntervalSeconds>" interval                               \
    "</HealthCheckIntervalSeconds><HealthCheckTimeoutSeconds>5</HealthCheckTimeoutSeconds>"    \
    "<UnhealthyThresholdCount>" fall "</UnhealthyThresholdCount>"
#define BALANCER(type, state, scheme, idle)                                                    \
    "<Type>" type "</Type><State><Code>" state "</Code></State><Scheme>" scheme                \
    "</Scheme>|" ATTRIBUTE("idle_timeout.timeout_seconds", idle)
#define LISTENER(protocol, port)                                                               \
    "<member><ListenerArn>L</ListenerArn><Port>" port "</Port><Protocol>" protocol             \
    "</Protocol></member>"
#define FORWARD(arn)                                                                           \
    "<Actions><member><Type>forward</Type><TargetGroupArn>" arn "</TargetGroupArn></member>"   \
    "</Actions>"
#define RULE(conditions, actions)                                                              \
    "<member><Conditions>" conditions "</Conditions>" actions "</member>"
#define HEADER(name, value)                                                                    \
    "<member><Field>http-header</Field><HttpHeaderConfig><HttpHeaderName>" name                \
    "</HttpHeaderName><Values><member>" value "</member></Values></HttpHeaderConfig></member>"

static int account_new(void **state)
{
    struct account *a = mem_alloc(sizeof(*a));
    a->class = class_new();
    class_set(a->class, "max_lifetime_s", "3600");
    a->url = "http://alb.internal:8000";
    put(&a->group, KIND("ip", "HTTP", "8080"));
    put(&a->check, CHECK("/health", "traffic-port", "200", "10", "10"));
    put(&a->attributes, FINE_ATTRIBUTES);
    put(&a->balancer, BALANCER("application", "active", "internal", "4000"));
    put(&a->listener, LISTENER("HTTP", "8000"));
    put(&a->rules, RULE("", FORWARD(ARN)));
    put(&a->tag, "me");
    *state = a;
    return 0;
}

static int account_free(void **state)
{
    struct account *a = *state;
    struct buf *all[] = {&a->group,    &a->check, &a->attributes, &a->balancer,
                         &a->listener, &a->rules, &a->tag,        &a->found};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        buf_free(all[i]);
    class_free(a->class);
    free(a);
    return 0;
}

static struct xml *tree(const char *fmt, const char *text)
{
    struct error e;
    char *whole = mem_printf(fmt, text);
    struct xml *root = xml_parse(whole, strlen(whole), &e);
    assert_non_null(root);
    free(whole);
    return root;
}

static void note(void *arg, enum finding_level level, const char *problem, const char *cure)
{
    struct account *a = arg;
    assert_true(strncmp(problem, "target group agents: ", 21) == 0);
    assert_true(cure[strlen(cure) - 1] == '.');
    buf_printf(&a->found, "%c:%s\n", level == FINDING_ERROR ? 'E' : 'W', problem + 21);
}

#define PAGE(call, list) "<R><" call "Result><" list ">%s</" list "></" call "Result></R>"

/* All findings, a line each. */
static const char *judged(struct account *a)
{
    struct alb_documents d = {0};
    char *bar = strchr(a->balancer.data, '|');
    char *self =
        mem_printf("<member>%.*s</member>", (int)(bar - a->balancer.data), a->balancer.data);
    char *group = mem_printf("<member>%s%s<LoadBalancerArns><member>B</member>"
                             "</LoadBalancerArns></member>",
                             a->group.data, a->check.data);
    d.group = tree(PAGE("DescribeTargetGroups", "TargetGroups"), group);
    d.tags = tree("<R><DescribeTagsResult><TagDescriptions>" OWNED(
                      ARN, "%s") "</TagDescriptions></DescribeTagsResult></R>",
                  a->tag.data);
    d.attributes =
        tree(PAGE("DescribeTargetGroupAttributes", "Attributes"), a->attributes.data);
    d.balancer = tree(PAGE("DescribeLoadBalancers", "LoadBalancers"), self);
    d.balancer_attributes = tree(PAGE("DescribeLoadBalancerAttributes", "Attributes"), bar + 1);
    struct alb_page listeners = {tree(PAGE("DescribeListeners", "Listeners"), a->listener.data),
                                 NULL, NULL};
    struct alb_page rules = {tree(PAGE("DescribeRules", "Rules"), a->rules.data), "L", NULL};
    struct alb_page others = {tree(PAGE("DescribeRules", "Rules"), ""), "M", &rules};
    d.listeners = &listeners;
    d.rules = &others;
    assert_string_equal(alb_balancer_of(&d), "B");
    struct alb_judge j = {a->class, "me", ARN, "agents", 2, a->url, &d, note, a};
    put(&a->found, "");
    alb_judge_group(&j);
    alb_judge_balancer(&j);
    struct xml *all[] = {
        d.group,        d.tags,     d.attributes, d.balancer, d.balancer_attributes,
        listeners.root, rules.root, others.root};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        xml_free(all[i]);
    free(self);
    free(group);
    return a->found.data;
}

/* One finding of that level with those words, and no other. */
static void expect_one(struct account *a, char level, const char *words)
{
    const char *found = judged(a);
    if (found[0] != level || strstr(found, words) == NULL ||
        strchr(found, '\n') != found + strlen(found) - 1)
        fail_msg("not just %c:%s, but \"%s\"", level, words, found);
}

static void a_fine_account(void **state)
{
    struct account *a = *state;
    assert_string_equal(judged(a), "");
    put(&a->check, CHECK("/health", "8080", "200-299", "30", "2"));
    assert_string_equal(judged(a), "");
    a->url = "https://[fd00::1]/";
    put(&a->listener, LISTENER("HTTPS", "443"));
    assert_string_equal(judged(a), "");
    class_set(a->class, "alb_header", "X-Slot");
    put(&a->rules, RULE(HEADER("x-slot", "2"), FORWARD(ARN)));
    assert_string_equal(judged(a), "");
}

static void a_target_group_of_another_kind(void **state)
{
    struct account *a = *state;
    put(&a->group, KIND("instance", "HTTP", "8080"));
    expect_one(a, 'E', "targets are of type instance");
    put(&a->group, KIND("ip", "HTTPS", "8080"));
    expect_one(a, 'E', "speaks HTTPS to its targets");
    put(&a->group, KIND("ip", "HTTP", "8080") "<ProtocolVersion>GRPC</ProtocolVersion>");
    expect_one(a, 'E', "speaks GRPC");
    put(&a->group, KIND("ip", "HTTP", "80"));
    expect_one(a, 'W', "its port is 80");
    put(&a->group, KIND("ip", "HTTP", "8080"));
    put(&a->tag, "you");
    expect_one(a, 'E', "belongs to owner you");
}

static void health_checks(void **state)
{
    struct account *a = *state;
    put(&a->check, "<HealthCheckEnabled>false</HealthCheckEnabled>"
                   "<HealthCheckIntervalSeconds>35</HealthCheckIntervalSeconds>"
                   "<UnhealthyThresholdCount>2</UnhealthyThresholdCount>");
    expect_one(a, 'E', "health checks are off");
    put(&a->check, CHECK("/", "traffic-port", "200", "10", "10"));
    expect_one(a, 'E', "ask for /");
    put(&a->check, CHECK("/health", "9090", "200", "10", "10"));
    expect_one(a, 'E', "ask port 9090");
    put(&a->check, CHECK("/health", "traffic-port", "201,204-299", "10", "10"));
    expect_one(a, 'E', "expect status 201,204-299");
    put(&a->check, CHECK("/health", "traffic-port", "199,200", "10", "5"));
    expect_one(a, 'W', "counts as dead after 50 s");
    class_set(a->class, "exec_timeout_s", "50");
    assert_string_equal(judged(a), "");
    class_set(a->class, "exec_timeout_s", "101");
    put(&a->check, CHECK("/health", "traffic-port", "200", "10", "10"));
    assert_string_equal(judged(a), "");
    class_set(a->class, "proof", "none"); /* user code answers the checks, or does not */
    expect_one(a, 'W', "counts as dead after 100 s");
}

static void attributes(void **state)
{
    struct account *a = *state;
#define DRAIN(s) ATTRIBUTE("deregistration_delay.timeout_seconds", s)
    put(&a->attributes, DRAIN("30"));
    expect_one(a, 'E', "stickiness is off");
    put(&a->attributes, DRAIN("30") ATTRIBUTE("stickiness.enabled", "true")
                            ATTRIBUTE("stickiness.type", "app_cookie"));
    expect_one(a, 'E', "stickiness is of type app_cookie");
    put(&a->attributes, DRAIN("30") ATTRIBUTE("stickiness.enabled", "true")
                            ATTRIBUTE("stickiness.lb_cookie.duration_seconds", "3599"));
    expect_one(a, 'W', "stickiness lapses after 3599 s");
    put(&a->attributes, ATTRIBUTE("slow_start.duration_seconds", "30") FINE_ATTRIBUTES);
    expect_one(a, 'W', "slow start of 30 s");
    put(&a->attributes,
        ATTRIBUTE("load_balancing.cross_zone.enabled", "false") FINE_ATTRIBUTES);
    expect_one(a, 'E', "cross-zone");
    put(&a->attributes,
        ATTRIBUTE("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
                  "3") FINE_ATTRIBUTES);
    expect_one(a, 'W', "fewer than 3");
    put(&a->attributes, DRAIN("4") FINE_ATTRIBUTES);
    expect_one(a, 'W', "cuts off");
    put(&a->attributes, DRAIN("300") FINE_ATTRIBUTES);
    expect_one(a, 'W', "addresses of ended sessions");
    class_set(a->class, "alb_mode", "slot");
    expect_one(a, 'W', "slot of an ended session");
    put(&a->attributes, DRAIN("5") ATTRIBUTE("slow_start.duration_seconds", "30"));
    assert_string_equal(judged(a), ""); /* nothing there to stick to, nor to share with */
}

static void load_balancers(void **state)
{
    struct account *a = *state;
    put(&a->balancer, BALANCER("network", "active", "internal", "4000"));
    expect_one(a, 'E', "a network one");
    put(&a->balancer, BALANCER("application", "failed", "internal", "4000"));
    expect_one(a, 'W', "is failed");
    put(&a->balancer, BALANCER("application", "active", "internet-facing", "4000"));
    expect_one(a, 'W', "faces the internet");
    put(&a->balancer, BALANCER("application", "active", "internal", "299"));
    expect_one(a, 'W', "504 after 299 s");
    class_set(a->class, "exec_timeout_s", "299");
    assert_string_equal(judged(a), "");
    class_set(a->class, "exec_timeout_s", "5000");
    class_set(a->class, "proof", "none");
    put(&a->check, CHECK("/health", "traffic-port", "200", "300", "20"));
    expect_one(a, 'E', "504 after 299 s");
}

static void ways(void **state)
{
    struct account *a = *state;
    put(&a->listener, LISTENER("HTTP", "80"));
    expect_one(a, 'E', "no listener on port 8000");
    put(&a->listener, LISTENER("HTTPS", "8000"));
    expect_one(a, 'E', "speaks HTTPS, but alb_urls says HTTP");
    put(&a->listener, LISTENER("HTTP", "8000"));
    put(&a->rules, RULE("", FORWARD("other")));
    expect_one(a, 'E', "does not lead to it");
    put(&a->rules,
        RULE("", "<Actions><member><Type>forward</Type><ForwardConfig><TargetGroups><member>"
                 "<TargetGroupArn>" ARN "</TargetGroupArn><Weight>1</Weight></member><member>"
                 "<TargetGroupArn>x</TargetGroupArn><Weight>1</Weight></member></TargetGroups>"
                 "</ForwardConfig></member></Actions>"));
    expect_one(a, 'E', "spreads requests");
    class_set(a->class, "alb_header", "X-Slot");
    put(&a->rules, RULE(HEADER("X-Slot", "1"), FORWARD(ARN)) RULE("", FORWARD(ARN)));
    expect_one(a, 'E',
               "no rule of the listener on port 8000 is for header X-Slot with value 2");
    put(&a->rules, RULE(HEADER("X-Slot", "2"), FORWARD("other")));
    expect_one(a, 'E', "leads elsewhere");
}

int main(void)
{
#define ACCOUNT(f) cmocka_unit_test_setup_teardown(f, account_new, account_free)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms),
        cmocka_unit_test(healths),
        cmocka_unit_test(every_state_and_reason),
        cmocka_unit_test(reasons_of_two_lines),
        cmocka_unit_test(health_that_makes_no_sense),
        cmocka_unit_test(states_of_targets),
        cmocka_unit_test(tags),
        cmocka_unit_test(names),
        ACCOUNT(a_fine_account),
        ACCOUNT(a_target_group_of_another_kind),
        ACCOUNT(health_checks),
        ACCOUNT(attributes),
        ACCOUNT(load_balancers),
        ACCOUNT(ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
