#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/option.h"
#include "cleat.h"
#include "session/config.h"

#define FIELD(f) offsetof(struct settings, f)

const struct option settings_options[] = {
    {"state_dir", OPTION_STRING, 0, 200, NULL, "",
     "Directory of the journal, the master key and the workspaces, an absolute path. Local "
     "disk "
     "only. Empty: /var/lib/cleat for root, else $XDG_STATE_HOME/cleat, else "
     "~/.local/state/cleat.",
     FIELD(state_dir), false},
    {"owner", OPTION_STRING, 1, 20, NULL, "cleat",
     "Label of everything that this coordinator creates; letters, digits, '-' and '_'. Two "
     "coordinators on one engine need two owners.",
     FIELD(owner), false},
    {"executor", OPTION_STRING, 0, 4096, NULL, CLEAT_EXECUTOR,
     "Path of cleat-executor, used by classes without a command.", FIELD(executor), false},
    {"aws_region", OPTION_STRING, 0, 64, NULL, "",
     "AWS region of classes that use it. Empty: as the AWS SDKs find it, AWS_REGION first.",
     FIELD(aws_region), false},
    {"max_sessions", OPTION_INT, 1, 100000, NULL, "1000",
     "Sessions that may hold a container at the same time; the rest queues.",
     FIELD(max_sessions), true},
    {"max_queued", OPTION_INT, 0, 100000, NULL, "1000",
     "Sessions that may wait for a place; beyond that a create is refused (429). "
     "0: nobody waits.",
     FIELD(max_queued), true},
    {"tenant_max_sessions", OPTION_INT, 0, 100000, NULL, "0",
     "The same limit for each tenant alone. 0: none.", FIELD(tenant_max_sessions), true},
    {"tenant_max_queued", OPTION_INT, 0, 100000, NULL, "0",
     "Sessions of one tenant that may wait. 0: no limit.", FIELD(tenant_max_queued), true},
    {"tenant_limits", OPTION_LIST, 0, 0, NULL, "",
     "Tenants with limits of their own in place of these two, as TENANT=SESSIONS:QUEUED. 0: "
     "none.",
     FIELD(tenant_limits), true},
    {"user_max_sessions", OPTION_INT, 0, 100000, NULL, "0",
     "The same limit for each user of a tenant; those who name no user are one. 0: none.",
     FIELD(user_max_sessions), true},
    {"user_max_queued", OPTION_INT, 0, 100000, NULL, "0",
     "Sessions of one user that may wait. 0: no limit.", FIELD(user_max_queued), true},
    {"queue_timeout_s", OPTION_INT, 1, 86400, NULL, "600",
     "Longest wait for a place before a session fails.", FIELD(queue_timeout_s), true},
    {"retention_s", OPTION_INT, 1, 31536000, NULL, "86400",
     "How long a closed session is remembered and its request id refused.", FIELD(retention_s),
     true},
    {"max_closed", OPTION_INT, 1, 1000000, NULL, "100000",
     "Closed sessions remembered at most; when they are that many, creates are refused rather "
     "than a request id forgotten early.",
     FIELD(max_closed), true},
    {"durability", OPTION_CHOICE, 0, 0, "normal|full", "normal",
     "What a loss of power may cost. normal: the last commits, never consistency. full: "
     "nothing, "
     "for a flush of the disk per commit.",
     FIELD(durability), false},
    {"reap_interval_s", OPTION_INT, 1, 86400, NULL, "300",
     "How often each class's runtime and balancer are asked what they hold, to find orphans.",
     FIELD(reap_interval_s), true},
    {"reap_grace_s", OPTION_INT, 0, 86400, NULL, "60",
     "How long an orphan is seen before it is closed.", FIELD(reap_grace_s), true},
    {"reap_dry_run", OPTION_BOOL, 0, 0, NULL, "false",
     "Orphans are reported only, until `cleat reap` closes them.", FIELD(reap_dry_run), true},
    {NULL, OPTION_INT, 0, 0, NULL, NULL, NULL, 0, false},
};

struct class *config_class(const struct cleat_config *c, const char *name)
{
    for (size_t i = 0; i < c->class_count; i++)
        if (strcmp(c->classes[i].name, name) == 0)
            return &c->classes[i];
    return NULL;
}

static struct class *add_class(struct cleat_config *c, const char *name)
{
    c->classes = mem_grow(c->classes, (c->class_count + 1) * sizeof(*c->classes));
    struct class *class = &c->classes[c->class_count++];
    memset(class, 0, sizeof(*class));
    option_defaults(class_options, class);
    class->name = mem_strdup(name);
    return class;
}

struct cleat_config *cleat_config_new(void)
{
    struct cleat_config *c = mem_alloc(sizeof(*c));
    option_defaults(settings_options, &c->settings);
    add_class(c, "default");
    return c;
}

void cleat_config_free(struct cleat_config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->class_count; i++) {
        option_release(class_options, &c->classes[i]);
        free(c->classes[i].name);
    }
    free(c->classes);
    option_release(settings_options, &c->settings);
    free(c);
}

static bool name_is_plain(const char *s, size_t max)
{
    size_t len = strlen(s);
    return len > 0 && len <= max &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == len;
}

static bool say(char *why, size_t size, const char *text)
{
    if (why && size > 0)
        mem_copy_string(why, size, text);
    return false;
}

bool cleat_config_set(struct cleat_config *c, const char *class_name, const char *key,
                      const char *value, char *why, size_t size)
{
    struct error e = {0};
    if (!class_name) {
        if (option_set(settings_options, &c->settings, key, value, &e) != ERR_NONE)
            return say(why, size, e.message);
        if (strcmp(key, "owner") == 0 && !name_is_plain(value, 20))
            return say(why, size, "owner: only letters, digits, '-' and '_' are allowed");
        return true;
    }
    if (!name_is_plain(class_name, 64))
        return say(why, size, "a class's name has 1 to 64 letters, digits, '-' or '_'");
    struct class *class = config_class(c, class_name);
    if (!class)
        class = add_class(c, class_name);
    if (option_set(class_options, class, key, value, &e) != ERR_NONE)
        return say(why, size, e.message);
    return true;
}

bool cleat_config_check(const struct cleat_config *c, char *why, size_t size)
{
    if (!*c->settings.state_dir)
        return say(why, size, "state_dir is not set");
    if (c->settings.state_dir[0] != '/')
        return say(why, size, "state_dir is not an absolute path");
    if (c->settings.executor[0] != '/')
        return say(why, size, "executor is not an absolute path");
    struct error e = {0};
    if (!limits_check(&c->settings, &e))
        return say(why, size, e.message);
    return class_check(c->classes, c->class_count, &e) || say(why, size, e.message);
}

static void describe(const struct option *table, const char *section, cleat_option_fn *fn,
                     void *arg)
{
    static const char *const types[] = {[OPTION_INT] = "integer",
                                        [OPTION_BOOL] = "boolean",
                                        [OPTION_CHOICE] = "choice",
                                        [OPTION_STRING] = "string",
                                        [OPTION_LIST] = "list"};
    for (const struct option *o = table; o->key; o++) {
        char *range = option_range(o);
        fn(arg, section, o->key, types[o->type], range, o->fallback, o->live, o->help);
        free(range);
    }
}

void cleat_config_options(cleat_option_fn *fn, void *arg)
{
    describe(settings_options, "", fn, arg);
    describe(class_options, "class", fn, arg);
}
