/* Answers of ECS, and RunTask templates that operators write. Bytes: which reader, then the
 * text. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include "driver/ecs_answer.h"
#include "driver/ecs_fields.h"
#include "driver/ecs_findings.h"
#include "fuzz.h"
#include "http/json.h"

#define CONTAINER "executor"
#define OWNER "cleat"
#define SESSION "019aa000-0000-7000-8000-000000000001"

static unsigned told;

static void check_id(const char *id)
{
    must(*id && strlen(id) < ECS_ID_SIZE);
    must(id[strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")] ==
         '\0');
}

static void check_view(const struct ecs_view *v)
{
    struct in_addr address;
    check_id(v->id);
    must(strlen(v->key) < KEY_SIZE);
    must(!v->key[0] || strncmp(v->key, OWNER ".", strlen(OWNER ".")) == 0);
    must(!v->ip[0] || inet_pton(AF_INET, v->ip, &address) == 1);
    must(fuzz_is_printable(v->progress));
    if (v->phase != ECS_GONE) {
        must(!v->in_order && !v->told_all && v->end.code == ERR_NONE);
        return;
    }
    must(!v->in_order || v->told_all);
    must(v->end.code == ERR_CAPACITY || v->end.code == ERR_PERMANENT ||
         v->end.code == ERR_LAUNCH);
    fuzz_check_error(v->end.code, &v->end);
}

static void each_task(void *arg, const struct ecs_view *v)
{
    (void)arg;
    told++;
    check_view(v);
}

static void each_id(void *arg, const char *id)
{
    (void)arg;
    told++;
    check_id(id);
}

static void try_tasks(const char *text, size_t len)
{
    if (!ecs_read_tasks(text, len, CONTAINER, OWNER, each_task, each_id, NULL))
        must(told == 0);
}

static void try_run(const char *text, size_t len)
{
    struct ecs_view v = {.id = ""};
    struct error e = {0};
    char id[ECS_ID_SIZE];
    enum ecs_ran ran = ecs_read_run(text, len, CONTAINER, OWNER, &v, &e);
    if (ran == ECS_RAN)
        check_view(&v);
    if (ran == ECS_REFUSED)
        fuzz_check_error(e.code, &e);
    must(ran != ECS_REFUSED || e.code == ERR_CAPACITY || e.code == ERR_LAUNCH);
    if (ecs_read_conflict(text, len, id))
        check_id(id);
}

static void try_list(const char *text, size_t len)
{
    char *next = NULL;
    bool good = ecs_read_list(text, len, each_id, NULL, &next);
    must(next && (good || (told == 0 && !*next)));
    char *request = ecs_list_request("c", OWNER, next);
    json_t *o = json_loads(request, 0, NULL);
    must(json_is_object(o));
    json_decref(o);
    free(request);
    free(next);
}

/* ---- findings about an account */

static void on_finding(void *arg, enum finding_level level, const char *problem,
                       const char *cure)
{
    (void)arg;
    must(level == FINDING_ERROR || level == FINDING_WARNING);
    must(*problem && *cure && fuzz_is_printable(problem) && fuzz_is_printable(cure));
}

static void try_findings(const char *text, size_t len)
{
    struct class class = {.ecs_container = (char[]){CONTAINER},
                          .ecs_cluster = (char[]){"main"},
                          .artifacts = (char[]){"s3://bucket/a"},
                          .s3_role = (char[]){""},
                          .port = 8080};
    json_t *template = json_loads("{\"taskDefinition\":\"a\",\"networkConfiguration\":{"
                                  "\"awsvpcConfiguration\":{\"subnets\":[\"s-1\"]}}}",
                                  0, NULL);
    struct ecs_found found = {.class = &class, .template = template, .tell = on_finding};
    ecs_find_cluster(&found, text, len);
    ecs_find_definition(&found, text, len);
    ecs_find_subnets(&found, text, len);
    json_decref(template);
}

/* ---- templates */

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static unsigned count_pairs(const json_t *list, const char *named, const char *name,
                            const char *value)
{
    unsigned count = 0;
    size_t i;
    json_t *o;
    json_array_foreach (list, i, o) {
        if (strcmp(text_of(o, named), name) == 0) {
            must(strcmp(text_of(o, "value"), value) == 0);
            count++;
        }
    }
    return count;
}

/* Whatever the template says, the task carries what recovery and proof need. */
static void check_run(const char *text)
{
    struct error e = {0};
    json_t *o = js_parse_object(text, strlen(text), &e);
    must(o);
    must(strcmp(text_of(o, "clientToken"), "key-1") == 0);
    must(strcmp(text_of(o, "startedBy"), OWNER) == 0);
    must(json_integer_value(json_object_get(o, "count")) == 1);
    const json_t *environment = json_object_get(ecs_override_of(o, CONTAINER), "environment");
    must(count_pairs(environment, "name", "SESSION_ID", SESSION) == 1);
    must(count_pairs(environment, "name", "CLEAT_SECRET", "5ec4e7") == 1);
    must(count_pairs(environment, "name", "CLEAT_ATTEMPT", "1") == 1);
    must(count_pairs(json_object_get(o, "tags"), "key", "cleat:owner", OWNER) == 1);
    must(count_pairs(json_object_get(o, "tags"), "key", "cleat:session", SESSION) == 1);
    json_decref(o);
}

static void try_template(const char *text, size_t len)
{
    struct class class = {.ecs_container = (char[]){CONTAINER},
                          .ecs_cluster = (char[]){"main"},
                          .artifacts = (char[]){"s3://bucket/a"},
                          .port = 8080};
    struct launch launch = {
        .key = "key-1", .owner = OWNER, .session = SESSION, .attempt = 1, .secret = "5ec4e7"};
    struct error e = {0};
    json_t *template = ecs_read_template(text, len, &class, &e);
    if (!template) {
        fuzz_check_error(ERR_CONFIG, &e);
        return;
    }
    json_t *before = json_deep_copy(template);
    char *run = ecs_run_request(template, &class, &launch, "eu-central-1", &e);
    if (run) {
        check_run(run);
        char *again = ecs_run_request(template, &class, &launch, "eu-central-1", &e);
        must(strcmp(again, run) == 0); /* a client token goes with the same bytes */
        free(again);
    } else {
        must(e.code == ERR_TOO_LARGE || e.code == ERR_PERMANENT);
        fuzz_check_error(e.code, &e);
    }
    must(json_equal(before, template));
    must(*ecs_cluster(template, &class));
    json_decref(before);
    json_decref(template);
    free(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(const char *, size_t) = {try_list, try_template,
                                                            try_findings, try_tasks, try_run};
    struct fuzz f = {data, size};
    size_t len;
    told = 0;
    unsigned choice = fuzz_number(&f, 5);
    char *text = fuzz_bytes(&f, &len);
    readers[choice](text, len);
    free(text);
    return 0;
}
