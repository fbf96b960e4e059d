/* What is said to ECS, and what its answers mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/ecs_answer.h"
#include "driver/ecs_fields.h"
#include "driver_help.h"
#include "ecs_class.h"
#include "http/json.h"

#define SECRET "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct launch what = {.key = "o.s.2",
                                   .owner = "o",
                                   .session = "s",
                                   .attempt = 2,
                                   .secret = SECRET,
                                   .idle_timeout_s = 5,
                                   .lifetime_s = 6};

/* ---- the template ---- */

static void check_refused(const struct class *c, const char *text, const char *word)
{
    struct error e = {0};
    json_t *t = ecs_read_template(text, strlen(text), c, &e);
    if (t != NULL)
        fail_msg("not refused: %s", text);
    assert_int_equal(e.code, ERR_CONFIG);
    if (strstr(e.message, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.message, word);
}

static void templates_that_are_wrong(void **state)
{
    const struct class *c = *state;
    check_refused(c, "", "JSON");
    check_refused(c, "[]", "object");
    check_refused(c, "{\"taskDefinition\":\"a\",\"taskDefinition\":\"b\"}", "twice");
    check_refused(c, "{" NETWORK "}", "taskDefinition");
    check_refused(c, "{\"taskDefinition\":3," NETWORK "}", "taskDefinition");
    check_refused(c, "{\"taskDefinition\":\"a\"}", "awsvpc");
    check_refused(c,
                  "{\"taskDefinition\":\"a\",\"networkConfiguration\":{"
                  "\"awsvpcConfiguration\":{\"subnets\":[3]}}}",
                  "subnets");
    check_refused(c, "{\"taskDefinition\":\"a\",\"subnets\":[]," NETWORK "}",
                  "no member \"subnets\"");
    check_refused(c, "{\"taskDefinition\":\"a\",\"count\":2," NETWORK "}", "count");
    check_refused(c, "{\"taskDefinition\":\"a\",\"startedBy\":\"x\"," NETWORK "}", "startedBy");
    check_refused(c, "{\"taskDefinition\":\"a\",\"clientToken\":\"x\"," NETWORK "}",
                  "clientToken");
    check_refused(c, "{\"taskDefinition\":\"a\",\"cluster\":4," NETWORK "}", "cluster");
    check_refused(c, "{\"taskDefinition\":\"a\",\"tags\":{}," NETWORK "}", "tags");
    check_refused(c, "{\"taskDefinition\":\"a\",\"tags\":[{\"value\":\"x\"}]," NETWORK "}",
                  "tags");
    check_refused(c,
                  "{\"taskDefinition\":\"a\",\"tags\":[{\"key\":\"cleat:owner\"}]," NETWORK "}",
                  "cleat:owner");
}

static void overrides_that_are_wrong(void **state)
{
#define WITH(overrides) "{\"taskDefinition\":\"a\",\"overrides\":" overrides "," NETWORK "}"
#define OF_MAIN(rest) WITH("{\"containerOverrides\":[{\"name\":\"main\"," rest "}]}")
    const struct class *c = *state;
    check_refused(c, WITH("[]"), "overrides");
    check_refused(c, WITH("{\"containerOverrides\":{}}"), "containerOverrides");
    check_refused(c, WITH("{\"containerOverrides\":[{\"cpu\":3}]}"), "name");
    check_refused(c, WITH("{\"containerOverrides\":[{\"name\":\"main\"},{\"name\":\"main\"}]}"),
                  "twice");
    check_refused(c, OF_MAIN("\"environment\":{}"), "environment");
    check_refused(c, OF_MAIN("\"environment\":[{\"value\":\"x\"}]"), "without name");
    check_refused(c, OF_MAIN("\"environment\":[{\"name\":\"CLEAT_SECRET\",\"value\":\"x\"}]"),
                  "CLEAT_SECRET is set by cleat");
    check_refused(c, OF_MAIN("\"environment\":[{\"name\":\"SESSION_ID\",\"value\":\"x\"}]"),
                  "SESSION_ID");
#undef OF_MAIN
#undef WITH
}

static void too_many_tags(void **state)
{
    json_t *t = json_loads(MINIMAL, 0, NULL), *tags = json_array();
    for (int i = 0; i < 40; i++)
        json_array_append_new(
            tags, json_pack("{s:o, s:s}", "key", json_sprintf("k%d", i), "value", "v"));
    json_object_set_new(t, "tags", tags);
    char *text = js_text(t);
    check_refused(*state, text, "40 tags");
    free(text);
    json_array_remove(tags, 0);
    text = js_text(t);
    json_decref(ecs_template_of(*state, text));
    free(text);
    json_decref(t);
}

/* ---- a launch ---- */

static json_t *request_of(const struct class *c, const char *template, const char *region)
{
    struct error e = {0};
    json_t *t = ecs_template_of(c, template);
    char *text = ecs_run_request(t, c, &what, region, &e);
    if (text == NULL)
        fail_msg("%s", e.message);
    char *again = ecs_run_request(t, c, &what, region, &e);
    assert_string_equal(text, again);
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(o);
    free(text);
    free(again);
    json_decref(t);
    return o;
}

static const char *at(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "(none)";
}

static const char *variable(const json_t *request, const char *name)
{
    const json_t *v, *found = NULL;
    size_t i;
    json_array_foreach (json_object_get(ecs_override_of(request, "main"), "environment"), i, v)
        if (strcmp(at(v, "name"), name) == 0) {
            assert_null(found); /* never twice: which one would hold? */
            found = v;
        }
    return at(found, "value");
}

static void a_launch(void **state)
{
    struct class *c = *state;
    class_set(c, "artifacts", "s3://box/of/things");
    class_set(c, "port", "9000");
    json_t *o = request_of(c, MINIMAL, "eu-central-1");
    assert_string_equal(at(o, "cluster"), "default");
    assert_string_equal(at(o, "taskDefinition"), "agent:3");
    assert_string_equal(at(o, "clientToken"), "o.s.2");
    assert_string_equal(at(o, "startedBy"), "o");
    assert_int_equal(json_integer_value(json_object_get(o, "count")), 1);
    assert_string_equal(variable(o, "SESSION_ID"), "s");
    assert_string_equal(variable(o, "CLEAT_ATTEMPT"), "2");
    assert_string_equal(variable(o, "CLEAT_OWNER"), "o");
    assert_string_equal(variable(o, "CLEAT_SECRET"), SECRET);
    assert_string_equal(variable(o, "CLEAT_LISTEN"), "0.0.0.0:9000");
    assert_string_equal(variable(o, "CLEAT_ARTIFACTS"), "s3://box/of/things");
    assert_string_equal(variable(o, "CLEAT_IDLE_TIMEOUT_S"), "5");
    assert_string_equal(variable(o, "CLEAT_LIFETIME_S"), "6");
    assert_string_equal(variable(o, "CLEAT_FILE_SIZE_MB"), "4096");
    assert_string_equal(variable(o, "CLEAT_SANDBOX"), "(none)"); /* as the image says */
    assert_string_equal(variable(o, "AWS_REGION"), "eu-central-1");
    assert_string_equal(variable(o, "S3_BUCKET_NAME"), "box");
    json_t *tags =
        json_pack("[{s:s, s:s}, {s:s, s:s}, {s:s, s:s}]", "key", "cleat:owner", "value", "o",
                  "key", "cleat:session", "value", "s", "key", "cleat:attempt", "value", "2");
    assert_true(json_equal(json_object_get(o, "tags"), tags));
    json_decref(tags);
    json_decref(o);
}

static void the_template_stays(void **state)
{
    struct class *c = *state;
    class_set(c, "sandbox", "none");
    json_t *o = request_of(
        c,
        "{\"cluster\":\"mine\",\"taskDefinition\":\"a\",\"enableExecuteCommand\":true,"
        "\"capacityProviderStrategy\":[{\"capacityProvider\":\"FARGATE_SPOT\"}],"
        "\"volumeConfigurations\":[],\"tags\":[{\"key\":\"team\",\"value\":\"x\"}],"
        "\"overrides\":{\"cpu\":\"512\",\"containerOverrides\":[{\"name\":\"side\"},"
        "{\"name\":\"main\",\"memory\":99,\"environment\":["
        "{\"name\":\"AWS_REGION\",\"value\":\"theirs\"},{\"name\":\"A\",\"value\":\"b\"}]}]}"
        "," NETWORK "}",
        "ours");
    assert_string_equal(at(o, "cluster"), "mine");
    assert_true(json_is_true(json_object_get(o, "enableExecuteCommand")));
    assert_int_equal(json_array_size(json_object_get(o, "capacityProviderStrategy")), 1);
    assert_int_equal(json_array_size(json_object_get(o, "tags")), 4);
    assert_string_equal(at(json_object_get(o, "overrides"), "cpu"), "512");
    assert_non_null(ecs_override_of(o, "side"));
    assert_int_equal(json_integer_value(json_object_get(ecs_override_of(o, "main"), "memory")),
                     99);
    assert_string_equal(variable(o, "A"), "b");
    assert_string_equal(variable(o, "AWS_REGION"), "theirs");
    assert_string_equal(variable(o, "S3_BUCKET_NAME"), "(none)");
    assert_string_equal(variable(o, "CLEAT_SANDBOX"), "none");
    json_decref(o);
}

/* They are told what the plain contract says, and no secret that they could lose. */
static void plain_containers(void **state)
{
    struct class *c = *state;
    class_set(c, "proof", "none");
    class_set(c, "artifacts", "s3://box");
    json_t *o = request_of(c, MINIMAL, "r");
    assert_string_equal(variable(o, "SESSION_ID"), "s");
    assert_string_equal(variable(o, "S3_BUCKET_NAME"), "box");
    assert_int_equal(
        json_array_size(json_object_get(ecs_override_of(o, "main"), "environment")), 3);
    json_decref(o);
}

static size_t overrides_size(const struct class *c, const json_t *t)
{
    struct error e = {0};
    char *text = ecs_run_request(t, c, &what, "", &e);
    json_t *o = text != NULL ? json_loads(text, 0, NULL) : NULL;
    char *overrides = o != NULL ? js_text(json_object_get(o, "overrides")) : mem_strdup("");
    size_t size = strlen(overrides);
    if (text == NULL)
        assert_int_equal(e.code, ERR_TOO_LARGE);
    free(text);
    free(overrides);
    json_decref(o);
    return size;
}

/* To the very character, which for ECS is not a byte. */
static void overrides_limit(void **state)
{
    struct error e = {0};
    json_t *t = ecs_template_of_size(0);
    size_t rest = overrides_size(*state, t);
    json_decref(t);
    t = ecs_template_of_size(8192 - rest);
    assert_int_equal(overrides_size(*state, t), 8192);
    json_decref(t);
    t = ecs_template_of_size(8192 - rest + 7);
    assert_null(ecs_run_request(t, *state, &what, "", &e));
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_non_null(strstr(e.message, "7 more than the 8192"));
    json_decref(t);
    t = ecs_template_of_size(8192 - rest - 1);
    json_t *v = json_array_get(json_object_get(ecs_override_of(t, "main"), "environment"), 0);
    char *longer = mem_printf("%s\xc3\xa9", at(v, "value"));
    json_object_set_new(v, "value", json_string(longer));
    assert_int_equal(overrides_size(*state, t), 8193); /* bytes */
    free(longer);
    json_decref(t);
}

static void launches_that_cannot_be(void **state)
{
    struct error e = {0};
    struct launch l = what;
    json_t *t = ecs_template_of(*state, MINIMAL);
    l.owner = "a.b";
    assert_null(ecs_run_request(t, *state, &l, "", &e));
    assert_int_equal(e.code, ERR_PERMANENT);
    assert_non_null(strstr(e.message, "a.b"));
    l.owner = "0123456789012345678901234567890123456";
    assert_null(ecs_run_request(t, *state, &l, "", &e));
    l.owner = "o";
    l.key = "0123456789012345678901234567890123456789012345678901234567890123x";
    assert_null(ecs_run_request(t, *state, &l, "", &e));
    assert_non_null(strstr(e.message, "token"));
    json_decref(t);
}

static void requests_about_tasks(void **state)
{
    (void)state;
    char *text = ecs_describe_request("c", (const char *const[]){"a", "b"}, 2, false);
    assert_string_equal(text, "{\"cluster\":\"c\",\"tasks\":[\"a\",\"b\"]}");
    free(text);
    text = ecs_describe_request("c", (const char *const[]){"a"}, 1, true);
    assert_string_equal(text, "{\"cluster\":\"c\",\"tasks\":[\"a\"],\"include\":[\"TAGS\"]}");
    free(text);
    text = ecs_list_request("c", "o", "");
    assert_string_equal(text, "{\"cluster\":\"c\",\"startedBy\":\"o\"}");
    free(text);
    text = ecs_list_request("c", "o", "n\"");
    assert_string_equal(text,
                        "{\"cluster\":\"c\",\"startedBy\":\"o\",\"nextToken\":\"n\\\"\"}");
    free(text);
    text = ecs_stop_request("c", "t", "why");
    assert_string_equal(text, "{\"cluster\":\"c\",\"task\":\"t\",\"reason\":\"why\"}");
    free(text);
}

/* ---- answers ---- */

#define ARN "arn:aws:ecs:eu-central-1:123456789012:task/mine/"
#define ENI                                                                                    \
    "\"attachments\":[{\"type\":\"Other\",\"details\":[{\"name\":\"privateIPv4Address\","      \
    "\"value\":\"9.9.9.9\"}]},{\"type\":\"ElasticNetworkInterface\",\"details\":["             \
    "{\"name\":\"subnetId\",\"value\":\"s\"},{\"name\":\"privateIPv4Address\","                \
    "\"value\":\"10.0.0.7\"}]}]"
#define OURS                                                                                   \
    "\"startedBy\":\"o\",\"overrides\":{\"containerOverrides\":[{\"name\":\"main\","           \
    "\"environment\":[{\"name\":\"SESSION_ID\",\"value\":\"s\"},"                              \
    "{\"name\":\"CLEAT_ATTEMPT\",\"value\":\"2\"}]}]}"

struct seen {
    int tasks, missing;
    struct ecs_view view;
    char id[ECS_ID_SIZE];
};

static void see(void *arg, const struct ecs_view *v)
{
    struct seen *s = arg;
    s->tasks++;
    s->view = *v;
}

static void miss(void *arg, const char *id)
{
    struct seen *s = arg;
    s->missing++;
    mem_copy_string(s->id, sizeof(s->id), id);
}

static bool read_all(const char *text, struct seen *s)
{
    *s = (struct seen){0};
    return ecs_read_tasks(text, strlen(text), "main", "o", see, miss, s);
}

static struct ecs_view task_of(const char *members)
{
    struct seen s;
    char *text = mem_printf("{\"tasks\":[{\"taskArn\":\"" ARN "abc\",%s}]}", members);
    if (!read_all(text, &s) || s.tasks != 1)
        fail_msg("not read: %s", text);
    free(text);
    return s.view;
}

static enum ecs_phase phase_of(const char *last, const char *desired, const char *more)
{
    char *text =
        mem_printf("\"lastStatus\":\"%s\",\"desiredStatus\":\"%s\"%s", last, desired, more);
    enum ecs_phase phase = task_of(text).phase;
    free(text);
    return phase;
}

static void phases(void **state)
{
    (void)state;
    assert_int_equal(phase_of("PROVISIONING", "RUNNING", ""), ECS_RISING);
    assert_int_equal(phase_of("PENDING", "RUNNING", ""), ECS_RISING);
    assert_int_equal(phase_of("ACTIVATING", "RUNNING", ""), ECS_STARTING);
    assert_int_equal(phase_of("RUNNING", "RUNNING", ""), ECS_RUNNING);
    assert_int_equal(phase_of("PENDING", "STOPPED", ""), ECS_FALLING);
    assert_int_equal(phase_of("RUNNING", "STOPPED", ""), ECS_FALLING);
    assert_int_equal(phase_of("DEACTIVATING", "STOPPED", ""), ECS_FALLING);
    assert_int_equal(phase_of("STOPPING", "STOPPED", ""), ECS_FALLING);
    assert_int_equal(phase_of("STOPPING", "STOPPED", ",\"executionStoppedAt\":1.6e9"),
                     ECS_GONE);
    assert_int_equal(phase_of("STOPPING", "STOPPED", ",\"executionStoppedAt\":null"),
                     ECS_FALLING);
    assert_int_equal(phase_of("DEPROVISIONING", "STOPPED", ""), ECS_GONE);
    assert_int_equal(phase_of("STOPPED", "STOPPED", ",\"stoppedAt\":1.6e9"), ECS_GONE);
}

static void whose_and_where(void **state)
{
    (void)state;
    struct ecs_view v = task_of("\"lastStatus\":\"PENDING\"," OURS "," ENI);
    assert_string_equal(v.id, "abc");
    assert_string_equal(v.key, "o.s.2");
    assert_string_equal(v.ip, "10.0.0.7");
    assert_string_equal(v.progress, "the task is PENDING");
    v = task_of("\"lastStatus\":\"PENDING\",\"pullStartedAt\":1.6e9");
    assert_string_equal(v.progress, "the task is PENDING, its image is being pulled");
    v = task_of("\"lastStatus\":\"PENDING\"," OURS);
    assert_string_equal(v.ip, "");
    v = task_of("\"lastStatus\":\"PENDING\",\"startedBy\":\"p\"");
    assert_string_equal(v.key, "");
    /* of a plain container the attempt is in a tag */
    v = task_of("\"lastStatus\":\"PENDING\",\"startedBy\":\"o\",\"tags\":["
                "{\"key\":\"cleat:attempt\",\"value\":\"3\"}],\"overrides\":{"
                "\"containerOverrides\":[{\"name\":\"main\",\"environment\":["
                "{\"name\":\"SESSION_ID\",\"value\":\"s\"}]}]}");
    assert_string_equal(v.key, "o.s.3");
    v = task_of("\"lastStatus\":\"RUNNING\",\"attachments\":[{\"type\":"
                "\"ElasticNetworkInterface\",\"details\":[{\"name\":\"privateIPv4Address\","
                "\"value\":\"10.0.0.7; DROP\"}]}]");
    assert_string_equal(v.ip, "");
}

static char *copy_label(char *label, size_t len)
{
    for (size_t i = 0; i < len; i++)
        label[i] = (char)('a' + (i / 5 + i / 256) % 26);
    label[len] = '\0';
    return label;
}

/* Tags come back in any order, among others; the model of ECS: a value has 256 characters. */
static void label_there_and_back(void **state)
{
    static const size_t lengths[] = {0, 1, 255, 256, 257, 2047, LABEL_MAX};
    char label[LABEL_MAX + 1];
    struct launch l = what;
    l.label = label;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct error e = {0};
        json_t *t = ecs_template_of(*state, MINIMAL), *tag, *turned = json_array();
        size_t k;
        copy_label(label, lengths[i]);
        char *text = ecs_run_request(t, *state, &l, "", &e);
        json_t *o = json_loads(text, 0, NULL);
        json_array_foreach (json_object_get(o, "tags"), k, tag) {
            assert_true(strlen(at(tag, "value")) <= 256 && strlen(at(tag, "key")) <= 128);
            json_array_insert(turned, 0, tag);
        }
        assert_int_equal(k, 3 + (lengths[i] + 255) / 256);
        char *tags = json_dumps(turned, 0);
        char *members = mem_printf("\"lastStatus\":\"RUNNING\",\"tags\":%s", tags);
        assert_string_equal(task_of(members).label, label);
        free(members);
        free(tags);
        free(text);
        json_decref(turned);
        json_decref(o);
        json_decref(t);
    }
}

