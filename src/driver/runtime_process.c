/* Containers as processes of this machine: cleat-executor, each with a loopback address and a
 * workspace of its own.
 *
 *   STATE_DIR/workspaces/KEY/lock         held by the container as long as it lives; its pid
 *                           /address      "ip:port\n", written before the container is started
 *                           /label        of its launch, likewise; user code reads neither
 *                           /executor.log its stdout and stderr
 *                           /ended        its exit status, written by itself, last
 *
 * So the disk knows what the journal may have missed: a locked workspace is a live container,
 * and an unlocked one whose lock names a pid is a container that has ended. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uthash.h>
#include "base/log.h"
#include "base/mem.h"
#include "driver/addresses.h"
#include "driver/later.h"
#include "driver/runtime.h"
#include "driver/s3_url.h"
#include "http/aws.h"
#include "loop/child.h"

#define WORKSPACE_MODE 0700
#define ROOT_MODE 0711 /* passed through, never listed, by the uids of users' code */
#define SMALL_FILE 256
#define UID_BASE                                                                               \
    200000u /* user code at 127.a.b.c runs as UID_BASE + a.b.c, whatever its class */
#define CONTAINER_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct waiter {
    runtime_done_fn *done;
    void *arg;
    STAILQ_ENTRY(waiter) entry;
};

/* dir_remove may end after close() or never, when the loop is freed before. */
struct removal {
    struct process *process; /* NULL: closed meanwhile */
    struct loop *loop;
    struct loop_guest guest;
};

enum phase {
    PHASE_ALIVE,
    PHASE_STOPPING, /* asked to end */
    PHASE_REMOVING, /* ended; its workspace is being removed */
    PHASE_ENDED,
};

struct process {
    struct runtime *rt;
    struct container container;
    char *workspace;
    struct child *child; /* while it lives */
    enum phase phase;
    bool keep, removed;
    bool failed; /* nothing was started: it is forgotten once its workspace is gone */
    struct removal *removal;
    STAILQ_HEAD(, waiter) waiters;
    struct timer grace;
    UT_hash_handle hh; /* by container.id, which is the key */
};

struct runtime {
    struct runtime_env env;
    char *root, *prefix; /* STATE_DIR/workspaces, or workspace_dir; "OWNER." */
    struct addresses *addresses;
    struct process *processes;
    struct later later;
};

/* ---- workspaces ---- */

static char *workspace_file(const char *workspace, const char *name)
{
    return mem_printf("%s/%s", workspace, name);
}

/* False: absent or not an address. */
static bool read_address(const char *workspace, struct container *c)
{
    char *path = workspace_file(workspace, "address");
    char *text = file_read(path, SMALL_FILE);
    unsigned port = 0;
    int end = 0;
    bool good = text != NULL && sscanf(text, "%15[0-9.]:%5u%n", c->ip, &port, &end) == 2 &&
                strcmp(text + end, "\n") == 0 && port > 0 && port <= UINT16_MAX;
    if (!good)
        c->ip[0] = '\0';
    c->port = good ? (uint16_t)port : 0;
    free(text);
    free(path);
    return good;
}

/* It need not outlive the machine: then its container is gone as well. */
static bool write_address(const struct process *p, struct error *e)
{
    char *path = workspace_file(p->workspace, "address"), text[64];
    snprintf(text, sizeof(text), "%s:%u\n", p->container.ip, p->container.port);
    enum error_code code = file_replace(path, text, e);
    free(path);
    return code == ERR_NONE;
}

static bool write_label(const struct process *p, const char *label, struct error *e)
{
    if (label == NULL)
        return true;
    char *path = workspace_file(p->workspace, "label");
    enum error_code code = file_replace(path, label, e);
    free(path);
    return code == ERR_NONE;
}

/* NULL: it has none; free(). */
static char *read_label(const char *workspace)
{
    char *path = workspace_file(workspace, "label");
    char *label = file_read(path, LABEL_MAX);
    free(path);
    return label;
}

/* Whether a container was ever started there: its lock then names a pid. */
static bool was_started(const char *workspace)
{
    char *path = workspace_file(workspace, "lock");
    char *pid = file_read(path, SMALL_FILE);
    bool started = pid != NULL && *pid >= '1' && *pid <= '9';
    free(pid);
    free(path);
    return started;
}

