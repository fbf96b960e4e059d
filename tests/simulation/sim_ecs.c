/* A simulated ECS: RunTask, DescribeTasks, ListTasks and StopTask with the shapes of botocore's
 * model (2014-11-13) and the behaviour of the Developer Guide: idempotence by client token,
 * states, the address from PENDING on, eventual consistency, retention. Its tasks are the
 * simulated containers. */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include "base/mem.h"
#include "books.h"
#include "container.h"
#include "service.h"
#include "sim_aws.h"
#include "world.h"

#define TASK_ARN "arn:aws:ecs:eu-central-1:123456789012:task/sim/"
#define CLUSTER_ARN "arn:aws:ecs:eu-central-1:123456789012:cluster/sim"
#define RETENTION_MS INT64_C(3600000)
#define NO_SECRET "0000000000000000000000000000000000000000000000000000000000000000"
#define PAGE 5 /* of ListTasks: small, so that there are pages */

enum task_state {
    PROVISIONING,
    PENDING,
    ACTIVATING,
    RUNNING,
    DEACTIVATING,
    STOPPING,
    DEPROVISIONING,
    STOPPED
};
static const char *const state_names[] = {"PROVISIONING",   "PENDING",      "ACTIVATING",
                                          "RUNNING",        "DEACTIVATING", "STOPPING",
                                          "DEPROVISIONING", "STOPPED"};

struct ecs_task {
    const char *id, *token, *request, *started_by;
    const char *session, *attempt, *secret;
    const char *tags; /* JSON */
    enum task_state state;
    bool stuck, stop_wanted;
    char ip[46];
    int64_t created_ms, visible_ms, stopped_ms;
    const char *stop_code, *stop_reason;
    int exit_code;
    struct container *container;
    struct ecs_task *next;
};

struct ecs_habits ecs_habits;
static struct ecs_task *tasks, **tasks_end;
static unsigned task_count;

void ecs_begin(void)
{
    tasks = NULL;
    tasks_end = &tasks;
    task_count = 0;
    ecs_habits = (struct ecs_habits){.state_ms = 300};
}

unsigned ecs_left(void)
{
    unsigned count = 0;
    for (const struct ecs_task *t = tasks; t; t = t->next)
        count += t->state != STOPPED;
    return count;
}

/* ---- a task's life ---- */

static bool address_is_free(const char *ip)
{
    for (const struct ecs_task *t = tasks; t; t = t->next)
        if (t->state < DEPROVISIONING && strcmp(t->ip, ip) == 0)
            return false;
    return true;
}

static const char *key_of(const struct ecs_task *t)
{
    return world_printf("%s.%s.%s", t->started_by, t->session, t->attempt);
}

bool ecs_has_left(const char *key)
{
    for (const struct ecs_task *t = tasks; t; t = t->next)
        if (t->state >= DEPROVISIONING && *t->ip && strcmp(key_of(t), key) == 0)
            return true;
    return false;
}

/* The lowest free one: what a task gave back another gets at once. */
static void take_address(struct ecs_task *t)
{
    char ip[sizeof t->ip];
    for (unsigned i = 1; i < 65536; i++) {
        snprintf(ip, sizeof ip, "10.0.%u.%u", i / 250, i % 250 + 1);
        if (address_is_free(ip)) {
            memcpy(t->ip, ip, sizeof ip);
            return;
        }
    }
}

static void go_on(void *task);

static void step_later(struct ecs_task *t)
{
    world_at(world_pick(1, ecs_habits.state_ms), go_on, t);
}

static void on_end(struct container *c)
{
    struct ecs_task *t = c->engine;
    t->exit_code = WIFSIGNALED(c->exit_status) ? 128 + WTERMSIG(c->exit_status)
                                               : WEXITSTATUS(c->exit_status);
    if (t->state < DEACTIVATING) {
        t->stop_code = "EssentialContainerExited";
        t->stop_reason = "Essential container in task exited";
        t->state = DEACTIVATING;
    }
    step_later(t);
}

static void start(struct ecs_task *t, bool planted)
{
    t->container =
        container_start(&(struct launch_order){.session = t->session,
                                               .attempt = t->attempt,
                                               .secret = t->secret,
                                               .listen = world_printf("%s:8080", t->ip),
                                               .workspace = "/workspace",
                                               .key = key_of(t),
                                               .planted = planted,
                                               .remote = true});
    t->container->engine = t;
    t->container->on_end = on_end;
}