/* What comes from outside may be anything. */
static void strange_label_tags(void **state)
{
    char value[400], *members;
    (void)state;
    copy_label(value, 399);
    struct ecs_view v = task_of("\"lastStatus\":\"RUNNING\",\"tags\":[{\"key\":"
                                "\"cleat:label.1\",\"value\":\"b\"},{\"key\":7},"
                                "{\"key\":\"cleat:label.0\"}]");
    assert_string_equal(v.label, "b");
    members = mem_printf("\"lastStatus\":\"RUNNING\",\"tags\":["
                         "{\"key\":\"cleat:label.0\",\"value\":\"%s\"},"
                         "{\"key\":\"cleat:label.1\",\"value\":\"%s\"},"
                         "{\"key\":\"cleat:label.2\",\"value\":\"%s\"},"
                         "{\"key\":\"cleat:label.3\",\"value\":\"%s\"},"
                         "{\"key\":\"cleat:label.4\",\"value\":\"%s\"},"
                         "{\"key\":\"cleat:label.5\",\"value\":\"%s\"}]",
                         value, value, value, value, value, value);
    v = task_of(members);
    assert_int_equal(strlen(v.label), LABEL_MAX);
    free(members);
}

static void check_end(const char *members, enum error_code code, const char *words)
{
    char *text = mem_printf("\"lastStatus\":\"STOPPED\",%s", members);
    struct ecs_view v = task_of(text);
    if (v.end.code != code || strstr(v.end.message, words) == NULL)
        fail_msg("%s: %s: %s", members, error_name(v.end.code), v.end.message);
    free(text);
}

