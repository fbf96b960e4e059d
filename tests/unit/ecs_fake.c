#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "ecs_fake.h"
#include "http/json.h"

#define ARN "arn:aws:ecs:r:1:task/c/"
#define FAULTS 16

struct aws {
    struct loop *loop;
};

struct aws_call {
    LIST_ENTRY(aws_call) entry;
    char action[32], *body;
    aws_done_fn *done;
    void *arg;
    struct timer timer;
    bool held;
};

struct fake fake;
static LIST_HEAD(, aws_call) calls;
static struct {
    const char *action;
    enum fake_fault kind;
    int after;
} faults[FAULTS];

/* ---- time ---- */

int64_t __real_loop_now_ms(const struct loop *);
int64_t __wrap_loop_now_ms(const struct loop *);
void __real_timer_arm(struct timer *, int64_t in_ms);
void __wrap_timer_arm(struct timer *, int64_t in_ms);

int64_t __wrap_loop_now_ms(const struct loop *loop)
{
    return FAKE_SPEED * __real_loop_now_ms(loop);
}

void __wrap_timer_arm(struct timer *t, int64_t in_ms)
{
    __real_timer_arm(t, in_ms / FAKE_SPEED);
}

/* ---- answers ---- */

static const char *at(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "";
}

static json_t *document_of(const struct fake_task *t, bool tags)
{
    json_t *container = json_pack("{s:s}", "name", "main");
    json_t *o =
        json_pack("{s:o, s:s, s:s, s:s, s:O, s:[o]}", "taskArn", json_sprintf(ARN "%s", t->id),
                  "lastStatus", t->status, "desiredStatus", t->desired, "startedBy", t->owner,
                  "overrides", t->overrides, "containers", container);
    if (t->exit_code >= 0)
        json_object_set_new(container, "exitCode", json_integer(t->exit_code));
    if (t->stop_code != NULL)
        json_object_set_new(o, "stopCode", json_string(t->stop_code));
    if (t->reason != NULL)
        json_object_set_new(o, "stoppedReason", json_string(t->reason));
    if (*t->ip != '\0')
        json_object_set_new(o, "attachments",
                            json_pack("[{s:s, s:[{s:s, s:s}]}]", "type",
                                      "ElasticNetworkInterface", "details", "name",
                                      "privateIPv4Address", "value", t->ip));
    if (tags)
        json_object_set(o, "tags", t->tags);
    return o;
}

static struct fake_task *find_task(const char *id)
{
    for (size_t i = 0; i < fake.count; i++)
        if (strcmp(fake.tasks[i].id, id) == 0)
            return &fake.tasks[i];
    return NULL;
}

static struct fake_task *new_task(const char *body, const json_t *o)
{
    assert_true(fake.count < FAKE_TASKS);
    struct fake_task *t = &fake.tasks[fake.count++];
    snprintf(t->id, sizeof(t->id), "%032zx", fake.count);
    mem_copy_string(t->token, sizeof(t->token), at(o, "clientToken"));
    mem_copy_string(t->owner, sizeof(t->owner), at(o, "startedBy"));
    t->request = mem_strdup(body);
    t->overrides = json_deep_copy(json_object_get(o, "overrides"));
    t->tags = json_deep_copy(json_object_get(o, "tags"));
    t->desired = "RUNNING";
    t->exit_code = -1;
    fake_move(t, fake.first_status);
    return t;
}

static json_t *conflict_with(const char *id, struct aws_answer *a)
{
    a->class = AWS_PERMANENT;
    strcpy(a->code, "ConflictException");
    error_set(&a->error, ERR_PERMANENT, "RunTask: ConflictException");
    return json_pack("{s:[o]}", "resourceIds", json_sprintf(ARN "%s", id));
}

static json_t *run_task(const char *body, const json_t *o, struct aws_answer *a)
{
    struct fake_task *t = NULL;
    fake.runs++;
    free(fake.last_run);
    fake.last_run = mem_strdup(body);
    for (size_t i = 0; i < fake.count; i++)
        if (strcmp(fake.tasks[i].token, at(o, "clientToken")) == 0)
            t = &fake.tasks[i];
    if (t != NULL && strcmp(t->request, body) != 0)
        return conflict_with(t->id, a);
    if (t == NULL)
        t = new_task(body, o);
    return json_pack("{s:[o], s:[]}", "tasks", document_of(t, true), "failures");
}

static json_t *describe_tasks(const json_t *o)
{
    const json_t *ids = json_object_get(o, "tasks"), *id;
    bool tags = json_array_size(json_object_get(o, "include")) > 0;
    json_t *tasks = json_array(), *failures = json_array();
    size_t i;
    fake.describes++;
    fake.tagged += tags;
    if (json_array_size(ids) > fake.most_described)
        fake.most_described = json_array_size(ids);
    json_array_foreach (ids, i, id) {
        const struct fake_task *t = find_task(json_string_value(id));
        if (t != NULL && !t->hidden)
            json_array_append_new(tasks, document_of(t, tags));
        else
            json_array_append_new(failures,
                                  json_pack("{s:o, s:s}", "arn",
                                            json_sprintf(ARN "%s", json_string_value(id)),
                                            "reason", "MISSING"));
    }
    return json_pack("{s:o, s:o}", "tasks", tasks, "failures", failures);
}

