/* What is said to a Docker Engine and what its answers mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/docker_answer.h"
#include "driver/docker_fields.h"
#include "driver_help.h"
#include "http/json.h"

#define LABELS                                                                                 \
    "\"cleat.owner\":\"o\",\"cleat.session\":\"s\",\"cleat.attempt\":\"2\",\"name\":\"o.s.2\""

static const struct launch what = {.key = "o.s.2",
                                   .owner = "o",
                                   .session = "s",
                                   .attempt = 2,
                                   .label = "1abc-_",
                                   .secret = "sesame",
                                   .idle_timeout_s = 5,
                                   .lifetime_s = 6};

static int open_class(void **state)
{
    struct class *c = class_new();
    class_set(c, "runtime", "docker");
    class_set(c, "image", "i:1");
    *state = c;
    return 0;
}

static int close_class(void **state)
{
    class_free(*state);
    return 0;
}

static bool has_string(const json_t *list, const char *text)
{
    size_t i;
    const json_t *s;
    json_array_foreach (list, i, s)
        if (strcmp(json_string_value(s), text) == 0)
            return true;
    return false;
}

static void body_by_default(void **state)
{
    json_t *o = docker_create_body(*state, &what, "eu-x-1");
    const json_t *host = json_object_get(o, "HostConfig"), *env = json_object_get(o, "Env");
    assert_true(has_string(env, "SESSION_ID=s"));
    assert_true(has_string(env, "CLEAT_ATTEMPT=2"));
    assert_true(has_string(env, "CLEAT_SECRET=sesame"));
    assert_true(has_string(env, "CLEAT_LISTEN=0.0.0.0:8080"));
    assert_true(has_string(env, "CLEAT_ARTIFACTS="));
    assert_true(has_string(env, "CLEAT_SANDBOX_UID=200000"));
    assert_true(json_is_true(json_object_get(host, "ReadonlyRootfs")));
    assert_true(has_string(json_object_get(host, "CapDrop"), "ALL"));
    assert_true(has_string(json_object_get(host, "CapAdd"), "SETUID"));
    assert_true(has_string(json_object_get(host, "SecurityOpt"), "no-new-privileges"));
    assert_null(json_object_get(host, "Memory"));
    assert_null(json_object_get(host, "NanoCpus"));
    assert_null(json_object_get(host, "PidsLimit"));
    assert_null(json_object_get(host, "Mounts"));
    assert_null(json_object_get(o, "Entrypoint"));
    assert_null(json_object_get(o, "User"));
    assert_non_null(json_object_get(json_object_get(o, "Volumes"), "/workspace"));
    const json_t *ports = json_object_get(json_object_get(host, "PortBindings"), "8080/tcp");
    assert_string_equal(json_string_value(json_object_get(json_array_get(ports, 0), "HostIp")),
                        "127.0.0.1");
    json_decref(o);
}

static void body_with_everything(void **state)
{
    struct class *c = *state;
    static const char *const options[][2] = {
        {"memory_mb", "64"},          {"cpu_milli", "1500"},    {"processes", "9"},
        {"docker_user", "7:8"},       {"docker_tmpfs_mb", "3"}, {"command", " /bin/x  a b "},
        {"artifacts", "file:///d/e"}, {"docker_network", "n"},  {"port", "81"},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        class_set(c, options[i][0], options[i][1]);
    json_t *o = docker_create_body(c, &what, "");
    const json_t *host = json_object_get(o, "HostConfig");
    char *text = js_text(o);
    assert_int_equal(json_integer_value(json_object_get(host, "Memory")), 64 << 20);
    assert_int_equal(json_integer_value(json_object_get(host, "NanoCpus")), 1500000000);
    assert_int_equal(json_integer_value(json_object_get(host, "PidsLimit")), 9);
    assert_int_equal(json_array_size(json_object_get(host, "CapAdd")), 0);
    assert_non_null(strstr(text, "\"Entrypoint\":[\"/bin/x\",\"a\",\"b\"]"));
    assert_non_null(strstr(text, "\"User\":\"7:8\""));
    assert_non_null(strstr(text, "\"NetworkMode\":\"n\""));
    assert_non_null(strstr(text, "\"Source\":\"/d/e/s\",\"Target\":\"/artifacts/s\""));
    assert_non_null(strstr(text, "CLEAT_ARTIFACTS=file:///artifacts\""));
    assert_non_null(strstr(text, "mode=0711,uid=7,gid=8,size=3m"));
    assert_non_null(strstr(text, "\"81/tcp\""));
    assert_null(json_object_get(o, "Volumes"));
    assert_true(has_string(json_object_get(o, "Env"), "CLEAT_SANDBOX_UID=0"));
    free(text);
    json_decref(o);
}

static void body_with_bucket(void **state)
{
    class_set(*state, "artifacts", "s3://b.u/p/q");
    unsetenv("AWS_ENDPOINT_URL");
    json_t *o = docker_create_body(*state, &what, "eu-x-1");
    const json_t *env = json_object_get(o, "Env");
    assert_true(has_string(env, "CLEAT_ARTIFACTS=s3://b.u/p/q"));
    assert_true(has_string(env, "S3_BUCKET_NAME=b.u"));
    assert_true(has_string(env, "AWS_REGION=eu-x-1"));
    assert_false(has_string(env, "AWS_ENDPOINT_URL="));
    assert_null(json_object_get(json_object_get(o, "HostConfig"), "Mounts"));
    assert_null(docker_artifacts_of(*state, "s"));
    json_decref(o);
}

static void check_pull(const char *image, const char *path)
{
    char *is = docker_pull_path(image);
    assert_string_equal(is, path);
    free(is);
}

/* Never without tag or digest: that would pull every tag. */
static void pull_paths(void **state)
{
    (void)state;
    check_pull("a", "/images/create?fromImage=a&tag=latest");
    check_pull("a:1", "/images/create?fromImage=a&tag=1");
    check_pull("h:5000/a/b", "/images/create?fromImage=h%3A5000%2Fa%2Fb&tag=latest");
    check_pull("h:5000/a:x&y", "/images/create?fromImage=h%3A5000%2Fa&tag=x%26y");
    check_pull("a@sha256:0", "/images/create?fromImage=a%40sha256%3A0");
}