static void reasons(void **state)
{
    (void)state;
#define STOPPED(code, reason) "\"stopCode\":\"" code "\",\"stoppedReason\":\"" reason "\""
#define ENDED(container)                                                                       \
    STOPPED("EssentialContainerExited", "Essential container in task "                         \
                                        "exited")                                              \
    ",\"containers\":[" container "]"
    check_end(STOPPED("TaskFailedToStart",
                      "CannotPullContainerError: pull image manifest has been retried 1 "
                      "time(s): x:1: not found"),
              ERR_PERMANENT, "the task did not start: CannotPullContainerError");
    check_end(STOPPED("TaskFailedToStart",
                      "CannotPullContainerError: failed to do request: dial tcp: i/o timeout"),
              ERR_LAUNCH, "i/o timeout");
    check_end(STOPPED("TaskFailedToStart",
                      "ResourceInitializationError: failed to validate logger args"),
              ERR_LAUNCH, "ResourceInitializationError");
    check_end(STOPPED("TaskFailedToStart", "Capacity is unavailable at this time. Please try "
                                           "again later or in a different availability zone"),
              ERR_CAPACITY, "Capacity is unavailable");
    check_end(STOPPED("TaskFailedToStart",
                      "Unexpected EC2 error while attempting to Create "
                      "Network Interface: InsufficientFreeAddressesInSubnet"),
              ERR_CAPACITY, "InsufficientFreeAddresses");
    check_end(STOPPED("TaskFailedToStart", "Timeout waiting for network interface "
                                           "provisioning to complete."),
              ERR_LAUNCH, "network interface");
    check_end(STOPPED("SpotInterruption", "Your Spot Task was interrupted."), ERR_CAPACITY,
              "Spot capacity back");
    check_end(STOPPED("TerminationNotice", ""), ERR_CAPACITY, "about to be terminated");
    check_end(STOPPED("UserInitiated", "by hand"), ERR_LAUNCH,
              "somebody stopped the task: by hand");
    check_end(STOPPED("ServiceSchedulerInitiated", "Scaling"), ERR_LAUNCH, "scheduler");
    check_end(STOPPED("SomethingNew", "odd"), ERR_LAUNCH, "the task stopped: odd");
    check_end("\"x\":0", ERR_LAUNCH, "the task stopped");
    check_end(ENDED("{\"name\":\"main\",\"exitCode\":3}"), ERR_LAUNCH,
              "the container exited with status 3");
    check_end(ENDED("{\"name\":\"main\",\"exitCode\":139}"), ERR_LAUNCH, "killed by signal 11");
    check_end(ENDED("{\"name\":\"main\",\"exitCode\":137,\"reason\":\"OutOfMemoryError: "
                    "Container killed due to memory usage\"}"),
              ERR_LAUNCH, "more memory than it may");
    check_end(ENDED("{\"name\":\"main\",\"exitCode\":0},{\"name\":\"side\",\"exitCode\":1}"),
              ERR_LAUNCH, "container side of the task exited with status 1");
    check_end(STOPPED("TaskFailedToStart",
                      "Task failed to start") ",\"containers\":[{\"name\":\"main\",\"reason\":"
                                              "\"CannotPullContainerError: "
                                              "access denied\"}]",
              ERR_PERMANENT, "access denied");
}