/* As of waitpid(2), of one that ended itself while nobody could wait for it. */
static int read_end(const char *workspace)
{
    char *path = workspace_file(workspace, "ended");
    char *text = file_read(path, SMALL_FILE);
    int status = -1, end = 0;
    bool good = text != NULL && sscanf(text, "%3d%n", &status, &end) == 1 &&
                strcmp(text + end, "\n") == 0 && status >= 0 && status <= UINT8_MAX;
    free(text);
    free(path);
    return good ? W_EXITCODE(status, 0) : CHILD_STATUS_UNKNOWN;
}

static bool key_valid(const char *key)
{
    size_t len =
        strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return len > 0 && len < KEY_SIZE && key[len] == '\0' && key[0] != '.';
}

/* ---- the table ---- */

static struct process *find(struct runtime *rt, const char *key)
{
    struct process *p;
    HASH_FIND(hh, rt->processes, key, strlen(key), p);
    return p;
}

static void force(void *arg)
{
    struct process *p = arg;
    log_warn("container.killed", KV("container", p->container.id),
             KI("grace_s", p->rt->env.class->stop_grace_s));
    child_kill(p->child, SIGKILL, true);
}

static struct process *enter(struct runtime *rt, const char *key)
{
    struct process *p = mem_alloc(sizeof(*p));
    p->rt = rt;
    mem_copy_string(p->container.id, sizeof(p->container.id), key);
    p->workspace = mem_printf("%s/%s", rt->root, key);
    p->phase = PHASE_ENDED;
    STAILQ_INIT(&p->waiters);
    timer_init(&p->grace, rt->env.loop, force, p);
    HASH_ADD_KEYPTR(hh, rt->processes, p->container.id, strlen(p->container.id), p);
    return p;
}

static void forget(struct process *p)
{
    struct waiter *w;
    while ((w = STAILQ_FIRST(&p->waiters)) != NULL) {
        STAILQ_REMOVE_HEAD(&p->waiters, entry);
        free(w);
    }
    timer_stop(&p->grace);
    if (p->child != NULL)
        child_free(p->child);
    if (p->removal != NULL)
        p->removal->process = NULL;
    HASH_DEL(p->rt->processes, p);
    free(p->workspace);
    free(p);
}

/* ---- the end of a container ---- */

struct death {
    struct runtime *rt;
    char id[sizeof(((struct container *)0)->id)];
    char cause[64];
    bool in_order;
};

static void give_death(void *payload)
{
    struct death *d = payload;
    d->rt->env.on_exit(d->rt->env.arg, d->id, d->cause, d->in_order);
}

static void report_death(struct process *p, int status)
{
    struct death *d = later_call(&p->rt->later, give_death, sizeof(*d));
    if (status == CHILD_STATUS_UNKNOWN)
        status = read_end(p->workspace);
    d->rt = p->rt;
    mem_copy_string(d->id, sizeof(d->id), p->container.id);
    d->in_order = status == 0;
    if (status == CHILD_STATUS_UNKNOWN)
        mem_copy_string(d->cause, sizeof(d->cause), "it is not running any more");
    else if (WIFSIGNALED(status))
        snprintf(d->cause, sizeof(d->cause), "killed by signal %d", WTERMSIG(status));
    else
        snprintf(d->cause, sizeof(d->cause), "exited with status %d", WEXITSTATUS(status));
}

static void finish_stop(struct process *p)
{
    struct waiter *w;
    p->phase = PHASE_ENDED;
    while ((w = STAILQ_FIRST(&p->waiters)) != NULL) {
        STAILQ_REMOVE_HEAD(&p->waiters, entry);
        later_finish(&p->rt->later, w->done, w->arg, NULL);
        free(w);
    }
}

static void workspace_removed(void *arg, const struct error *e)
{
    struct removal *r = arg;
    struct process *p = r->process;
    if (e != NULL)
        log_warn("workspace.kept", KV("reason", e->message));
    loop_guest_remove(r->loop, &r->guest);
    free(r);
    if (p != NULL) {
        p->removal = NULL;
        p->removed = true;
        finish_stop(p);
        if (p->failed)
            forget(p);
    }
}

