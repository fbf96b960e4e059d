/* Reading of the RunTask template: what is wrong with it is said before anything is launched.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "driver/ecs_fields.h"
#include "http/json.h"

#define TAGS_MAX 50
#define OUR_TAGS (3 + ECS_LABEL_TAGS)

/* RunTaskRequest; clientToken and volumeConfigurations are younger than the model. */
static const char *const members[] = {"capacityProviderStrategy",
                                      "clientToken",
                                      "cluster",
                                      "count",
                                      "group",
                                      "enableECSManagedTags",
                                      "enableExecuteCommand",
                                      "launchType",
                                      "networkConfiguration",
                                      "overrides",
                                      "platformVersion",
                                      "placementConstraints",
                                      "placementStrategy",
                                      "propagateTags",
                                      "referenceId",
                                      "startedBy",
                                      "tags",
                                      "taskDefinition",
                                      "volumeConfigurations",
                                      NULL};

/* What every launch sets; a template that sets it as well means something else. */
static const char *const our_variables[] = {
    "SESSION_ID",           "CLEAT_ATTEMPT",    "CLEAT_OWNER",
    "CLEAT_SECRET",         "CLEAT_LISTEN",     "CLEAT_ARTIFACTS",
    "CLEAT_IDLE_TIMEOUT_S", "CLEAT_LIFETIME_S", NULL};

static bool is_one_of(const char *text, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(text, *list) == 0)
            return true;
    return false;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "";
}

json_t *ecs_override_of(const json_t *request, const char *container)
{
    const json_t *all =
        json_object_get(json_object_get(request, "overrides"), "containerOverrides");
    size_t i;
    json_t *o;
    json_array_foreach (all, i, o)
        if (strcmp(text_of(o, "name"), container) == 0)
            return o;
    return NULL;
}

/* All checks keep the first problem and do nothing after it, as http/json.h's readers do. */
static void refuse(struct error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void refuse(struct error *e, const char *fmt, ...)
{
    char text[200];
    va_list args;
    if (e->code != ERR_NONE)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    error_set(e, ERR_CONFIG, "%s", text);
}

static void check_members(const json_t *t, struct error *e)
{
    const char *key = NULL;
    json_t *value = NULL, *count = json_object_get(t, "count");
    json_object_foreach ((json_t *)t, key, value)
        if (!is_one_of(key, members))
            refuse(e, "RunTask knows no member \"%.60s\"", key);
    if (*text_of(t, "taskDefinition") == '\0')
        refuse(e, "taskDefinition is missing");
    if (count != NULL && json_integer_value(count) != 1)
        refuse(e, "count must be 1: each session has a task of its own");
    if (json_object_get(t, "startedBy") != NULL)
        refuse(e, "startedBy is set by cleat, to the owner");
    if (json_object_get(t, "clientToken") != NULL)
        refuse(e, "clientToken is set by cleat");
    if (json_object_get(t, "cluster") != NULL && *text_of(t, "cluster") == '\0')
        refuse(e, "cluster is not a name");
}

static void check_network(const json_t *t, struct error *e)
{
    const json_t *vpc =
        json_object_get(json_object_get(t, "networkConfiguration"), "awsvpcConfiguration");
    const json_t *subnets = json_object_get(vpc, "subnets"), *name;
    size_t i;
    if (json_array_size(subnets) == 0)
        refuse(e, "networkConfiguration.awsvpcConfiguration.subnets is missing: a task needs "
                  "an address of its own (network mode awsvpc)");
    json_array_foreach (subnets, i, name)
        if (!json_is_string(name))
            refuse(e, "networkConfiguration.awsvpcConfiguration.subnets holds no names");
}

static void check_tags(const json_t *t, struct error *e)
{
    const json_t *tags = json_object_get(t, "tags"), *tag;
    size_t i;
    if (tags != NULL && !json_is_array(tags))
        refuse(e, "tags is not a list");
    if (json_array_size(tags) > TAGS_MAX - OUR_TAGS)
        refuse(e, "%zu tags: ECS allows %d, and cleat adds %d", json_array_size(tags), TAGS_MAX,
               OUR_TAGS);
    json_array_foreach (tags, i, tag)
        if (*text_of(tag, "key") == '\0')
            refuse(e, "tags: each has \"key\" and \"value\"");
        else if (strncmp(text_of(tag, "key"), "cleat:", 6) == 0)
            refuse(e, "tag \"%.60s\" is set by cleat", text_of(tag, "key"));
}

static void check_environment(const json_t *override, const char *container, struct error *e)
{
    const json_t *environment = json_object_get(override, "environment"), *variable;
    size_t i;
    if (environment != NULL && !json_is_array(environment))
        refuse(e, "overrides of container %.60s: environment is not a list", container);
    json_array_foreach (environment, i, variable)
        if (*text_of(variable, "name") == '\0')
            refuse(e, "overrides of container %.60s: a variable without name", container);
        else if (is_one_of(text_of(variable, "name"), our_variables))
            refuse(e, "overrides of container %.60s: %.40s is set by cleat", container,
                   text_of(variable, "name"));
}

static void check_overrides(const json_t *t, const char *container, struct error *e)
{
    const json_t *overrides = json_object_get(t, "overrides"), *o;
    const json_t *list = json_object_get(overrides, "containerOverrides");
    size_t i, ours = 0;
    if (overrides != NULL && !json_is_object(overrides))
        refuse(e, "overrides is not an object");
    if (list != NULL && !json_is_array(list))
        refuse(e, "overrides.containerOverrides is not a list");
    json_array_foreach (list, i, o) {
        if (*text_of(o, "name") == '\0')
            refuse(e, "overrides.containerOverrides: one has no name");
        ours += strcmp(text_of(o, "name"), container) == 0;
    }
    if (ours > 1)
        refuse(e, "overrides.containerOverrides names container %.60s twice", container);
    if (ours == 1)
        check_environment(ecs_override_of(t, container), container, e);
}

json_t *ecs_read_template(const char *text, size_t len, const struct class *c, struct error *e)
{
    json_t *t = js_parse_object(text, len, e);
    if (t == NULL) {
        e->code = ERR_CONFIG;
        return NULL;
    }
    *e = (struct error){0};
    check_members(t, e);
    check_network(t, e);
    check_tags(t, e);
    check_overrides(t, c->ecs_container, e);
    if (e->code == ERR_NONE)
        return t;
    json_decref(t);
    return NULL;
}
