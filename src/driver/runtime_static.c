/* Containers that are always there: hosts that run cleat-executor permanently, each leased to
 * one session at a time. A launch is a lease, a stop its release; a host is given out again
 * when it has said itself that it is free, and nobody's balancer leads to it any more. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "driver/s3_url.h"
#include "driver/static_host.h"
#include "driver/static_name.h"
#include "http/aws.h"
#include "http/lease.h"

#define WATCH_MS 1000
#define LIVE_MS 5000     /* between two questions to a host that serves */
#define REST_MS 30000    /* to any other */
#define RESTART_MS 30000 /* so long a host that was heard of may be away for a release */
#define SILENT_MS 10000  /* so long a launch believes that a silent host is silent */

/* ---- which host */

static bool is_candidate(const struct static_host *h)
{
    return h->configured && TAILQ_EMPTY(&h->leases);
}

static struct static_host *find_holder(struct runtime *rt, const char *key)
{
    struct static_host *h;
    TAILQ_FOREACH (h, &rt->hosts, entry)
        if (is_candidate(h) && h->state == STATIC_LEASED && strcmp(h->holder, key) == 0)
            return h;
    return NULL;
}

/* The one that was not used for longest. */
static struct static_host *find_free(struct runtime *rt)
{
    struct static_host *h, *best = NULL;
    TAILQ_FOREACH (h, &rt->hosts, entry)
        if (is_candidate(h) && h->state == STATIC_FREE &&
            (best == NULL || h->used_at < best->used_at))
            best = h;
    return best;
}

/* Whether a host that was not free may have become so since the launch was asked for. */
static bool is_stale(const struct static_host *h, const struct static_lease *l)
{
    if (!is_candidate(h))
        return false;
    if (h->state == STATIC_SILENT || h->state == STATIC_REFUSING)
        return h->known_at + SILENT_MS < l->since;
    return h->state == STATIC_UNKNOWN || h->known_at < l->since;
}

static bool ask_stale(struct runtime *rt, const struct static_lease *l)
{
    struct static_host *h;
    bool asked = false;
    TAILQ_FOREACH (h, &rt->hosts, entry)
        if (is_stale(h, l)) {
            asked = true;
            if (h->call == NULL)
                static_host_want(h);
        }
    return asked;
}

/* One that releases itself starts anew, and does not listen for a moment. */
static bool is_there(const struct static_host *h)
{
    int64_t now = loop_now_ms(h->rt->env.loop);
    return static_host_answered(h) || (h->heard_at > 0 && now - h->heard_at < RESTART_MS);
}

/* Why no host was found. */
static void lack(struct runtime *rt, struct error *e)
{
    const struct static_host *h, *silent = NULL, *refusing = NULL;
    size_t count = 0, mute = 0, answered = 0;
    TAILQ_FOREACH (h, &rt->hosts, entry) {
        count += h->configured;
        answered += h->configured && is_there(h);
        mute += h->configured && !is_there(h);
        if (h->configured && h->state == STATIC_SILENT)
            silent = h;
        if (h->configured && h->state == STATIC_REFUSING)
            refusing = h;
    }
    if (answered > 0 && mute > 0)
        error_set(e, ERR_CAPACITY, "all hosts that answer are leased (%zu of %zu do not)", mute,
                  count);
    else if (answered > 0)
        error_set(e, ERR_CAPACITY, "all %zu hosts are leased", count);
    else if (silent != NULL) {
        error_set(e, ERR_CONNECT, "no host answers: %.200s", silent->error.message);
        e->of_engine = true;
    } else
        error_set(e, ERR_PERMANENT, "%.200s", refusing != NULL ? refusing->error.message : "");
}

static void match(struct runtime *rt, struct static_lease *l)
{
    struct static_host *h = find_holder(rt, l->container.key);
    if (h == NULL)
        h = find_free(rt);
    bool late = loop_now_ms(rt->env.loop) >= l->deadline;
    if (h == NULL || late) {
        struct error e = {0};
        if (!late && ask_stale(rt, l))
            return;
        if (h != NULL)
            error_set(&e, ERR_LAUNCH, "no host took the lease within %" PRId64 " s",
                      rt->env.class->step_timeout_s);
        else
            lack(rt, &e);
        static_lease_fail(l, &e);
        return;
    }
    static_lease_attach(l, h);
    l->phase = STATIC_ASKING;
    h->used_at = loop_now_ms(rt->env.loop);
    if (h->state == STATIC_LEASED)
        static_lease_heard(l, false, NULL);
    else
        static_host_step(h);
}