static void ends_in_order(void **state)
{
    (void)state;
    assert_true(
        task_of("\"lastStatus\":\"STOPPED\"," ENDED("{\"name\":\"side\",\"exitCode\":1},"
                                                    "{\"name\":\"main\",\"exitCode\":0}"))
            .in_order);
    assert_false(
        task_of("\"lastStatus\":\"STOPPED\"," ENDED("{\"name\":\"side\",\"exitCode\":0},"
                                                    "{\"name\":\"main\",\"exitCode\":1}"))
            .in_order);
    assert_false(task_of("\"lastStatus\":\"STOPPED\"," ENDED("{\"name\":\"main\"}")).in_order);
#undef ENDED
#undef STOPPED
}

static void many_tasks(void **state)
{
    struct seen s;
    (void)state;
    assert_true(read_all("{\"tasks\":[{\"taskArn\":\"" ARN "a\",\"lastStatus\":\"RUNNING\"},"
                         "{\"taskArn\":\"arn:aws:ecs:r:1:task/b\",\"lastStatus\":\"RUNNING\"}],"
                         "\"failures\":[{\"arn\":\"" ARN "c\",\"reason\":\"MISSING\"},"
                         "{\"arn\":\"" ARN "d\",\"reason\":\"ELSE\"}]}",
                         &s));
    assert_int_equal(s.tasks, 2);
    assert_string_equal(s.view.id, "b");
    assert_int_equal(s.missing, 1);
    assert_string_equal(s.id, "c");
}