static bool inspect(const char *text, struct docker_view *v)
{
    return docker_read_inspect(text, strlen(text), 8080, v);
}

static void inspected(void **state)
{
    (void)state;
    struct docker_view v;
    assert_true(inspect("{\"State\":{\"Status\":\"running\"},\"Config\":{\"Labels\":{" LABELS
                        "}},\"NetworkSettings\":{\"Ports\":{\"8080/tcp\":[{\"HostIp\":"
                        "\"127.0.0.1\",\"HostPort\":\"49153\"}]}}}",
                        &v));
    assert_int_equal(v.status, DOCKER_RUNNING);
    assert_string_equal(v.key, "o.s.2");
    assert_string_equal(v.ip, "127.0.0.1");
    assert_int_equal(v.port, 49153);
    assert_true(inspect("{\"State\":{\"Status\":\"exited\",\"ExitCode\":137,"
                        "\"OOMKilled\":true}}",
                        &v));
    assert_int_equal(v.status, DOCKER_ENDED);
    assert_string_equal(v.cause, DOCKER_OUT_OF_MEMORY_CAUSE);
    assert_string_equal(v.key, "");
    assert_true(inspect("{\"State\":{\"Status\":\"exited\",\"ExitCode\":3,"
                        "\"OOMKilled\":true}}",
                        &v));
    assert_string_equal(v.cause, "exited with status 3");
    assert_true(inspect("{\"State\":{\"Status\":\"created\"}}", &v));
    assert_int_equal(v.status, DOCKER_CREATED);
    static const char *const senseless[] = {
        "", "[]", "{}", "{\"State\":7}", "{\"State\":{\"Status\":7}}", "{\"State\":{"};
    for (size_t i = 0; i < sizeof(senseless) / sizeof(senseless[0]); i++)
        assert_false(inspect(senseless[i], &v));
}

static void odd_ports(void **state)
{
    (void)state;
    static const char *const ports[] = {"null",
                                        "{}",
                                        "{\"8080/tcp\":null}",
                                        "{\"8080/tcp\":[]}",
                                        "{\"8080/tcp\":[7]}",
                                        "{\"8080/tcp\":[{\"HostIp\":\"1.2.3.4\"}]}",
                                        "{\"8080/tcp\":[{\"HostIp\":\"1.2.3.4\","
                                        "\"HostPort\":\"65536\"}]}",
                                        "{\"81/tcp\":[{\"HostIp\":\"1.2.3.4\","
                                        "\"HostPort\":\"1\"}]}"};
    for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        struct docker_view v;
        char *text = mem_printf(
            "{\"State\":{\"Status\":\"running\"},\"NetworkSettings\":{\"Ports\":%s}}",
            ports[i]);
        assert_true(inspect(text, &v));
        assert_string_equal(v.ip, "");
        assert_int_equal(v.port, 0);
        free(text);
    }
}