static void step(void *arg)
{
    struct runtime *rt = arg;
    struct static_lease *l, *next;
    for (l = TAILQ_FIRST(&rt->leases); l != NULL; l = next) {
        next = TAILQ_NEXT(l, entry);
        if (l->phase == STATIC_SEEKING)
            match(rt, l);
    }
    static_list_step(rt);
}

/* ---- launch */

static bool key_valid(const char *key)
{
    size_t len =
        strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return len > 0 && len < KEY_SIZE && key[len] == '\0' && key[0] != '.';
}

static void set_number(json_t *settings, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, value);
    json_object_set_new(settings, name, json_string(text));
}

/* What a container that is started finds in its environment. */
static json_t *make_settings(const struct runtime *rt, const struct launch *l)
{
    static const char *const sandboxes[] = {"auto", "bwrap", "none"};
    static const char *const networks[] = {"none", "host"};
    const struct class *c = rt->env.class;
    json_t *o = json_pack("{s:s, s:s, s:s}", "CLEAT_ARTIFACTS", c->artifacts, "CLEAT_SANDBOX",
                          sandboxes[c->sandbox], "CLEAT_NETWORK", networks[c->network]);
    set_number(o, "CLEAT_MEMORY_MB", c->memory_mb);
    set_number(o, "CLEAT_CPU_S", c->cpu_s);
    set_number(o, "CLEAT_OPEN_FILES", c->open_files);
    set_number(o, "CLEAT_FILE_SIZE_MB", c->file_size_mb);
    set_number(o, "CLEAT_PROCESSES", c->processes);
    set_number(o, "CLEAT_IDLE_TIMEOUT_S", l->idle_timeout_s);
    set_number(o, "CLEAT_LIFETIME_S", l->lifetime_s);
    if (strncmp(c->artifacts, S3_SCHEME, strlen(S3_SCHEME)) == 0 && rt->env.aws != NULL &&
        *aws_region(rt->env.aws))
        json_object_set_new(o, "AWS_REGION", json_string(aws_region(rt->env.aws)));
    return o;
}

static json_t *make_terms(const struct runtime *rt, const struct launch *l)
{
    return json_pack("{s:s, s:s, s:i, s:s, s:s, s:s*, s:o}", "key", l->key, "session",
                     l->session, "attempt", (int)l->attempt, "owner", l->owner, "secret",
                     l->secret, "label", l->label, "settings", make_settings(rt, l));
}

static void join(struct static_lease *l, runtime_launched_fn *done, void *arg)
{
    struct error e = {0};
    if (l->phase == STATIC_SEEKING || l->phase == STATIC_ASKING) {
        struct static_waiter *w = mem_alloc(sizeof(*w));
        w->launched = done;
        w->arg = arg;
        STAILQ_INSERT_TAIL(&l->waiters, w, entry);
        return;
    }
    if (l->failed)
        error_set(&e, ERR_LAUNCH, "a failed lease of %s is being released", l->container.key);
    else if (l->phase != STATIC_LIVE)
        error_set(&e, ERR_DIED, "lease %s has ended or is being released", l->container.key);
    later_launched(&l->rt->later, done, arg, &e, &l->container);
}

static void static_launch(struct runtime *rt, const struct launch *l, runtime_launched_fn *done,
                          void *arg)
{
    struct static_lease *lease = static_lease_find(rt, l->key, NULL);
    if (!key_valid(l->key)) {
        struct error e;
        error_set(&e, ERR_INVALID, "\"%s\" is no valid key", l->key);
        later_launched(&rt->later, done, arg, &e, NULL);
        return;
    }
    if (lease == NULL) {
        lease = static_lease_new(rt, l->key, STATIC_SEEKING);
        lease->terms = make_terms(rt, l);
        lease->deadline = lease->since + rt->env.class->step_timeout_s * 1000;
        task_wake(&rt->step);
    }
    join(lease, done, arg);
}

/* ---- adopt, stop, look, release */

/* The lease that the id of a container names; new: one that the journal or a listing knows.
 * NULL: no id of ours. */
static struct static_lease *known(struct runtime *rt, const struct container *c, bool make)
{
    char key[KEY_SIZE];
    const char *at = strchr(c->id, '@');
    if (at == NULL || at - c->id >= KEY_SIZE || c->ip[0] == '\0')
        return NULL;
    memcpy(key, c->id, (size_t)(at - c->id));
    key[at - c->id] = '\0';
    struct static_lease *l = static_lease_find(rt, key, at + 1);
    if (l == NULL && make && key_valid(key)) {
        l = static_lease_new(rt, key, STATIC_LIVE);
        static_lease_attach(l, static_host_at(rt, c->ip, c->port));
    }
    return l;
}

