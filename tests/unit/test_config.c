/* Configurations, and what of a class its containers are made from and found by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "cleat.h"
#include "driver/class.h"
#include "session/config.h"
#include "session/warm.h"

static void same_engine(bool same, const struct class *a, const char *region_of_a,
                        const struct class *b, const char *region_of_b)
{
    char *x = class_engine(a, region_of_a), *y = class_engine(b, region_of_b);
    if ((strcmp(x, y) == 0) != same)
        fail_msg("%s, %s", x, y);
    free(x);
    free(y);
}

static void an_engine_is_where_containers_are_found(void **state)
{
    char *one[] = {(char *)"10.0.0.1:8080", NULL}, *two[] = {(char *)"10.0.0.2:8080", NULL};
    struct class process = {.runtime = RUNTIME_PROCESS, .workspace_dir = (char *)""};
    struct class elsewhere = {.runtime = RUNTIME_PROCESS, .workspace_dir = (char *)"/dev/shm"};
    struct class docker = {.runtime = RUNTIME_DOCKER, .docker_socket = (char *)"/a"};
    struct class podman = {.runtime = RUNTIME_DOCKER, .docker_socket = (char *)"/b"};
    struct class ecs = {.runtime = RUNTIME_ECS, .ecs_cluster = (char *)"blue"};
    struct class arn = {.runtime = RUNTIME_ECS,
                        .ecs_cluster =
                            (char *)"arn:aws:ecs:eu-west-1:123456789012:cluster/blue"};
    struct class green = {.runtime = RUNTIME_ECS, .ecs_cluster = (char *)"green"};
    struct class hosts = {.runtime = RUNTIME_STATIC, .static_hosts = one};
    struct class others = {.runtime = RUNTIME_STATIC, .static_hosts = two};
    (void)state;
    same_engine(true, &process, "", &process, "eu-west-1");
    same_engine(false, &process, "", &elsewhere, "");
    same_engine(false, &process, "", &docker, "");
    same_engine(false, &docker, "", &podman, "");
    same_engine(true, &ecs, "eu-west-1", &arn, "eu-west-1");
    same_engine(false, &ecs, "eu-west-1", &ecs, "eu-west-2");
    same_engine(false, &ecs, "eu-west-1", &green, "eu-west-1");
    same_engine(true, &hosts, "", &others, ""); /* hosts come and go */
    same_engine(false, &hosts, "", &process, "");
}

/* Of a class whose option key is value. */
static struct recipe recipe_with(const char *key, const char *value)
{
    char why[256];
    struct cleat_config *c = cleat_config_new();
    if (key && !cleat_config_set(c, "default", key, value, why, sizeof(why)))
        fail_msg("%s", why);
    struct recipe r = warm_recipe(config_class(c, "default"));
    cleat_config_free(c);
    return r;
}

static void warm_containers_differ_by_what_they_are_made_from(void **state)
{
    static const struct {
        const char *key, *value;
        bool program, place;
    } changes[] = {
        {"command", "/bin/true", true, false},   {"image", "other", true, false},
        {"memory_mb", "64", false, true},        {"network", "host", false, true},
        {"artifacts", "file:///x", false, true}, {"gpu", "1", false, false},
        {"labels", "zone=a", false, false},      {"input_sources", "*=file:///x", false, false},
        {"max_parallel", "3", false, false},     {"max_queued", "3", false, false},
        {"output_limit_kb", "1", false, false},  {"job_log_limit_kb", "1", false, false},
        {"exec_timeout_s", "1", false, false},   {"stop_grace_s", "1", false, false}};
    (void)state;
    struct recipe plain = recipe_with(NULL, NULL);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct recipe r = recipe_with(changes[i].key, changes[i].value);
        if ((r.program != plain.program) != changes[i].program ||
            (r.place != plain.place) != changes[i].place)
            fail_msg("%s", changes[i].key);
    }
}

#define GROUP(n) "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/g" n "/0"

/* Each wrong value is refused, each right one is kept for the next line. */
static void check_aws_class(struct cleat_config *c)
{
    static const struct {
        const char *key, *wrong, *right;
    } cases[] = {{"runtime", "ecs", "process"}, /* without ecs_task */
                 {"ecs_task", NULL, "/etc/task.json"},
                 {"runtime", NULL, "ecs"},
                 {"ecs_task", "task.json", "/etc/task.json"},
                 {"artifacts", "file:///tmp/x", "s3://a-bucket"},
                 {"ecs_cluster", "", "agents"},
                 {"ecs_container", "", "executor"},
                 {"balancer", "alb", "direct"}, /* without target groups */
                 {"alb_target_groups", NULL, GROUP("1")},
                 {"balancer", "alb", "direct"}, /* without URLs */
                 {"alb_urls", NULL, "http://lb.example"},
                 {"balancer", NULL, "alb"},
                 {"alb_target_groups", "g1", GROUP("1")},
                 {"alb_target_groups", GROUP("1") "," GROUP("1"), GROUP("1")},
                 {"alb_urls", "lb.example", "https://lb.example"},
                 {"alb_urls", "http://a,http://b", "http://lb.example"},
                 {"alb_target_groups", GROUP("1") "," GROUP("2"), GROUP("1")}, /* no header */
                 {"alb_header", "X Slot", "X-Slot"},
                 {"alb_target_groups", NULL, GROUP("1") "," GROUP("2")},
                 {"alb_urls", NULL, "http://lb.example,http://lb.example/"},
                 {"alb_header", "", "X-Slot"},
                 {"cookies", "", "AWSALB"}};
    char why[256];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *key = cases[i].key, *wrong = cases[i].wrong;
        if (wrong) {
            assert_true(cleat_config_set(c, "aws", key, wrong, why, sizeof(why)));
            if (cleat_config_check(c, why, sizeof(why)))
                fail_msg("accepted: %s = %s", key, wrong);
            assert_non_null(strstr(why, "class aws: "));
        }
        assert_true(cleat_config_set(c, "aws", key, cases[i].right, why, sizeof(why)));
        if (!cleat_config_check(c, why, sizeof(why)))
            fail_msg("%s = %s: %s", key, cases[i].right, why);
    }
}