struct seen {
    int count;
    struct docker_view last;
    char label[32];
};

static void see(void *arg, const struct docker_view *v)
{
    struct seen *s = arg;
    s->count++;
    s->last = *v;
    mem_copy_string(s->label, sizeof(s->label), v->label ? v->label : "(none)");
}

static void label_there_and_back(void **state)
{
    struct seen s = {0};
    struct launch unlabelled = what;
    json_t *o = docker_create_body(*state, &what, "");
    const json_t *labels = json_object_get(o, "Labels");
    assert_string_equal(json_string_value(json_object_get(labels, "cleat.label")), "1abc-_");
    json_t *list = json_pack("[{s:s, s:O}]", "State", "running", "Labels", labels);
    char *text = js_text(list);
    assert_true(docker_read_list(text, strlen(text), 8080, see, &s));
    assert_string_equal(s.label, "1abc-_");
    free(text);
    json_decref(list);
    json_decref(o);
    unlabelled.label = NULL;
    o = docker_create_body(*state, &unlabelled, "");
    assert_null(json_object_get(json_object_get(o, "Labels"), "cleat.label"));
    json_decref(o);
}

static void listed(void **state)
{
    (void)state;
    struct seen s = {0};
    const char *text = "[{\"Names\":[\"/x\"],\"State\":\"running\",\"Labels\":{}},7,"
                       "{\"State\":\"running\",\"Labels\":{" LABELS
                       "},\"Ports\":[{\"IP\":\"::1\",\"PrivatePort\":9,\"PublicPort\":1},"
                       "{\"IP\":\"127.0.0.1\",\"PrivatePort\":8080,\"PublicPort\":5}]}]";
    assert_true(docker_read_list(text, strlen(text), 8080, see, &s));
    assert_int_equal(s.count, 1);
    assert_string_equal(s.last.key, "o.s.2");
    assert_string_equal(s.last.ip, "127.0.0.1");
    assert_int_equal(s.last.port, 5);
    assert_string_equal(s.label, "(none)");
    assert_false(docker_read_list("{}", 2, 8080, see, &s));
    assert_false(docker_read_list("[", 1, 8080, see, &s));
    assert_int_equal(s.count, 1);
}

static void long_labels(void **state)
{
    (void)state;
    struct seen s = {0};
    const char *text = "[{\"State\":\"running\",\"Labels\":{\"cleat.owner\":\"o\","
                       "\"cleat.attempt\":\"1\",\"cleat.session\":"
                       "\"0123456789012345678901234567890123456789012345678901234567890\"}}]";
    assert_true(docker_read_list(text, strlen(text), 8080, see, &s));
    assert_int_equal(s.count, 0);
}

static bool event_of(const char *action, const char *more, struct docker_event *event)
{
    char *text = mem_printf("{\"Action\":\"%s\",\"Actor\":{\"Attributes\":{" LABELS "%s}}}",
                            action, more);
    bool good = docker_read_event(text, strlen(text), event);
    free(text);
    return good;
}

static void events(void **state)
{
    (void)state;
    struct docker_event event;
    assert_true(event_of("die", ",\"exitCode\":\"137\"", &event));
    assert_int_equal(event.kind, DOCKER_DIED);
    assert_string_equal(event.key, "o.s.2");
    assert_string_equal(event.cause, DOCKER_KILLED);
    assert_true(event_of("died", "", &event));
    assert_int_equal(event.kind, DOCKER_DIED);
    assert_true(event_of("oom", "", &event));
    assert_int_equal(event.kind, DOCKER_OUT_OF_MEMORY);
    assert_true(event_of("start", "", &event));
    assert_int_equal(event.kind, DOCKER_OTHER);
    assert_true(docker_read_event("{}", 2, &event));
    assert_string_equal(event.key, "");
    assert_false(docker_read_event("{", 1, &event));
    assert_false(docker_read_event("[]", 2, &event));
}