static void nonsense(void **state)
{
    static const char *const texts[] = {
        "",
        "{}",
        "[]",
        "{\"tasks\":{}}",
        "{\"tasks\":[3]}",
        "{\"tasks\":[{}]}",
        "{\"tasks\":[{\"taskArn\":\"" ARN "a\"}]}",
        "{\"tasks\":[{\"taskArn\":\"" ARN
        "a\",\"lastStatus\":\"RUNNING\"},{\"taskArn\":\"\"}]}",
        "{\"tasks\":[{\"taskArn\":\"" ARN "\",\"lastStatus\":\"RUNNING\"}]}",
        "{\"tasks\":[{\"taskArn\":\"x/a b\",\"lastStatus\":\"RUNNING\"}]}"};
    struct seen s;
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_false(read_all(texts[i], &s));
        assert_int_equal(s.tasks, 0);
    }
}

static enum ecs_ran run_of(const char *text, struct ecs_view *v, struct error *e)
{
    return ecs_read_run(text, strlen(text), "main", "o", v, e);
}

static void launches_answered(void **state)
{
    struct ecs_view v;
    struct error e = {0};
    (void)state;
    assert_int_equal(run_of("{\"tasks\":[{\"taskArn\":\"" ARN
                            "a\",\"lastStatus\":\"PROVISIONING\"}],\"failures\":[]}",
                            &v, &e),
                     ECS_RAN);
    assert_string_equal(v.id, "a");
    assert_int_equal(run_of("{\"tasks\":[],\"failures\":[{\"reason\":\"RESOURCE:ENI\","
                            "\"detail\":\"all used\"}]}",
                            &v, &e),
                     ECS_REFUSED);
    assert_int_equal(e.code, ERR_CAPACITY);
    assert_non_null(strstr(e.message, "RESOURCE:ENI: all used"));
    assert_int_equal(run_of("{\"failures\":[{\"reason\":\"AGENT\"}]}", &v, &e), ECS_REFUSED);
    assert_int_equal(e.code, ERR_CAPACITY);
    assert_int_equal(run_of("{\"failures\":[{\"reason\":\"ATTRIBUTE\"}]}", &v, &e),
                     ECS_REFUSED);
    assert_int_equal(e.code, ERR_LAUNCH);
    assert_int_equal(run_of("{\"tasks\":[],\"failures\":[]}", &v, &e), ECS_NONSENSE);
    assert_int_equal(run_of("{\"tasks\":[{\"taskArn\":\"\"}]}", &v, &e), ECS_NONSENSE);
    assert_int_equal(run_of("<html>", &v, &e), ECS_NONSENSE);
}

