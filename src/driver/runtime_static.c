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
#define PROMISE_MS 5000  /* so long a host is kept for a launch that was prepared */
#define NO_HOST 9

/* ---- which host: the journal knows it before the host is asked, so that no life of ours asks
 * another one for the same launch */

/* One that releases itself starts anew, and does not listen for a moment. */
static bool is_there(const struct static_host *h)
{
    int64_t now = loop_now_ms(h->rt->env.loop);
    return static_host_answered(h) || (h->heard_at > 0 && now - h->heard_at < RESTART_MS);
}

/* A launch that was prepared comes, or never will. */
static bool is_promised(const struct static_host *h, const char *key)
{
    int64_t now = loop_now_ms(h->rt->env.loop);
    return now - h->used_at < PROMISE_MS && h->promised[0] != '\0' &&
           strcmp(h->promised, key) != 0;
}

/* The lower the better; NO_HOST: not this one. */
static int rank(const struct static_host *h, const char *key, bool any_there)
{
    if (!h->configured || !TAILQ_EMPTY(&h->leases) || is_promised(h, key))
        return NO_HOST;
    if (h->state == STATIC_LEASED && strcmp(h->holder, key) == 0)
        return 0;
    if (h->state == STATIC_FREE)
        return 1;
    if (static_host_answered(h) || h->state == STATIC_UNKNOWN)
        return h->state == STATIC_LEASED ? 3 : 2; /* it may have become free */
    return any_there || h->state == STATIC_REFUSING ? NO_HOST : 4;
}

/* Of equals the one that was not used for longest. */
static struct static_host *choose(struct runtime *rt, const char *key)
{
    struct static_host *h, *best = NULL;
    bool any_there = false;
    int least = NO_HOST;
    TAILQ_FOREACH (h, &rt->hosts, entry)
        any_there = any_there || (h->configured && is_there(h));
    TAILQ_FOREACH (h, &rt->hosts, entry) {
        int r = rank(h, key, any_there);
        if (r < least || (r == least && best != NULL && h->used_at < best->used_at)) {
            best = h;
            least = r;
        }
    }
    return best;
}

void static_lack(struct runtime *rt, struct error *e)
{
    const struct static_host *h, *silent = NULL, *refusing = NULL;
    size_t count = 0, there = 0;
    TAILQ_FOREACH (h, &rt->hosts, entry) {
        count += h->configured;
        there += h->configured && is_there(h);
        if (h->configured && h->state == STATIC_SILENT)
            silent = h;
        if (h->configured && h->state == STATIC_REFUSING)
            refusing = h;
    }
    if (there == count)
        error_set(e, ERR_CAPACITY, "all %zu hosts are leased", count);
    else if (there > 0)
        error_set(e, ERR_CAPACITY, "all hosts that answer are leased (%zu of %zu do not)",
                  count - there, count);
    else if (refusing != NULL && silent == NULL)
        error_set(e, ERR_PERMANENT, "%.200s", refusing->error.message);
    else {
        error_set(e, ERR_CONNECT, "no host answers: %.200s",
                  silent != NULL ? silent->error.message : "none was heard of yet");
        e->of_engine = true;
    }
}

static char *static_prepare(struct runtime *rt, const struct launch *l, struct error *e)
{
    struct static_host *h = choose(rt, l->key);
    if (h == NULL) {
        static_lack(rt, e);
        return NULL;
    }
    mem_copy_string(h->promised, sizeof(h->promised), l->key);
    h->used_at = loop_now_ms(rt->env.loop);
    return mem_strdup(h->name);
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

/* A launch of that key is known. */
static void join(struct static_lease *l, runtime_launched_fn *done, void *arg)
{
    struct error e = {0};
    if (l->phase == STATIC_ASKING) {
        static_lease_wait(l, done, arg);
        return;
    }
    if (l->failed)
        error_set(&e, ERR_LAUNCH, "a failed lease of %s is being released", l->container.key);
    else if (l->phase != STATIC_LIVE)
        error_set(&e, ERR_DIED, "lease %s has ended or is being released", l->container.key);
    later_launched(&l->rt->later, done, arg, &e, &l->container);
}

/* The host that prepare chose, in this life or in one before. NULL: *e. */
static struct static_host *prepared_host(struct runtime *rt, const struct launch *l,
                                         struct error *e)
{
    char ip[46];
    uint16_t port;
    if (!key_valid(l->key) || l->prepared == NULL ||
        !static_name_read(l->prepared, ip, &port)) {
        error_set(e, ERR_INVALID, "launch \"%s\" is not prepared", l->key);
        return NULL;
    }
    struct static_host *h = static_host_at(rt, ip, port);
    h->promised[0] = '\0';
    if (TAILQ_EMPTY(&h->leases))
        return h;
    error_set(e, ERR_CAPACITY, "host %s is leased meanwhile", h->name);
    return NULL;
}

static void static_launch(struct runtime *rt, const struct launch *l, runtime_launched_fn *done,
                          void *arg)
{
    struct error e = {0};
    struct static_lease *lease = static_lease_find(rt, l->key, NULL);
    struct static_host *h = lease == NULL ? prepared_host(rt, l, &e) : NULL;
    if (lease != NULL) {
        join(lease, done, arg);
    } else if (h == NULL) {
        later_launched(&rt->later, done, arg, &e, NULL);
    } else {
        lease = static_lease_new(rt, l->key, STATIC_ASKING);
        lease->terms = make_terms(rt, l);
        lease->uncertain = true; /* a life before may have asked */
        lease->deadline = loop_now_ms(rt->env.loop) + rt->env.class->step_timeout_s * 1000;
        static_lease_attach(lease, h);
        static_lease_wait(lease, done, arg);
        timer_stop(&h->next);
        static_host_step(h);
    }
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
    task_init(&rt->step, env->loop, static_list_step, rt);
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
    .prepare = static_prepare,
    .launch = static_launch,
    .adopt = static_adopt,
    .stop = static_stop,
    .look = static_look,
    .release = static_release,
    .release_makes_room = true,
    .list = static_list,
    .status = static_status,
};