static json_t *list_tasks(const json_t *o)
{
    json_t *arns = json_array(), *answer;
    size_t i = strtoul(at(o, "nextToken"), NULL, 10);
    fake.lists++;
    if (fake.endless)
        return json_pack("{s:o, s:o}", "taskArns", arns, "nextToken",
                         json_sprintf("%d", fake.lists));
    answer = json_pack("{s:O}", "taskArns", arns);
    for (; i < fake.count && json_array_size(arns) < fake.page; i++) {
        const struct fake_task *t = &fake.tasks[i];
        if (!t->hidden && strcmp(t->desired, "RUNNING") == 0 &&
            strcmp(t->owner, at(o, "startedBy")) == 0)
            json_array_append_new(arns, json_sprintf(ARN "%s", t->id));
    }
    if (i < fake.count)
        json_object_set_new(answer, "nextToken", json_sprintf("%zu", i));
    json_decref(arns);
    return answer;
}

static json_t *stop_task(const json_t *o, struct aws_answer *a)
{
    struct fake_task *t = find_task(at(o, "task"));
    fake.stops++;
    if (t == NULL || t->hidden) {
        a->class = AWS_PERMANENT;
        strcpy(a->code, "InvalidParameterException");
        error_set(&a->error, ERR_PERMANENT,
                  "StopTask: InvalidParameterException: The referenced task was not found.");
        return json_object();
    }
    json_array_clear(t->tags);
    t->desired = "STOPPED";
    t->stop_code = "UserInitiated";
    return json_pack("{s:o}", "task", document_of(t, false));
}

/* What a test has put there, whatever the request. */
static const char *fixed_answer(const char *action)
{
    return strcmp(action, "DescribeClusters") == 0         ? fake.cluster
           : strcmp(action, "DescribeTaskDefinition") == 0 ? fake.definition
           : strcmp(action, "DescribeSubnets") == 0        ? fake.subnets
                                                           : NULL;
}

static json_t *serve(const char *action, const char *body, struct aws_answer *a)
{
    json_t *o = json_loads(body, JSON_REJECT_DUPLICATES, NULL), *answer = NULL;
    assert_non_null(o);
    assert_string_equal(at(o, "cluster"), "c");
    if (strcmp(action, "RunTask") == 0)
        answer = run_task(body, o, a);
    else if (strcmp(action, "DescribeTasks") == 0)
        answer = describe_tasks(o);
    else if (strcmp(action, "ListTasks") == 0)
        answer = list_tasks(o);
    else if (strcmp(action, "StopTask") == 0)
        answer = stop_task(o, a);
    else
        fail_msg("nobody calls %s", action);
    json_decref(o);
    return answer;
}

/* ---- faults ---- */

void fake_add_fault(const char *action, enum fake_fault kind, int after)
{
    for (size_t i = 0; i < FAULTS; i++)
        if (faults[i].action == NULL) {
            faults[i].action = action;
            faults[i].kind = kind;
            faults[i].after = after;
            return;
        }
    fail_msg("too many faults");
}

/* Each counts the calls of its action from when it was added. */
static bool meets_fault(const char *action, enum fake_fault *kind)
{
    bool meets = false;
    for (size_t i = 0; i < FAULTS; i++) {
        if (faults[i].action == NULL || strcmp(faults[i].action, action) != 0 ||
            faults[i].after-- > 0)
            continue;
        assert_false(meets); /* two for one call */
        meets = true;
        *kind = faults[i].kind;
        faults[i].action = NULL;
    }
    return meets;
}

static void fail_call(struct aws_answer *a, enum aws_class class, enum error_code code,
                      bool sent, const char *words)
{
    a->class = class;
    a->sent = sent;
    error_set(&a->error, code, "%s", words);
}

/* What the caller sees of it; NULL: the answer as it is. */
static json_t *spoil(enum fake_fault kind, const char *action, const char *body,
                     struct aws_answer *a)
{
    switch (kind) {
    case FAKE_LOST:
        json_decref(serve(action, body, a));
        fail_call(a, AWS_TRANSIENT, ERR_RESET, true, "connection lost");
        break;
    case FAKE_UNSENT:
        fail_call(a, AWS_TRANSIENT, ERR_CONNECT, false, "connection refused");
        break;
    case FAKE_VANISHED:
        fail_call(a, AWS_TRANSIENT, ERR_TIMEOUT, true, "no answer in time");
        break;
    case FAKE_NONSENSE:
        json_decref(serve(action, body, a));
        *a = (struct aws_answer){.class = AWS_FINE, .sent = true};
        break;
    case FAKE_THROTTLED:
        fail_call(a, AWS_THROTTLED, ERR_CAPACITY, false, "Rate exceeded");
        break;
    case FAKE_DENIED:
        fail_call(a, AWS_AUTH, ERR_PERMANENT, false, "AccessDeniedException: no");
        strcpy(a->code, "AccessDeniedException");
        break;
    case FAKE_CONFLICT:
        return conflict_with(fake.conflict, a);
    case FAKE_MIXED_UP:
        return json_pack("{s:[o], s:[]}", "tasks", document_of(&fake.tasks[0], true),
                         "failures");
    case FAKE_NO_ROOM:
        return json_pack("{s:[], s:[{s:s}]}", "tasks", "failures", "reason", "RESOURCE:MEMORY");
    case FAKE_HELD:
        break;
    }
    return json_object();
}