static void conflicts(void **state)
{
    char id[ECS_ID_SIZE];
    const char *text = "{\"__type\":\"ConflictException\",\"resourceIds\":[\"" ARN "x9\"]}";
    (void)state;
    assert_true(ecs_read_conflict(text, strlen(text), id));
    assert_string_equal(id, "x9");
    assert_false(ecs_read_conflict("{\"resourceIds\":[]}", 18, id));
    assert_false(ecs_read_conflict("", 0, id));
}

static void count_id(void *arg, const char *id)
{
    (void)id;
    ++*(int *)arg;
}

static void lists(void **state)
{
    int n = 0;
    char *next;
    const char *page = "{\"taskArns\":[\"" ARN "a\",\"" ARN "b\"],\"nextToken\":\"n\"}";
    (void)state;
    assert_true(ecs_read_list(page, strlen(page), count_id, &n, &next));
    assert_int_equal(n, 2);
    assert_string_equal(next, "n");
    free(next);
    assert_true(ecs_read_list("{\"taskArns\":[]}", 15, count_id, &n, &next));
    assert_string_equal(next, "");
    free(next);
    assert_false(ecs_read_list("{\"taskArns\":[3]}", 16, count_id, &n, &next));
    free(next);
    assert_false(ecs_read_list("{}", 2, count_id, &n, &next));
    free(next);
    assert_int_equal(n, 2);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, ecs_class_open, ecs_class_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(templates_that_are_wrong),
        TEST(overrides_that_are_wrong),
        TEST(too_many_tags),
        TEST(label_there_and_back),
        TEST(strange_label_tags),
        TEST(a_launch),
        TEST(the_template_stays),
        TEST(plain_containers),
        TEST(overrides_limit),
        TEST(launches_that_cannot_be),
        TEST(requests_about_tasks),
        TEST(phases),
        TEST(whose_and_where),
        TEST(reasons),
        TEST(ends_in_order),
        TEST(many_tasks),
        TEST(nonsense),
        TEST(launches_answered),
        TEST(conflicts),
        TEST(lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