static void static_adopt(struct runtime *rt, const struct container *c)
{
    struct static_lease *l = known(rt, c, true);
    if (l != NULL)
        static_host_want(l->host);
}

static void static_stop(struct runtime *rt, const struct container *c, bool keep,
                        runtime_done_fn *done, void *arg)
{
    struct static_lease *l = known(rt, c, true);
    struct error e;
    if (l != NULL) {
        static_lease_stop(l, keep, done, arg);
        return;
    }
    error_set(&e, ERR_INVALID, "\"%s\" is no container of this runtime", c->id);
    later_finish(&rt->later, done, arg, &e);
}

static void static_look(struct runtime *rt, const struct container *c)
{
    struct static_lease *l = known(rt, c, false);
    if (l != NULL && l->phase == STATIC_LIVE)
        static_host_want(l->host);
}

static void static_release(struct runtime *rt, const struct container *c)
{
    struct static_lease *l = known(rt, c, false);
    if (l != NULL && l->phase == STATIC_ENDED)
        static_lease_forget(l);
    else if (l != NULL)
        log_error("host.release", KV("container", c->id), KV("reason", "it is not stopped"));
}

/* ---- open, close */

/* Nothing leads a host's news here but asking. */
static void watch(void *arg)
{
    struct runtime *rt = arg;
    struct static_host *h, *next;
    int64_t now = loop_now_ms(rt->env.loop);
    for (h = TAILQ_FIRST(&rt->hosts); h != NULL; h = next) {
        const struct static_lease *l = TAILQ_FIRST(&h->leases);
        next = TAILQ_NEXT(h, entry);
        int64_t pause = l != NULL && l->phase == STATIC_LIVE ? LIVE_MS : REST_MS;
        if (!h->configured && l == NULL && h->call == NULL && TAILQ_EMPTY(&rt->listings))
            static_host_free(h);
        else if (now - h->known_at >= pause && h->call == NULL && !timer_armed(&h->next))
            static_host_want(h);
    }
    timer_arm(&rt->watch, WATCH_MS);
}

static void add_hosts(struct runtime *rt)
{
    char ip[46];
    uint16_t port;
    for (char **text = rt->env.class->static_hosts; *text != NULL; text++)
        if (static_name_read(*text, ip, &port)) {
            struct static_host *h = static_host_at(rt, ip, port);
            h->configured = true;
            static_host_want(h);
        }
}

static struct runtime *static_open(const struct runtime_env *env, struct error *e)
{
    uint8_t key[PROOF_SECRET_SIZE];
    if (lease_key_read(key, env->class->static_key_file, e) != ERR_NONE)
        return NULL;
    struct runtime *rt = mem_alloc(sizeof(*rt));
    rt->env = *env;
    memcpy(rt->key, key, sizeof(key));
    mem_wipe(key, sizeof(key));
    rt->share = http_share_new(env->client, 0);
    TAILQ_INIT(&rt->hosts);
    TAILQ_INIT(&rt->leases);
    TAILQ_INIT(&rt->listings);
    later_init(&rt->later, env->loop);
    task_init(&rt->step, env->loop, step, rt);
    timer_init(&rt->watch, env->loop, watch, rt);
    add_hosts(rt);
    timer_arm(&rt->watch, WATCH_MS);
    return rt;
}

static void static_close(struct runtime *rt)
{
    struct static_lease *l;
    struct static_host *h;
    static_list_drop(rt);
    while ((l = TAILQ_FIRST(&rt->leases)) != NULL)
        static_lease_forget(l);
    while ((h = TAILQ_FIRST(&rt->hosts)) != NULL)
        static_host_free(h);
    timer_stop(&rt->watch);
    task_stop(&rt->step);
    later_drop(&rt->later);
    http_share_free(rt->share);
    mem_wipe(rt->key, sizeof(rt->key));
    free(rt);
}

const struct runtime_ops runtime_static = {
    .name = "static",
    .open = static_open,
    .close = static_close,
    .launch = static_launch,
    .adopt = static_adopt,
    .stop = static_stop,
    .look = static_look,
    .release = static_release,
    .list = static_list,
    .status = static_status,
};