static enum error_code progress(const char *line)
{
    struct docker_progress p;
    struct error e = {0};
    docker_read_progress(line, strlen(line), &p, &e);
    return e.code;
}

static void pulling(void **state)
{
    (void)state;
    struct docker_progress p;
    struct error e = {0};
    const char *line = "{\"status\":\"Down\\nloading\",\"id\":\"a1\","
                       "\"progressDetail\":{\"current\":5,\"total\":9}}";
    docker_read_progress(line, strlen(line), &p, &e);
    assert_string_equal(p.status, "Down loading");
    assert_string_equal(p.layer, "a1");
    assert_int_equal(p.current, 5);
    assert_int_equal(p.total, 9);
    assert_int_equal(e.code, ERR_NONE);
    docker_read_progress("{\"progressDetail\":[]}", 21, &p, &e);
    assert_string_equal(p.status, "");
    assert_int_equal(p.total, 0);
    assert_int_equal(progress("{\"error\":\"manifest unknown\"}"), ERR_PERMANENT);
    assert_int_equal(progress("{\"error\":\"no basic auth credentials\"}"), ERR_PERMANENT);
    assert_int_equal(progress("{\"error\":\"write x: no space left on device\"}"),
                     ERR_CAPACITY);
    assert_int_equal(progress("{\"error\":\"unexpected EOF\"}"), ERR_LAUNCH);
    assert_int_equal(progress("nonsense"), ERR_NONE);
}

static enum error_code refusal(int status, const char *body)
{
    struct error e = {0};
    enum error_code code = docker_refusal(status, body, strlen(body), "create", &e);
    assert_int_equal(code, e.code);
    return code;
}

static void refusals(void **state)
{
    (void)state;
    struct error e = {0};
    assert_int_equal(refusal(201, "{}"), ERR_NONE);
    assert_int_equal(refusal(400, "{\"message\":\"bad\"}"), ERR_PERMANENT);
    assert_int_equal(refusal(404, "{\"message\":\"No such image: x\"}"), ERR_PERMANENT);
    assert_int_equal(refusal(409, "{\"message\":\"in use\"}"), ERR_LAUNCH);
    assert_int_equal(refusal(429, "{\"message\":\"toomanyrequests\"}"), ERR_LAUNCH);
    assert_int_equal(refusal(500, "<html>"), ERR_LAUNCH);
    assert_int_equal(refusal(500, "{\"message\":\"manifest unknown\"}"), ERR_PERMANENT);
    assert_int_equal(refusal(500, "{\"message\":\"mkdir: No space left on device\"}"),
                     ERR_CAPACITY);
    assert_int_equal(refusal(500, "{\"message\":\"Bind: port is already allocated\"}"),
                     ERR_CAPACITY);
    docker_refusal(500, "{\"message\":\"two\\nlines\"}", 24, "start", &e);
    assert_string_equal(e.message, "start: the engine answered 500: two lines");
}

static void check_last(const char *body, size_t len, const char *line)
{
    char is[12];
    docker_read_last_line(body, len, is, sizeof(is));
    assert_string_equal(is, line);
}

static void last_lines(void **state)
{
    (void)state;
    check_last("", 0, "");
    check_last("\2\0\0\0\0\0\0\4one\n\2\0\0\0\0\0\0\4two\n", 24, "two");
    check_last("\1\0\0\0\0\0\0\2on\1\0\0\0\0\0\0\3e\x1bx", 21, "one x");
    check_last("\2\0\0\0\377\377\377\377cut", 11, "cut");
    check_last("\2\0\0\0\0\0", 6, "");
    check_last("\2\0\0\0\0\0\0\2\n\n", 10, "");
    check_last("\2\0\0\0\0\0\0\20longer than that", 24, "longer than");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(body_by_default, open_class, close_class),
        cmocka_unit_test_setup_teardown(body_with_everything, open_class, close_class),
        cmocka_unit_test_setup_teardown(body_with_bucket, open_class, close_class),
        cmocka_unit_test_setup_teardown(label_there_and_back, open_class, close_class),
        cmocka_unit_test(pull_paths),
        cmocka_unit_test(inspected),
        cmocka_unit_test(odd_ports),
        cmocka_unit_test(listed),
        cmocka_unit_test(long_labels),
        cmocka_unit_test(events),
        cmocka_unit_test(pulling),
        cmocka_unit_test(refusals),
        cmocka_unit_test(last_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