static void remove_workspace(struct process *p)
{
    struct removal *r = mem_alloc(sizeof(*r));
    r->process = p;
    r->loop = p->rt->env.loop;
    r->guest = (struct loop_guest){.drop = free, .arg = r};
    loop_guest_add(r->loop, &r->guest);
    p->removal = r;
    p->phase = PHASE_REMOVING;
    dir_remove(r->loop, p->workspace, workspace_removed, r);
}

/* The container is gone and somebody wants it so. */
static void clean_up(struct process *p)
{
    if (p->keep || p->removed)
        finish_stop(p);
    else
        remove_workspace(p);
}

static void exited(void *arg, int status)
{
    struct process *p = arg;
    child_free(p->child);
    p->child = NULL;
    timer_stop(&p->grace);
    if (p->phase == PHASE_STOPPING) {
        clean_up(p);
        return;
    }
    p->phase = PHASE_ENDED;
    report_death(p, status);
}

/* ---- launch ---- */

/* The words of the class's command, else the installed executor. free() both. */
static char **split_command(const struct runtime *rt, char **text)
{
    const char *command = rt->env.class->command;
    *text = mem_strdup(*command == '\0' ? rt->env.executor : command);
    char **words = mem_array(strlen(*text) / 2 + 2, sizeof(*words)), *rest;
    size_t n = 0;
    if (*command == '\0')
        words[n++] = *text; /* a path may have blanks */
    else
        for (char *w = strtok_r(*text, " \t", &rest); w != NULL;
             w = strtok_r(NULL, " \t", &rest))
            words[n++] = w;
    return words;
}

static const char *const sandbox_names[] = {"auto", "bwrap", "none"};
static const char *const network_names[] = {"none", "host"};

#define ENVIRONMENT_MAX 64

struct environment {
    char *lines[ENVIRONMENT_MAX + 1];
    size_t count;
};