struct container *ecs_plant_twin(const char *session, bool with_target)
{
    struct ecs_task *t = tasks, *twin;
    while (t && (strcmp(t->session, session) != 0 || t->state != RUNNING || t->stop_wanted))
        t = t->next;
    if (!t)
        return NULL;
    twin = world_alloc(sizeof *twin);
    *twin = *t;
    twin->id = world_printf("%032x", ++task_count);
    twin->token = "";
    twin->next = NULL;
    *twin->ip = '\0';
    take_address(twin);
    *tasks_end = twin;
    tasks_end = &twin->next;
    start(twin, true);
    if (with_target)
        alb_plant_target(twin->ip, twin->container->port);
    return twin->container;
}

static void kill_due(void *arg)
{
    struct ecs_task *t = arg;
    if (t->container->alive)
        container_signal(t->container, SIGKILL);
}

static void end_containers(struct ecs_task *t)
{
    if (!t->container || !t->container->alive) {
        step_later(t);
        return;
    }
    container_signal(t->container, SIGTERM);
    world_at(30000, kill_due, t);
}

static void go_on(void *arg)
{
    struct ecs_task *t = arg;
    bool was_rising = t->state < RUNNING;
    if (t->state == RUNNING || t->state == STOPPED)
        return;
    if (was_rising && t->stop_wanted) {
        t->state = DEACTIVATING;
        end_containers(t);
        return;
    }
    if (t->stuck && t->state == PENDING)
        return;
    if (t->state >= DEACTIVATING && t->container && t->container->alive &&
        world.sabotage != SABOTAGE_LASTING_TASK)
        return; /* goes on when it has ended */
    t->state++;
    world_log("task %s is %s", t->id, state_names[t->state]);
    if (t->state == PENDING)
        take_address(t);
    if (t->state == RUNNING)
        start(t, false);
    if (t->state == STOPPED)
        t->stopped_ms = world.now_ms;
    step_later(t);
}

static void stop_task(struct ecs_task *t, const char *code, const char *reason)
{
    if (t->stop_wanted || t->state >= DEACTIVATING)
        return;
    t->stop_wanted = true;
    t->stop_code = code;
    t->stop_reason = reason;
    t->stuck = false;
    if (t->container && t->container->alive && world.sabotage == SABOTAGE_LASTING_TASK) {
        t->state = DEACTIVATING;
        step_later(t);
    } else if (t->container && t->container->alive) {
        t->state = DEACTIVATING;
        container_signal(t->container, SIGTERM);
        world_at(30000, kill_due, t);
    } else {
        step_later(t);
    }
}

static void interrupt(void *arg)
{
    stop_task(arg, "SpotInterruption", "Your Spot Task was interrupted.");
}

/* ---- what is said of it ---- */

static json_t *describe(const struct ecs_task *t, bool tags)
{
    json_t *environment = json_pack("[{s:s, s:s}]", "name", "SESSION_ID", "value", t->session);
    if (!container_habits.plain)
        json_array_append_new(
            environment, json_pack("{s:s, s:s}", "name", "CLEAT_ATTEMPT", "value", t->attempt));
    json_t *o =
        json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:{s:[{s:s, s:o}]}, s:[]}", "taskArn",
                  json_sprintf(TASK_ARN "%s", t->id), "clusterArn", CLUSTER_ARN, "startedBy",
                  t->started_by, "lastStatus", state_names[t->state], "desiredStatus",
                  t->stop_wanted || t->state > RUNNING ? "STOPPED" : "RUNNING", "launchType",
                  "FARGATE", "overrides", "containerOverrides", "name", "executor",
                  "environment", environment, "attachments");
    json_t *container = json_pack("{s:s, s:s}", "name", "executor", "lastStatus",
                                  t->state == RUNNING  ? "RUNNING"
                                  : t->state > RUNNING ? "STOPPED"
                                                       : "PENDING");
    if (*t->ip)
        json_array_append_new(
            json_object_get(o, "attachments"),
            json_pack("{s:s, s:s, s:[{s:s, s:s}]}", "type", "ElasticNetworkInterface", "status",
                      "ATTACHED", "details", "name", "privateIPv4Address", "value", t->ip));
    if (t->state >= DEPROVISIONING && t->container) {
        json_object_set_new(container, "exitCode", json_integer(t->exit_code));
        json_object_set_new(o, "executionStoppedAt",
                            json_real((double)t->container->ended_ms / 1000));
    }
    json_object_set_new(o, "containers", json_pack("[o]", container));
    if (t->state >= DEACTIVATING && t->stop_code) {
        json_object_set_new(o, "stopCode", json_string(t->stop_code));
        json_object_set_new(o, "stoppedReason", json_string(t->stop_reason));
    }
    if (tags && !t->stop_wanted) /* StopTask drops them */
        json_object_set_new(o, "tags", json_loads(t->tags, 0, NULL));
    return o;
}