static void configurations_are_checked_as_a_whole(void **state)
{
    struct cleat_config *c = cleat_config_new();
    char why[256] = "";
    (void)state;
    assert_false(cleat_config_check(c, why, sizeof(why)));
    assert_non_null(strstr(why, "state_dir"));
    assert_true(cleat_config_set(c, NULL, "state_dir", "/tmp/x", why, sizeof(why)));
    assert_true(cleat_config_check(c, why, sizeof(why)));
    assert_true(cleat_config_set(c, "web", "balancer", "haproxy", why, sizeof(why)));
    assert_false(cleat_config_check(c, why, sizeof(why)));
    assert_non_null(strstr(why, "class web: haproxy_sockets"));
    assert_true(cleat_config_set(c, "web", "haproxy_sockets", "/run/a.sock", why, sizeof(why)));
    assert_false(cleat_config_check(c, why, sizeof(why)));
    assert_non_null(strstr(why, "haproxy_urls"));
    assert_true(
        cleat_config_set(c, "web", "haproxy_urls", "http://127.0.0.1:1", why, sizeof(why)));
    assert_false(cleat_config_check(c, why, sizeof(why)));
    assert_non_null(strstr(why, "haproxy_backend"));
    assert_true(cleat_config_set(c, "web", "haproxy_backend", "be", why, sizeof(why)));
    assert_true(cleat_config_check(c, why, sizeof(why)));
    static const struct {
        const char *key, *wrong, *right;
    } cases[] = {
        {"haproxy_urls", "ftp://x", "http://127.0.0.1:1"},
        {"haproxy_urls", "http://", "https://lb.example:443/"},
        {"haproxy_urls", "http://x/path", "http://127.0.0.1:1"},
        {"haproxy_backend", "b c", "be"},
        {"artifacts", "file://relative", "file:///tmp/x"},
        {"artifacts", "s3://NoBucket/x", "s3://a-bucket/x"},
        {"s3_role", "role", ""},
        {"s3_role", "role", "arn:aws:iam::1:role/r"},
        {"artifacts", "file:///tmp/x", "s3://a-bucket/x"}, /* of s3_role */
        {"proof", "none", "required"},                     /* of s3_role */
        {"input_sources", "no-url", "*=s3://a-bucket/in"},
        {"input_sources", "=file:///x", "t=file:///x"},
        {"input_sources", "t=file://x", "t=file:///x,u=s3://b-bucket/{tenant}"},
        {"artifacts", "", "s3://a-bucket/x"}, /* of input_sources */
        {"input_path", "input", "/workspace/input"},
        {"input_path", "/workspace/../etc", "/workspace/in"},
        {"gather_max_ms", "10", "1000"},
        {"address_range", "10.0.0.0/24", "127.64.0.0/16"},
        {"address_range", "127.64.5.0/24", "127.64.0.0/16"}, /* within the other class's */
        {"address_range", "nonsense", "127.65.0.0/16"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(cleat_config_set(c, "web", cases[i].key, cases[i].wrong, why, sizeof(why)));
        if (cleat_config_check(c, why, sizeof(why)))
            fail_msg("accepted: %s = %s", cases[i].key, cases[i].wrong);
        assert_non_null(strstr(why, "class web: "));
        assert_true(cleat_config_set(c, "web", cases[i].key, cases[i].right, why, sizeof(why)));
        if (!cleat_config_check(c, why, sizeof(why)))
            fail_msg("%s = %s: %s", cases[i].key, cases[i].right, why);
    }
    check_aws_class(c);
    assert_true(cleat_config_set(c, NULL, "executor", "relative", why, sizeof(why)));
    assert_false(cleat_config_check(c, why, sizeof(why)));
    assert_false(cleat_config_set(c, NULL, "owner", "a.b", why, sizeof(why)));
    assert_false(cleat_config_set(c, NULL, "nonsense", "1", why, sizeof(why)));
    assert_false(cleat_config_set(c, "bad name", "port", "1", why, sizeof(why)));
    assert_false(cleat_config_set(c, "web", "port", "0", why, sizeof(why)));
    assert_false(cleat_config_set(c, "web", "sandbox", "jail", why, sizeof(why)));
    assert_non_null(strstr(why, "bwrap"));
    cleat_config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_engine_is_where_containers_are_found),
        cmocka_unit_test(warm_containers_differ_by_what_they_are_made_from),
        cmocka_unit_test(configurations_are_checked_as_a_whole),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