static void set(struct environment *env, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void set(struct environment *env, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (env->count == ENVIRONMENT_MAX || vasprintf(&env->lines[env->count], fmt, args) < 0)
        abort();
    env->count++;
    va_end(args);
}

static unsigned sandbox_uid(const struct process *p)
{
    if (geteuid() != 0)
        return 0;
    unsigned a, b, c;
    if (sscanf(p->container.ip, "127.%u.%u.%u", &a, &b, &c) != 3)
        return UID_BASE;
    return UID_BASE + (a << 16 | b << 8 | c);
}

/* Of our own environment: how S3 is reached, and, when the session gets no credentials of its
 * own, how ours are found. */
static void pass_aws(struct environment *env, const struct runtime *rt)
{
    static const char *const places[] = {
        "AWS_REGION=", "AWS_DEFAULT_REGION=", "AWS_ENDPOINT_URL=", "AWS_ENDPOINT_URL_S3=",
        "AWS_CA_BUNDLE="};
    const char *region = rt->env.aws ? aws_region(rt->env.aws) : "";
    bool all = !*rt->env.class->s3_role;
    for (char **v = environ; *v; v++) {
        bool wanted = all && (strncmp(*v, "AWS_", 4) == 0 || strncmp(*v, "HOME=", 5) == 0);
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
            wanted = wanted || strncmp(*v, places[i], strlen(places[i])) == 0;
        if (wanted && !(*region && strncmp(*v, "AWS_REGION=", 11) == 0) &&
            env->count < ENVIRONMENT_MAX - 1)
            set(env, "%s", *v);
    }
    if (*region)
        set(env, "AWS_REGION=%s", region);
}

static void fill_environment(struct environment *env, const struct process *p,
                             const struct launch *l)
{
    const struct class *c = p->rt->env.class;
    set(env, "PATH=%s", CONTAINER_PATH);
    set(env, "LANG=C.UTF-8");
    set(env, "SESSION_ID=%s", l->session);
    set(env, "CLEAT_ATTEMPT=%u", l->attempt);
    set(env, "CLEAT_OWNER=%s", l->owner);
    set(env, "CLEAT_SECRET=%s", l->secret);
    set(env, "CLEAT_LISTEN=%s:%u", p->container.ip, p->container.port);
    set(env, "CLEAT_WORKSPACE=%s", p->workspace);
    set(env, "CLEAT_ARTIFACTS=%s", c->artifacts);
    set(env, "CLEAT_SANDBOX=%s", sandbox_names[c->sandbox]);
    set(env, "CLEAT_NETWORK=%s", network_names[c->network]);
    set(env, "CLEAT_SANDBOX_UID=%u", sandbox_uid(p));
    set(env, "CLEAT_MEMORY_MB=%lld", (long long)c->memory_mb);
    set(env, "CLEAT_CPU_S=%lld", (long long)c->cpu_s);
    set(env, "CLEAT_OPEN_FILES=%lld", (long long)c->open_files);
    set(env, "CLEAT_FILE_SIZE_MB=%lld", (long long)c->file_size_mb);
    set(env, "CLEAT_PROCESSES=%lld", (long long)c->processes);
    set(env, "CLEAT_IDLE_TIMEOUT_S=%lld", (long long)l->idle_timeout_s);
    set(env, "CLEAT_LIFETIME_S=%lld", (long long)l->lifetime_s);
    if (strncmp(c->artifacts, S3_SCHEME, strlen(S3_SCHEME)) == 0)
        pass_aws(env, p->rt);
}

static void free_environment(struct environment *env)
{
    for (size_t i = 0; i < env->count; i++) {
        mem_wipe(env->lines[i], strlen(env->lines[i])); /* one of them is the secret */
        free(env->lines[i]);
    }
}

static bool spawn(struct process *p, const struct launch *l, struct error *e)
{
    struct environment env = {.count = 0};
    char *text, **argv = split_command(p->rt, &text);
    char *output = workspace_file(p->workspace, "executor.log");
    char *lock = workspace_file(p->workspace, "lock");
    fill_environment(&env, p, l);
    struct child_spec spec = {
        .argv = (const char *const *)argv,
        .envp = (const char *const *)env.lines,
        .cwd = p->workspace,
        .output_path = output,
        .lock_path = lock,
        .new_session = true, /* a stopped group that our end orphans would get SIGHUP */
    };
    p->child = child_spawn(p->rt->env.loop, &spec, exited, p, e);
    free_environment(&env);
    free(lock);
    free(output);
    free(argv);
    free(text);
    return p->child != NULL;
}

static void adopt_child(struct process *p)
{
    char *lock = workspace_file(p->workspace, "lock");
    p->child = child_adopt(p->rt->env.loop, lock, exited, p);
    p->phase = p->child != NULL ? PHASE_ALIVE : PHASE_ENDED;
    free(lock);
}

/* Starts what never ran under this key; its address file and spawn are the point of no return.
 */
static bool start(struct process *p, const struct launch *l, struct error *e)
{
    struct runtime *rt = p->rt;
    struct container *c = &p->container;
    if (!addresses_take(rt->addresses, c->id, c->ip)) {
        error_set(e, ERR_CAPACITY, "every address of %s is in use",
                  rt->env.class->address_range);
        forget(p);
        return false;
    }
    c->port = (uint16_t)rt->env.class->port;
    if (dir_make(p->workspace, WORKSPACE_MODE, e) == ERR_NONE && write_address(p, e) &&
        write_label(p, l->label, e) && spawn(p, l, e)) {
        p->phase = PHASE_ALIVE;
        return true;
    }
    if (e->code != ERR_CAPACITY)
        e->code = ERR_LAUNCH;
    addresses_release(rt->addresses, c->ip, c->id);
    p->failed = true;
    remove_workspace(p);
    return false;
}

/* It lives: a launch of this key whose answer was lost. */
static bool resume(struct process *p, struct error *e)
{
    struct container *c = &p->container;
    if (read_address(p->workspace, c) && addresses_reserve(p->rt->addresses, c->ip, c->id))
        return true;
    error_set(e, ERR_LAUNCH, "container %s lives, but its address is unknown or not its own",
              c->id);
    c->ip[0] = '\0';
    return false;
}

static void launch_new(struct runtime *rt, const struct launch *l, struct container *out,
                       struct error *e)
{
    struct process *p = enter(rt, l->key);
    adopt_child(p);
    if (p->child == NULL && was_started(p->workspace)) {
        error_set(e, ERR_DIED, "container %s was started before and has ended", l->key);
        return;
    }
    if (p->child != NULL ? resume(p, e) : start(p, l, e))
        *out = p->container;
}

static void process_launch(struct runtime *rt, const struct launch *l,
                           runtime_launched_fn *done, void *arg)
{
    struct container container = {0};
    struct error e = {0};
    struct process *p = key_valid(l->key) ? find(rt, l->key) : NULL;
    if (!key_valid(l->key))
        error_set(&e, ERR_INVALID, "\"%s\" is no valid key", l->key);
    else if (p == NULL)
        launch_new(rt, l, &container, &e);
    else if (p->phase == PHASE_ALIVE && p->container.ip[0] != '\0')
        container = p->container;
    else if (p->failed)
        error_set(&e, ERR_LAUNCH, "a failed launch of %s is being cleared away", l->key);
    else
        error_set(&e, ERR_DIED, "container %s has ended or is being stopped", l->key);
    later_launched(&rt->later, done, arg, &e, &container);
}

/* ---- adopt, stop, release ---- */

/* The entry for a container that the journal or the disk knows. NULL: no name of ours. */
static struct process *known(struct runtime *rt, const struct container *c)
{
    if (!key_valid(c->id))
        return NULL;
    struct process *p = find(rt, c->id);
    if (p != NULL)
        return p;
    p = enter(rt, c->id);
    if (c->ip[0] != '\0') {
        mem_copy_string(p->container.ip, sizeof(p->container.ip), c->ip);
        p->container.port = c->port;
    } else {
        read_address(p->workspace, &p->container);
    }
    if (p->container.ip[0] != '\0' &&
        !addresses_reserve(rt->addresses, p->container.ip, p->container.id))
        log_error("address.conflict", KV("container", c->id), KV("address", p->container.ip));
    adopt_child(p);
    return p;
}

static void process_adopt(struct runtime *rt, const struct container *c)
{
    bool seen = key_valid(c->id) && find(rt, c->id) != NULL;
    struct process *p = known(rt, c);
    if (p != NULL && !seen && p->child == NULL)
        report_death(p, CHILD_STATUS_UNKNOWN);
}

static void begin_stop(struct process *p)
{
    p->phase = PHASE_STOPPING;
    child_kill(p->child, SIGTERM, false);
    timer_arm(&p->grace, p->rt->env.class->stop_grace_s * 1000);
}

static void process_stop(struct runtime *rt, const struct container *c, bool keep,
                         runtime_done_fn *done, void *arg)
{
    struct process *p = known(rt, c);
    if (p == NULL) {
        struct error e;
        error_set(&e, ERR_INVALID, "\"%s\" is no container of this runtime", c->id);
        later_finish(&rt->later, done, arg, &e);
        return;
    }
    struct waiter *w = mem_alloc(sizeof(*w));
    w->done = done;
    w->arg = arg;
    STAILQ_INSERT_TAIL(&p->waiters, w, entry);
    if (p->phase == PHASE_ENDED || p->phase == PHASE_ALIVE)
        p->keep = keep;
    else
        p->keep |= keep; /* together with those that wait already */
    if (p->phase == PHASE_ALIVE)
        begin_stop(p);
    else if (p->phase == PHASE_ENDED)
        clean_up(p);
}

static void process_release(struct runtime *rt, const struct container *c)
{
    struct process *p = key_valid(c->id) ? find(rt, c->id) : NULL;
    if (p != NULL && p->phase != PHASE_ENDED) {
        log_error("address.release", KV("container", c->id), KV("reason", "it is not stopped"));
        return;
    }
    addresses_release(rt->addresses, p != NULL ? p->container.ip : c->ip, c->id);
    if (p != NULL)
        forget(p);
}

/* ---- list, status ---- */

struct listing {
    struct runtime *rt;
    runtime_each_fn *each;
    runtime_done_fn *done;
    void *arg;
};

static void list_one(void *arg, const char *name, bool locked)
{
    struct listing *l = arg;
    struct container c = {.id = ""};
    if (strncmp(name, l->rt->prefix, strlen(l->rt->prefix)) != 0 || !key_valid(name))
        return;
    char *workspace = mem_printf("%s/%s", l->rt->root, name);
    mem_copy_string(c.id, sizeof(c.id), name);
    read_address(workspace, &c);
    char *label = read_label(workspace);
    l->each(l->arg, name, &c, locked, label);
    free(label);
    free(workspace);
}

static void give_listing(void *payload)
{
    struct listing *l = payload;
    dir_list_locked(l->rt->root, list_one, l);
    l->done(l->arg, NULL);
}

static void process_list(struct runtime *rt, runtime_each_fn *each, runtime_done_fn *done,
                         void *arg)
{
    struct listing *l = later_call(&rt->later, give_listing, sizeof(*l));
    *l = (struct listing){.rt = rt, .each = each, .done = done, .arg = arg};
}

/* setrlimit(2) counts per process; only a cgroup could count a whole session. */
static json_t *unenforced_limits(void)
{
    char *controllers = file_read("/sys/fs/cgroup/cgroup.controllers", SMALL_FILE);
    const char *why =
        controllers == NULL
            ? "cgroup v2 is not available here; limits hold for each process"
            : "cgroup v2 is not delegated to containers; limits hold for each process";
    json_t *list = json_array();
    static const char *const names[] = {"memory of a session", "CPU of a session",
                                        "processes of a session"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "limit", names[i], "reason", why));
    free(controllers);
    return list;
}

