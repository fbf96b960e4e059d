#include "driver/ecs_answer.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/ecs_fields.h"

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "";
}

static bool has_any(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcasestr(text, *words) != NULL)
            return true;
    return false;
}

/* arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID, without CLUSTER in the older form. */
static bool read_id(const char *arn, char id[ECS_ID_SIZE])
{
    const char *slash = strrchr(arn, '/');
    const char *last = slash != NULL ? slash + 1 : arn;
    size_t len =
        strspn(last, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
    id[0] = '\0';
    if (len == 0 || len >= ECS_ID_SIZE || last[len] != '\0')
        return false;
    mem_copy_string(id, ECS_ID_SIZE, last);
    return true;
}

/* ---- why it stopped ---- */

/* Later, or in another zone, the same launch may work. */
static const char *const no_room[] = {"capacity is unavailable",
                                      "RESOURCE:",
                                      "EMPTY CAPACITY PROVIDER",
                                      "NO ACTIVE INSTANCES",
                                      "reached the limit on the number of",
                                      "LimitExceeded",
                                      "limit exceeded",
                                      "insufficient capacity",
                                      "does not have enough free addresses",
                                      "InsufficientFreeAddressesInSubnet",
                                      NULL};
static const char *const no_image[] = {"not found",
                                       "does not exist",
                                       "manifest unknown",
                                       "access denied",
                                       "AccessDenied",
                                       "not authorized",
                                       "unauthorized",
                                       "invalid reference",
                                       "no matching manifest",
                                       NULL};

bool ecs_means_capacity(const char *text)
{
    return has_any(text, no_room);
}

/* Our container, else the first that says why it ended. */
static const json_t *guilty(const json_t *task, const char *container)
{
    const json_t *c, *found = NULL;
    size_t i;
    json_array_foreach (json_object_get(task, "containers"), i, c) {
        bool ours = strcmp(text_of(c, "name"), container) == 0;
        json_int_t code = json_integer_value(json_object_get(c, "exitCode"));
        if (ours && (code != 0 || *text_of(c, "reason")))
            return c;
        if (found == NULL && (code != 0 || *text_of(c, "reason")))
            found = c;
    }
    return found;
}

static void say_exit(char *out, size_t size, const json_t *c, const char *container)
{
    json_int_t code = json_integer_value(json_object_get(c, "exitCode"));
    const char *name = text_of(c, "name"), *reason = text_of(c, "reason");
    bool ours = strcmp(name, container) == 0;
    char who[100] = "the container";
    if (!ours)
        snprintf(who, sizeof(who), "container %.60s of the task", name);
    if (strstr(reason, "OutOfMemory") != NULL)
        snprintf(out, size, "%s used more memory than it may (%.100s)", who, reason);
    else if (*reason != '\0')
        snprintf(out, size, "%s ended: %.140s", who, reason);
    else if (code > 128 && code < 128 + 65)
        snprintf(out, size, "%s was killed by signal %d", who, (int)(code - 128));
    else
        snprintf(out, size, "%s exited with status %" JSON_INTEGER_FORMAT, who, code);
}

static void say_exited(char *out, size_t size, const json_t *task, const char *container)
{
    const json_t *c = guilty(task, container);
    if (c != NULL)
        say_exit(out, size, c, container);
    else
        mem_copy_string(out, size, "the container exited with status 0");
}

struct stop_words {
    const char *code, *words; /* TaskStopCode */
};

static const char *words_of(const char *code)
{
    static const struct stop_words table[] = {
        {"TaskFailedToStart", "the task did not start"},
        {"UserInitiated", "somebody stopped the task"},
        {"ServiceSchedulerInitiated", "the scheduler of an ECS service stopped the task"},
        {"SpotInterruption", "AWS took the Spot capacity back"},
        {"TerminationNotice", "the instance under the task is about to be terminated"}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (strcmp(code, table[i].code) == 0)
            return table[i].words;
    return "the task stopped";
}

static enum error_code code_of(const char *stop_code, const char *reason)
{
    bool taken_back = strcmp(stop_code, "SpotInterruption") == 0 ||
                      strcmp(stop_code, "TerminationNotice") == 0;
    if (taken_back || ecs_means_capacity(reason))
        return ERR_CAPACITY;
    if (strstr(reason, "CannotPullContainer") != NULL && has_any(reason, no_image))
        return ERR_PERMANENT;
    return ERR_LAUNCH;
}

static void read_end(const json_t *task, const char *container, struct error *e)
{
    const char *code = text_of(task, "stopCode"), *reason = text_of(task, "stoppedReason");
    const json_t *c = guilty(task, container);
    char *all = mem_printf("%s %s", reason, text_of(c, "reason"));
    char exited[256];
    if (strcmp(code, "EssentialContainerExited") == 0) {
        say_exited(exited, sizeof(exited), task, container);
        error_set(e, code_of(code, all), "%s", exited);
    } else if (*text_of(c, "reason") != '\0' && strstr(reason, text_of(c, "reason")) == NULL) {
        error_set(e, code_of(code, all), "%s: %.90s (%.90s)", words_of(code),
                  text_of(c, "reason"), reason);
    } else {
        error_set(e, code_of(code, all), "%s%s%.180s", words_of(code), *reason ? ": " : "",
                  reason);
    }
    free(all);
}

/* ---- tasks ---- */

static const json_t *container_of(const json_t *task, const char *list, const char *name)
{
    size_t i;
    const json_t *c;
    const json_t *of =
        strcmp(list, "containers") == 0 ? task : json_object_get(task, "overrides");
    json_array_foreach (json_object_get(of, list), i, c)
        if (strcmp(text_of(c, "name"), name) == 0)
            return c;
    return NULL;
}

/* The value in a list of pairs; "" when it is missing. */
static const char *value_in(const json_t *pairs, const char *named, const char *name)
{
    size_t i;
    const json_t *p;
    json_array_foreach (pairs, i, p)
        if (strcmp(text_of(p, named), name) == 0)
            return text_of(p, "value");
    return "";
}

/* Overrides stay when StopTask drops the tags; plain containers are told no attempt. */
static void read_key(const json_t *task, const char *container, const char *owner,
                     char key[KEY_SIZE])
{
    const json_t *override = container_of(task, "containerOverrides", container);
    const json_t *environment = json_object_get(override, "environment");
    const json_t *tags = json_object_get(task, "tags");
    const char *session = value_in(environment, "name", "SESSION_ID");
    const char *attempt = value_in(environment, "name", "CLEAT_ATTEMPT");
    if (*attempt == '\0')
        attempt = value_in(tags, "key", "cleat:attempt");
    key[0] = '\0';
    if (strcmp(text_of(task, "startedBy"), owner) != 0 || !*session || !*attempt)
        return;
    if (snprintf(key, KEY_SIZE, "%s.%s.%s", owner, session, attempt) >= KEY_SIZE)
        key[0] = '\0';
}

static void read_label(const json_t *task, char label[LABEL_MAX + 1])
{
    char name[32];
    size_t len = 0;
    label[0] = '\0';
    for (int i = 0; i < ECS_LABEL_TAGS; i++) {
        snprintf(name, sizeof(name), ECS_LABEL_TAG "%d", i);
        const char *part = value_in(json_object_get(task, "tags"), "key", name);
        mem_copy_string(label + len, LABEL_MAX + 1 - len, part);
        len += strlen(label + len);
    }
}

static void read_address(const json_t *task, char ip[46])
{
    size_t i;
    const json_t *a;
    struct in_addr address;
    ip[0] = '\0';
    json_array_foreach (json_object_get(task, "attachments"), i, a) {
        if (strcmp(text_of(a, "type"), "ElasticNetworkInterface") != 0)
            continue;
        const char *text =
            value_in(json_object_get(a, "details"), "name", "privateIPv4Address");
        if (inet_pton(AF_INET, text, &address) == 1) {
            mem_copy_string(ip, 46, text);
            return;
        }
    }
}

static enum ecs_phase read_phase(const json_t *task)
{
    const char *last = text_of(task, "lastStatus");
    bool over = json_is_number(json_object_get(task, "executionStoppedAt")) ||
                json_is_number(json_object_get(task, "stoppedAt"));
    if (over || strcmp(last, "DEPROVISIONING") == 0 || strcmp(last, "STOPPED") == 0 ||
        strcmp(last, "DELETED") == 0)
        return ECS_GONE;
    if (strcmp(text_of(task, "desiredStatus"), "STOPPED") == 0)
        return ECS_FALLING;
    if (strcmp(last, "PROVISIONING") == 0 || strcmp(last, "PENDING") == 0)
        return ECS_RISING;
    if (strcmp(last, "ACTIVATING") == 0)
        return ECS_STARTING;
    return strcmp(last, "RUNNING") == 0 ? ECS_RUNNING : ECS_FALLING;
}

static void read_progress(const json_t *task, char *out, size_t size)
{
    bool pulls = json_is_number(json_object_get(task, "pullStartedAt")) &&
                 !json_is_number(json_object_get(task, "pullStoppedAt"));
    snprintf(out, size, "the task is %.20s%s", text_of(task, "lastStatus"),
             pulls ? ", its image is being pulled" : "");
}

static bool read_task(const json_t *task, const char *container, const char *owner,
                      struct ecs_view *v)
{
    *v = (struct ecs_view){.phase = ECS_RISING};
    if (!read_id(text_of(task, "taskArn"), v->id) || !*text_of(task, "lastStatus"))
        return false;
    read_key(task, container, owner, v->key);
    read_address(task, v->ip);
    read_label(task, v->label);
    v->phase = read_phase(task);
    if (v->phase == ECS_RISING)
        read_progress(task, v->progress, sizeof(v->progress));
    if (v->phase == ECS_GONE) {
        const json_t *code =
            json_object_get(container_of(task, "containers", container), "exitCode");
        v->in_order = json_is_integer(code) && json_integer_value(code) == 0;
        v->told_all =
            json_is_integer(code) || strcmp(text_of(task, "lastStatus"), "STOPPED") == 0;
        read_end(task, container, &v->end);
    }
    return true;
}

static json_t *load(const char *text, size_t len)
{
    json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(o))
        return o;
    json_decref(o);
    return NULL;
}

bool ecs_read_tasks(const char *text, size_t len, const char *container, const char *owner,
                    ecs_task_fn *each, ecs_missing_fn *missing, void *arg)
{
    json_t *o = load(text, len);
    const json_t *tasks = json_object_get(o, "tasks"), *one;
    const json_t *failures = json_object_get(o, "failures");
    struct ecs_view v;
    size_t i;
    bool good = json_is_array(tasks);
    json_array_foreach (tasks, i, one)
        good = good && read_task(one, container, owner, &v);
    json_array_foreach (tasks, i, one)
        if (good && read_task(one, container, owner, &v))
            each(arg, &v);
    json_array_foreach (failures, i, one)
        if (good && strcmp(text_of(one, "reason"), "MISSING") == 0 &&
            read_id(text_of(one, "arn"), v.id))
            missing(arg, v.id);
    json_decref(o);
    return good;
}

/* ---- launches ---- */

static void read_failure(const json_t *failure, struct error *e)
{
    const char *reason = text_of(failure, "reason"), *detail = text_of(failure, "detail");
    enum error_code code =
        ecs_means_capacity(reason) || strcmp(reason, "AGENT") == 0 ? ERR_CAPACITY : ERR_LAUNCH;
    error_set(e, code, "ECS placed no task: %.100s%s%.100s", *reason ? reason : "no reason",
              *detail ? ": " : "", detail);
}

enum ecs_ran ecs_read_run(const char *text, size_t len, const char *container,
                          const char *owner, struct ecs_view *v, struct error *e)
{
    json_t *o = load(text, len);
    const json_t *task = json_array_get(json_object_get(o, "tasks"), 0);
    const json_t *failure = json_array_get(json_object_get(o, "failures"), 0);
    enum ecs_ran ran = ECS_NONSENSE;
    if (task != NULL) {
        ran = read_task(task, container, owner, v) ? ECS_RAN : ECS_NONSENSE;
    } else if (json_is_object(failure)) {
        read_failure(failure, e);
        ran = ECS_REFUSED;
    }
    json_decref(o);
    return ran;
}

bool ecs_read_conflict(const char *text, size_t len, char id[ECS_ID_SIZE])
{
    json_t *o = load(text, len);
    const json_t *first = json_array_get(json_object_get(o, "resourceIds"), 0);
    bool good = json_is_string(first) && read_id(json_string_value(first), id);
    json_decref(o);
    return good;
}

bool ecs_read_list(const char *text, size_t len, ecs_id_fn *each, void *arg, char **next)
{
    json_t *o = load(text, len);
    const json_t *arns = json_object_get(o, "taskArns"), *arn;
    char id[ECS_ID_SIZE];
    size_t i;
    bool good = json_is_array(arns);
    json_array_foreach (arns, i, arn)
        good = good && json_is_string(arn) && read_id(json_string_value(arn), id);
    json_array_foreach (arns, i, arn)
        if (good && read_id(json_string_value(arn), id))
            each(arg, id);
    *next = mem_strdup(good ? text_of(o, "nextToken") : "");
    json_decref(o);
    return good;
}
