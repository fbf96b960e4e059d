/* What is found in an account that would hurt a class of runtime ecs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/ecs_findings.h"
#include "driver_help.h"
#include "ecs_class.h"

struct findings {
    int errors, warnings;
    char text[2048];
};

static void find(void *arg, enum finding_level level, const char *problem, const char *cure)
{
    struct findings *f = arg;
    size_t used = strlen(f->text);
    f->errors += level == FINDING_ERROR;
    f->warnings += level == FINDING_WARNING;
    assert_true(*problem && *cure);
    snprintf(f->text + used, sizeof(f->text) - used, "%s\n", problem);
}

typedef void find_fn(const struct ecs_found *, const char *text, size_t len);

static void check_found(const struct class *c, const char *template, find_fn *fn,
                        const char *answer, int errors, int warnings, const char *words)
{
    struct findings f = {0};
    json_t *t = ecs_template_of(c, template);
    fn(&(struct ecs_found){.class = c, .template = t, .tell = find, .arg = &f}, answer,
       strlen(answer));
    if (f.errors != errors || f.warnings != warnings || strstr(f.text, words) == NULL)
        fail_msg("%s\n%d errors, %d warnings: %s", answer, f.errors, f.warnings, f.text);
    json_decref(t);
}

static void clusters(void **state)
{
#define CLUSTER(status)                                                                        \
    "{\"clusters\":[{\"status\":\"" status "\",\"capacityProviders\":["                        \
    "\"FARGATE\"]}]}"
    const char *spot = "{\"taskDefinition\":\"a\",\"capacityProviderStrategy\":["
                       "{\"capacityProvider\":\"FARGATE_SPOT\"}]," NETWORK "}";
    check_found(*state, MINIMAL, ecs_find_cluster, CLUSTER("ACTIVE"), 0, 0, "");
    check_found(*state, MINIMAL, ecs_find_cluster, CLUSTER("INACTIVE"), 1, 0, "INACTIVE");
    check_found(*state, spot, ecs_find_cluster, CLUSTER("ACTIVE"), 1, 0, "FARGATE_SPOT");
    check_found(*state, MINIMAL, ecs_find_cluster,
                "{\"clusters\":[],\"failures\":[{\"reason\":\"MISSING\"}]}", 1, 0,
                "cluster default does not exist");
#undef CLUSTER
}

#define DEFINITION(members, container)                                                         \
    "{\"taskDefinition\":{\"status\":\"ACTIVE\",\"requiresCompatibilities\":[\"FARGATE\"]"     \
    "," members ",\"containerDefinitions\":[{\"name\":\"main\"," container "}]}}"
#define VPC "\"networkMode\":\"awsvpc\""
#define PORT "\"portMappings\":[{\"containerPort\":8080}]"

static void definitions(void **state)
{
    struct class *c = *state;
    find_fn *fn = ecs_find_definition;
    check_found(c, MINIMAL, fn, DEFINITION(VPC, PORT), 0, 0, "");
    check_found(c, MINIMAL, fn, DEFINITION("\"networkMode\":\"bridge\"", PORT), 1, 0,
                "address");
    check_found(c, MINIMAL, fn, DEFINITION(VPC, "\"portMappings\":[]"), 0, 1, "port 8080");
    check_found(c, MINIMAL, fn, DEFINITION(VPC, PORT ",\"essential\":false"), 1, 0,
                "not essential");
    check_found(c, MINIMAL, fn, DEFINITION(VPC, PORT ",\"readonlyRootFilesystem\":true"), 0, 1,
                "workspace");
    check_found(c, MINIMAL, fn,
                DEFINITION(VPC, PORT ",\"environment\":[{\"name\":\"CLEAT_SECRET\"}]"), 1, 0,
                "CLEAT_SECRET");
    check_found(c, MINIMAL, fn, "{\"taskDefinition\":{" VPC ",\"status\":\"INACTIVE\"}}", 2, 0,
                "INACTIVE");
    class_set(c, "sandbox", "bwrap");
    check_found(c, MINIMAL, fn, DEFINITION(VPC, PORT), 1, 0, "bwrap");
    class_set(c, "sandbox", "none");
    class_set(c, "ecs_container", "other");
    check_found(c, MINIMAL, fn, DEFINITION(VPC, PORT), 1, 0, "no container other");
}

static void uploads_of_a_definition(void **state)
{
    struct class *c = *state;
    find_fn *fn = ecs_find_definition;
    class_set(c, "artifacts", "s3://box/x");
    check_found(c, MINIMAL, fn, DEFINITION(VPC, PORT ",\"stopTimeout\":120"), 1, 0,
                "credentials for s3://box/x");
    check_found(c, MINIMAL, fn, DEFINITION(VPC ",\"taskRoleArn\":\"r\"", PORT), 0, 1, "30 s");
    check_found(c, MINIMAL, fn,
                DEFINITION(VPC ",\"taskRoleArn\":\"r\"", PORT ",\"stopTimeout\":60"), 0, 1,
                "60 s");
    check_found(c,
                "{\"taskDefinition\":\"a\",\"overrides\":{\"taskRoleArn\":\"r\"}," NETWORK "}",
                fn, DEFINITION(VPC, PORT ",\"stopTimeout\":120"), 0, 0, "");
    class_set(c, "s3_role", "arn:aws:iam::1:role/r");
    check_found(c, MINIMAL, fn, DEFINITION(VPC, PORT ",\"stopTimeout\":120"), 0, 0, "");
}

#define SUBNET(zone, vpc, free)                                                                \
    "<item><availabilityZone>" zone "</availabilityZone><vpcId>" vpc                           \
    "</vpcId><availableIpAddressCount>" free "</availableIpAddressCount></item>"
#define SUBNETS(items)                                                                         \
    "<DescribeSubnetsResponse><subnetSet>" items "</subnetSet></DescribeSubnetsResponse>"

static void subnets(void **state)
{
    find_fn *fn = ecs_find_subnets;
    struct class *c = *state;
    check_found(c, MINIMAL, fn, SUBNETS(SUBNET("a", "v", "200") SUBNET("b", "v", "3")), 0, 0,
                "");
    check_found(c, MINIMAL, fn, SUBNETS(SUBNET("a", "v", "200")), 0, 1, "zone a");
    check_found(c, MINIMAL, fn, SUBNETS(SUBNET("a", "v", "2") SUBNET("b", "v", "3")), 0, 1,
                "5 free addresses");
    check_found(c, MINIMAL, fn, SUBNETS(SUBNET("a", "v", "0") SUBNET("b", "v", "0")), 1, 0,
                "0 free");
    check_found(c, MINIMAL, fn, SUBNETS(SUBNET("a", "v", "99") SUBNET("b", "w", "99")), 1, 0,
                "several VPCs");
    check_found(c, MINIMAL, fn, SUBNETS(""), 1, 0, "none of the subnets");
    json_t *t = json_loads("{\"networkConfiguration\":{\"awsvpcConfiguration\":{\"subnets\":["
                           "\"s-1\",\"a b\"]}}}",
                           0, NULL);
    char *form = ecs_subnets_request(t);
    assert_string_equal(form, "SubnetId.1=s-1&SubnetId.2=a%20b");
    free(form);
    json_decref(t);
}

static void the_request_itself(void **state)
{
    struct findings f = {0};
    json_t *t = ecs_template_of_size(8000);
    struct ecs_found found = {.class = *state, .template = t, .tell = find, .arg = &f};
    ecs_find_request(&found, "o", "");
    assert_int_equal(f.errors, 1);
    assert_non_null(strstr(f.text, "8192"));
    json_decref(t);
    t = ecs_template_of_size(10);
    f = (struct findings){0};
    found.template = t;
    ecs_find_request(&found, "o", "");
    assert_int_equal(f.errors + f.warnings, 0);
    json_decref(t);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, ecs_class_open, ecs_class_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(clusters), TEST(definitions),        TEST(uploads_of_a_definition),
        TEST(subnets),  TEST(the_request_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