static json_t *process_status(struct runtime *rt)
{
    size_t alive = 0;
    struct process *p, *next;
    HASH_ITER (hh, rt->processes, p, next)
        alive += p->child != NULL;
    const char *sandbox = sandbox_names[rt->env.class->sandbox];
    json_t *o =
        json_pack("{s:s, s:s, s:o, s:I, s:I}", "name", "process", "sandbox", sandbox,
                  "limits_not_enforced", unenforced_limits(), "containers", (json_int_t)alive,
                  "addresses_free", (json_int_t)addresses_free_count(rt->addresses));
    if (rt->env.class->sandbox == SANDBOX_NONE)
        json_object_set_new(o, "isolation", json_string("none"));
    return o;
}

/* ---- open, close ---- */

/* Whoever lives in our directory holds its address, whether or not the journal knows it. */
static void reserve_living(void *arg, const char *name, bool locked)
{
    struct runtime *rt = arg;
    struct container c;
    char *workspace = mem_printf("%s/%s", rt->root, name);
    if (locked && key_valid(name) && read_address(workspace, &c))
        addresses_reserve(rt->addresses, c.ip, name);
    free(workspace);
}

static struct runtime *process_open(const struct runtime_env *env, struct error *e)
{
    struct addresses *addresses = addresses_open(env->class->address_range, e);
    if (addresses == NULL)
        return NULL;
    const char *chosen = env->class->workspace_dir;
    char *root = *chosen ? mem_strdup(chosen) : mem_printf("%s/workspaces", env->state_dir);
    if (dir_make(root, ROOT_MODE, e) != ERR_NONE) {
        addresses_close(addresses);
        free(root);
        return NULL;
    }
    struct runtime *rt = mem_alloc(sizeof(*rt));
    rt->env = *env;
    rt->root = root;
    rt->prefix = mem_printf("%s.", env->owner);
    rt->addresses = addresses;
    later_init(&rt->later, env->loop);
    dir_list_locked(root, reserve_living, rt);
    dir_remove_rest(env->loop, root);
    if (env->class->sandbox == SANDBOX_NONE)
        log_warn("sandbox.none", KV("class", env->class->name),
                 KV("meaning", "user code is not isolated from this machine"));
    return rt;
}

static void process_close(struct runtime *rt)
{
    struct process *p, *next;
    HASH_ITER (hh, rt->processes, p, next)
        forget(p);
    later_drop(&rt->later);
    addresses_close(rt->addresses);
    free(rt->prefix);
    free(rt->root);
    free(rt);
}

const struct runtime_ops runtime_process = {
    .name = "process",
    .open = process_open,
    .close = process_close,
    .launch = process_launch,
    .adopt = process_adopt,
    .stop = process_stop,
    .release = process_release,
    .release_makes_room = true,
    .list = process_list,
    .status = process_status,
};