static bool is_there(const struct ecs_task *t)
{
    return world.now_ms >= t->visible_ms &&
           (t->state != STOPPED || world.now_ms - t->stopped_ms < RETENTION_MS);
}

static struct ecs_task *find(const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *id = slash ? slash + 1 : name;
    for (struct ecs_task *t = tasks; t; t = t->next)
        if (strcmp(t->id, id) == 0)
            return t;
    return NULL;
}

/* ---- RunTask ---- */

static const char *variable(const json_t *request, const char *name)
{
    const json_t *override = json_array_get(
        json_object_get(json_object_get(request, "overrides"), "containerOverrides"), 0);
    size_t i;
    const json_t *v;
    json_array_foreach (json_object_get(override, "environment"), i, v)
        if (strcmp(json_string_value(json_object_get(v, "name")), name) == 0)
            return world_strdup(json_string_value(json_object_get(v, "value")));
    return NULL;
}

static const char *tag(const json_t *request, const char *key)
{
    size_t i;
    const json_t *t;
    json_array_foreach (json_object_get(request, "tags"), i, t)
        if (strcmp(json_string_value(json_object_get(t, "key")), key) == 0)
            return world_strdup(json_string_value(json_object_get(t, "value")));
    return NULL;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static void answer_task(struct sim_request *r, const struct ecs_task *t)
{
    service_answer_json(r, 200,
                        json_pack("{s:[o], s:[]}", "tasks", describe(t, true), "failures"));
}

static void repeat(struct sim_request *r, const struct ecs_task *t)
{
    if (strcmp(t->request, r->body) == 0) {
        answer_task(r, t);
        return;
    }
    world_violate("I6", "RunTask of %s is repeated with other bytes", t->token);
}

static void conflict(struct sim_request *r, const struct ecs_task *t)
{
    service_answer_json(r, 400,
                        json_pack("{s:s, s:s, s:[o]}", "__type", "ConflictException", "message",
                                  "The request has different parameters", "resourceIds",
                                  json_sprintf(TASK_ARN "%s", t->id)));
}

static struct ecs_task *new_task(struct sim_request *r, const json_t *request)
{
    struct ecs_task *t = world_alloc(sizeof *t);
    t->id = world_printf("%032x", ++task_count);
    t->token = world_strdup(text_of(request, "clientToken"));
    t->request = world_strdup(r->body);
    t->started_by = world_strdup(text_of(request, "startedBy"));
    t->session = variable(request, "SESSION_ID");
    t->attempt = tag(request, "cleat:attempt");
    char *tags = json_dumps(json_object_get(request, "tags"), JSON_COMPACT);
    t->tags = world_strdup(tags);
    free(tags);
    t->secret = container_habits.plain ? NO_SECRET : variable(request, "CLEAT_SECRET");
    t->created_ms = t->visible_ms = world.now_ms;
    if (world_chance(ecs_habits.late_to_see))
        t->visible_ms += world_pick(100, 20000);
    t->stuck = world_fault(ecs_habits.stuck);
    if (world_fault(ecs_habits.interrupted))
        world_at(world_pick(1000, 60000), interrupt, t);
    *tasks_end = t;
    tasks_end = &t->next;
    return t;
}

static void run_task(struct sim_request *r, const json_t *request)
{
    const char *token = text_of(request, "clientToken");
    for (struct ecs_task *t = tasks; t; t = t->next) {
        if (!*token || strcmp(t->token, token) != 0 || world.sabotage == SABOTAGE_FORGOTTEN_TOKEN)
            continue;
        if (ecs_habits.forgets_bytes) /* as if a parameter had changed in between */
            conflict(r, t);
        else
            repeat(r, t);
        return;
    }
    if (world_fault(ecs_habits.no_capacity)) {
        service_answer_json(r, 200,
                            json_pack("{s:[], s:[{s:s}]}", "tasks", "failures", "reason",
                                      "Capacity is unavailable at this time. Please try "
                                      "again later or in a different availability zone"));
        return;
    }
    struct ecs_task *t = new_task(r, request);
    if (!t->session || !t->attempt || !t->secret || !*t->started_by) {
        world_violate("SIM", "a task without identity: %s", r->body);
        return;
    }
    for (const struct ecs_task *other = tasks; other; other = other->next)
        if (other != t && strcmp(other->session, t->session) == 0 &&
            strcmp(other->attempt, t->attempt) == 0)
            world_violate("I6", "attempt %s of %s has two tasks", t->attempt, t->session);
    world_log("task %s: %s attempt %s", t->id, t->session, t->attempt);
    world.dirty = true;
    step_later(t);
    answer_task(r, t);
}

/* ---- the others ---- */

static void describe_tasks(struct sim_request *r, const json_t *request)
{
    json_t *found = json_array(), *failures = json_array();
    const json_t *wanted = json_object_get(request, "tasks"), *name;
    bool tags = json_array_size(json_object_get(request, "include")) > 0;
    size_t i;
    if (json_array_size(wanted) == 0 || json_array_size(wanted) > 100)
        world_violate("SIM", "DescribeTasks of %zu tasks", json_array_size(wanted));
    json_array_foreach (wanted, i, name) {
        const struct ecs_task *t = find(json_string_value(name));
        if (t && is_there(t))
            json_array_append_new(found, describe(t, tags));
        else
            json_array_append_new(failures, json_pack("{s:o, s:s}", "arn",
                                                      json_copy((json_t *)(uintptr_t)name),
                                                      "reason", "MISSING"));
    }
    service_answer_json(r, 200, json_pack("{s:o, s:o}", "tasks", found, "failures", failures));
}

static void list_tasks(struct sim_request *r, const json_t *request)
{
    const char *owner = text_of(request, "startedBy"), *next = text_of(request, "nextToken");
    unsigned from = (unsigned)strtoul(next, NULL, 10), at = 0;
    json_t *arns = json_array();
    const struct ecs_task *t = tasks;
    for (; t && json_array_size(arns) < PAGE; t = t->next, at++)
        if (at >= from && t->state != STOPPED && !t->stop_wanted && is_there(t) &&
            strcmp(t->started_by, owner) == 0)
            json_array_append_new(arns, json_sprintf(TASK_ARN "%s", t->id));
    json_t *o = json_pack("{s:o}", "taskArns", arns);
    if (t)
        json_object_set_new(o, "nextToken", json_sprintf("%u", at));
    service_answer_json(r, 200, o);
}

static void stop(struct sim_request *r, const json_t *request)
{
    struct ecs_task *t = find(text_of(request, "task"));
    if (!t || !is_there(t)) {
        aws_refuse(r, "InvalidParameterException", "The referenced task was not found.");
        return;
    }
    books_acts_on(world_printf("%s.%s.%s", t->started_by, t->session, t->attempt));
    if (t->container)
        books_container_stopped(t->container, SIGTERM);
    stop_task(t, "UserInitiated", "Task stopped by user");
    service_answer_json(r, 200, json_pack("{s:o}", "task", describe(t, false)));
}

void ecs_receive(struct sim_request *r)
{
    static const struct {
        const char *name;
        void (*handle)(struct sim_request *, const json_t *);
    } calls[] = {{"RunTask", run_task},
                 {"DescribeTasks", describe_tasks},
                 {"ListTasks", list_tasks},
                 {"StopTask", stop}};
    const char *target = request_header(r, "X-Amz-Target");
    const char *dot = target ? strrchr(target, '.') : NULL;
    json_t *request = json_loads(r->body, 0, NULL);
    bool known = false;
    for (size_t i = 0; dot && request && i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(calls[i].name, dot + 1) != 0)
            continue;
        known = true;
        calls[i].handle(r, request);
    }
    if (!known)
        world_violate("SIM", "ECS does not know %s",
                      target ? target : "a request without target");
    json_decref(request);
}