/* ---- the calls of http/aws.h ---- */

static void answer_call(void *arg)
{
    struct aws_call *c = arg;
    struct aws_answer a = {.class = AWS_FINE, .tries = 1, .status = 200, .sent = true};
    enum fake_fault kind;
    bool meets = !c->held && meets_fault(c->action, &kind);
    if (meets && kind == FAKE_HELD) {
        c->held = true;
        return;
    }
    const char *fixed = fixed_answer(c->action);
    json_t *o = meets           ? spoil(kind, c->action, c->body, &a)
                : fixed != NULL ? json_object()
                                : serve(c->action, c->body, &a);
    if (a.class == AWS_PERMANENT)
        a.sent = false;
    char *text = meets && kind == FAKE_NONSENSE ? mem_strdup("{\"tasks\":[]")
                 : fixed != NULL                ? mem_strdup(fixed)
                                                : js_text(o);
    a.body = text;
    a.body_len = strlen(text);
    json_decref(o);
    LIST_REMOVE(c, entry);
    fake.under_way--;
    c->done(c->arg, &a);
    free(text);
    free(c->body);
    free(c);
}

struct aws_call *aws_start(struct aws *aws, const struct aws_request *r, aws_done_fn *done,
                           void *arg)
{
    struct aws_call *c = mem_alloc(sizeof(*c));
    int describing = 0;
    const struct aws_call *other;
    assert_int_equal(r->service, strcmp(r->action, "DescribeSubnets") == 0 ? AWS_EC2 : AWS_ECS);
    mem_copy_string(c->action, sizeof(c->action), r->action);
    c->body = mem_strndup(r->body, r->body_len);
    c->done = done;
    c->arg = arg;
    timer_init(&c->timer, aws->loop, answer_call, c);
    timer_arm(&c->timer, 0);
    LIST_INSERT_HEAD(&calls, c, entry);
    fake.under_way++;
    LIST_FOREACH(other, &calls, entry)
    describing += strcmp(other->action, "DescribeTasks") == 0;
    if (describing > fake.most_describing)
        fake.most_describing = describing;
    return c;
}

void aws_cancel(struct aws_call *c)
{
    LIST_REMOVE(c, entry);
    timer_stop(&c->timer);
    fake.under_way--;
    free(c->body);
    free(c);
}

const char *aws_region(struct aws *aws)
{
    assert_non_null(aws);
    return "r";
}

char *aws_encode(const char *text, bool keep_slash)
{
    (void)keep_slash;
    return mem_strdup(text);
}

void fake_release(void)
{
    struct aws_call *c, *next;
    for (c = LIST_FIRST(&calls); c != NULL; c = next) {
        next = LIST_NEXT(c, entry);
        if (c->held)
            timer_arm(&c->timer, 0);
    }
}

/* ---- what the test does to it ---- */

struct aws *fake_open(struct loop *loop)
{
    struct aws *aws = mem_alloc(sizeof(*aws));
    aws->loop = loop;
    fake = (struct fake){.page = 100, .first_status = "PROVISIONING"};
    memset(faults, 0, sizeof(faults));
    LIST_INIT(&calls);
    return aws;
}

void fake_close(struct aws *aws)
{
    assert_int_equal(fake.under_way, 0);
    for (size_t i = 0; i < fake.count; i++) {
        free(fake.tasks[i].request);
        json_decref(fake.tasks[i].overrides);
        json_decref(fake.tasks[i].tags);
    }
    free(fake.last_run);
    free(aws);
}

void fake_move(struct fake_task *t, const char *status)
{
    t->status = status;
    if (strcmp(status, "PROVISIONING") != 0 && *t->ip == '\0')
        snprintf(t->ip, sizeof(t->ip), "10.0.%d.%d", (int)((t - fake.tasks) / 250),
                 (int)((t - fake.tasks) % 250 + 1));
}

void fake_end(struct fake_task *t, const char *stop_code, const char *reason, int exit_code)
{
    t->status = t->desired = "STOPPED";
    t->stop_code = stop_code;
    t->reason = reason;
    t->exit_code = exit_code;
}

size_t fake_alive(void)
{
    size_t n = 0;
    for (size_t i = 0; i < fake.count; i++)
        n += strcmp(fake.tasks[i].desired, "RUNNING") == 0;
    return n;
}
