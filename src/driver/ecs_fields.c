#include "driver/ecs_fields.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/s3_url.h"
#include "http/json.h"

#define TOKEN_MAX 64
#define STARTED_BY_MAX 36

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "";
}

const char *ecs_cluster(const json_t *template, const struct class *c)
{
    const char *name = text_of(template, "cluster");
    return *name != '\0' ? name : c->ecs_cluster;
}

/* ---- one launch ---- */

static bool has_variable(const json_t *environment, const char *name)
{
    size_t i;
    const json_t *v;
    json_array_foreach (environment, i, v)
        if (strcmp(text_of(v, "name"), name) == 0)
            return true;
    return false;
}

static void set(json_t *environment, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void set(json_t *environment, const char *name, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    json_array_append_new(
        environment, json_pack("{s:s, s:o}", "name", name, "value", json_vsprintf(fmt, args)));
    va_end(args);
}

/* Whatever the template says of the same name holds. */
static void offer(json_t *environment, const char *name, const char *value)
{
    if (*value != '\0' && !has_variable(environment, name))
        set(environment, name, "%s", value);
}

static void offer_limit(json_t *environment, const char *name, int64_t value)
{
    if (value > 0 && !has_variable(environment, name))
        set(environment, name, "%" PRId64, value);
}

static void set_ours(json_t *environment, const struct class *c, const struct launch *l)
{
    set(environment, "CLEAT_ATTEMPT", "%u", l->attempt);
    set(environment, "CLEAT_OWNER", "%s", l->owner);
    set(environment, "CLEAT_SECRET", "%s", l->secret);
    set(environment, "CLEAT_LISTEN", "0.0.0.0:%" PRId64, c->port);
    set(environment, "CLEAT_ARTIFACTS", "%s", c->artifacts);
    set(environment, "CLEAT_IDLE_TIMEOUT_S", "%" PRId64, l->idle_timeout_s);
    set(environment, "CLEAT_LIFETIME_S", "%" PRId64, l->lifetime_s);
    if (c->sandbox != SANDBOX_AUTO) /* else what the image says */
        offer(environment, "CLEAT_SANDBOX", c->sandbox == SANDBOX_BWRAP ? "bwrap" : "none");
    if (c->network == NETWORK_HOST)
        offer(environment, "CLEAT_NETWORK", "host");
    offer_limit(environment, "CLEAT_MEMORY_MB", c->memory_mb);
    offer_limit(environment, "CLEAT_CPU_S", c->cpu_s);
    offer_limit(environment, "CLEAT_OPEN_FILES", c->open_files);
    offer_limit(environment, "CLEAT_FILE_SIZE_MB", c->file_size_mb);
    offer_limit(environment, "CLEAT_PROCESSES", c->processes);
}

static void set_environment(json_t *environment, const struct class *c, const struct launch *l,
                            const char *region)
{
    struct s3_url url;
    set(environment, "SESSION_ID", "%s", l->session);
    offer(environment, "AWS_REGION", region);
    if (s3_url_parse(&url, c->artifacts))
        offer(environment, "S3_BUCKET_NAME", url.bucket);
    if (c->proof == PROOF_REQUIRED)
        set_ours(environment, c, l);
}

/* The member of that name; made when it is missing. Borrowed. */
static json_t *member(json_t *o, const char *key, json_t *(*make)(void))
{
    if (json_object_get(o, key) == NULL)
        json_object_set_new(o, key, make());
    return json_object_get(o, key);
}

static json_t *our_environment(json_t *request, const char *container)
{
    json_t *all =
        member(member(request, "overrides", json_object), "containerOverrides", json_array);
    json_t *ours = ecs_override_of(request, container);
    if (ours == NULL) {
        json_array_append_new(all, json_pack("{s:s}", "name", container));
        ours = ecs_override_of(request, container);
    }
    return member(ours, "environment", json_array);
}

static void add_label(json_t *tags, const char *label)
{
    for (int i = 0; *label != '\0'; i++) {
        size_t n = strnlen(label, ECS_TAG_MAX);
        json_array_append_new(tags, json_pack("{s:o, s:s%}", "key",
                                              json_sprintf(ECS_LABEL_TAG "%d", i), "value",
                                              label, n));
        label += n;
    }
}

static void add_tags(json_t *request, const struct launch *l)
{
    json_t *tags = member(request, "tags", json_array);
    json_array_append_new(tags,
                          json_pack("{s:s, s:s}", "key", "cleat:owner", "value", l->owner));
    json_array_append_new(tags,
                          json_pack("{s:s, s:s}", "key", "cleat:session", "value", l->session));
    json_array_append_new(tags, json_pack("{s:s, s:o}", "key", "cleat:attempt", "value",
                                          json_sprintf("%u", l->attempt)));
    add_label(tags, l->label != NULL ? l->label : "");
}

/* ECS counts characters, not bytes. */
static size_t characters(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

static void check_size(const json_t *request, const char *container, struct error *e)
{
    char *text = js_text(json_object_get(request, "overrides"));
    size_t size = characters(text);
    if (size > ECS_OVERRIDES_MAX)
        error_set(e, ERR_TOO_LARGE,
                  "the overrides of the task are %zu characters of JSON, %zu more than the %d "
                  "that ECS allows; move what ecs_task sets for container %.60s into the task "
                  "definition",
                  size, size - ECS_OVERRIDES_MAX, ECS_OVERRIDES_MAX, container);
    mem_wipe(text, strlen(text));
    free(text);
}

static bool check_launch(const struct launch *l, struct error *e)
{
    size_t owner = strspn(l->owner, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                    "0123456789_/-");
    if (owner == 0 || owner > STARTED_BY_MAX || l->owner[owner] != '\0')
        error_set(e, ERR_PERMANENT,
                  "owner \"%.60s\" cannot be startedBy of a task: up to %d of A-Za-z0-9_/-",
                  l->owner, STARTED_BY_MAX);
    else if (strlen(l->key) > TOKEN_MAX)
        error_set(e, ERR_PERMANENT, "\"%.100s\" is too long for a client token", l->key);
    else
        return true;
    return false;
}

char *ecs_run_request(const json_t *template, const struct class *c, const struct launch *l,
                      const char *region, struct error *e)
{
    if (!check_launch(l, e))
        return NULL;
    json_t *request = json_deep_copy(template);
    char *text = NULL;
    *e = (struct error){0};
    json_object_set_new(request, "cluster", json_string(ecs_cluster(template, c)));
    json_object_set_new(request, "count", json_integer(1));
    json_object_set_new(request, "startedBy", json_string(l->owner));
    json_object_set_new(request, "clientToken", json_string(l->key));
    add_tags(request, l);
    set_environment(our_environment(request, c->ecs_container), c, l, region);
    check_size(request, c->ecs_container, e);
    if (e->code == ERR_NONE)
        text = js_text(request);
    json_decref(request);
    return text;
}

/* ---- about tasks ---- */

static char *text_and_drop(json_t *o)
{
    char *text = js_text(o);
    json_decref(o);
    return text;
}

char *ecs_describe_request(const char *cluster, const char *const *ids, size_t count, bool tags)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(ids[i]));
    json_t *o = json_pack("{s:s, s:o}", "cluster", cluster, "tasks", list);
    if (tags)
        json_object_set_new(o, "include", json_pack("[s]", "TAGS"));
    return text_and_drop(o);
}

/* startedBy takes no other filter beside it. */
char *ecs_list_request(const char *cluster, const char *owner, const char *next)
{
    json_t *o = json_pack("{s:s, s:s}", "cluster", cluster, "startedBy", owner);
    if (*next != '\0')
        json_object_set_new(o, "nextToken", json_string(next));
    return text_and_drop(o);
}

char *ecs_stop_request(const char *cluster, const char *id, const char *reason)
{
    return text_and_drop(
        json_pack("{s:s, s:s, s:s}", "cluster", cluster, "task", id, "reason", reason));
}
