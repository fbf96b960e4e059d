/* Containers of Docker or Podman. A container's name is its key, so that a repeat finds its
 * own; its labels say whose it is. What is known of one is a box; the event stream keeps it
 * true, and whenever that stream opens anew all are listed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uthash.h>
#include "base/backoff.h"
#include "base/log.h"
#include "base/mem.h"
#include "driver/docker_engine.h"
#include "driver/docker_fields.h"
#include "driver/docker_stream.h"
#include "driver/later.h"
#include "driver/runtime.h"
#include "http/json.h"
#include "loop/child.h"

#define LAST_LINE_MS 2000
#define ASK_MS 60000 /* a busy engine takes its time to make a container */
#define REMOVE_RETRY_MS 200
#define REMOVE_TRIES 50
#define CLEAR_BASE_MS 1000
#define CLEAR_CAP_MS 60000
#define REFRESH_RETRY_MS 2000
#define REFRESH_MS 60000 /* finds what an engine made for an asker that had given up */
#define ROUND_MS 250
#define LAUNCH_ROUNDS 120 /* of create, start, look */

enum phase {
    PHASE_LAUNCHING,
    PHASE_LIVE,
    PHASE_STOPPING, /* its end is wanted: not reported */
    PHASE_DEAD,
    PHASE_CLEARING, /* a failed launch's container, or one that was never started, is removed */
};

struct box {
    struct runtime *rt;
    struct container container;
    enum phase phase;
    bool out_of_memory, seen;
    struct docker_call *call; /* of launching, clearing or looking */
    /* launching */
    char *body; /* of the create; NULL: nobody launches it */
    runtime_launched_fn *done;
    void *arg;
    unsigned rounds;
    bool pulled, waits_for_image;
    bool died;
    char cause[64];
    /* clearing */
    struct timer retry;
    unsigned tries;
    UT_hash_handle hh; /* by container.id, which is the key */
};

struct stop {
    LIST_ENTRY(stop) entry;
    struct runtime *rt;
    char key[KEY_SIZE];
    bool keep;
    unsigned tries;
    struct docker_call *call;
    struct timer retry;
    runtime_done_fn *done;
    void *arg;
};

struct listing {
    LIST_ENTRY(listing) entry;
    struct runtime *rt;
    struct docker_call *call;
    runtime_each_fn *each; /* NULL: our own */
    runtime_done_fn *done;
    void *arg;
};

struct runtime {
    struct runtime_env env;
    struct docker_engine *engine;
    struct docker_events *events;
    struct docker_pull *pull;
    struct box *boxes;
    struct timer refresh;
    LIST_HEAD(, stop) stops;
    LIST_HEAD(, listing) listings;
    struct later later;
    uint64_t addresses_asked, addresses_known;
};

static bool key_valid(const char *key)
{
    size_t len =
        strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return len > 0 && len < KEY_SIZE && key[len] == '\0' && key[0] != '.';
}

/* ---- the table ---- */

static struct box *find(struct runtime *rt, const char *key)
{
    struct box *b;
    HASH_FIND(hh, rt->boxes, key, strlen(key), b);
    return b;
}

static void again(void *box);

static struct box *enter(struct runtime *rt, const char *key, enum phase phase)
{
    struct box *b = mem_alloc(sizeof(*b));
    b->rt = rt;
    b->phase = phase;
    b->seen = true;
    mem_copy_string(b->container.id, sizeof(b->container.id), key);
    timer_init(&b->retry, rt->env.loop, again, b);
    HASH_ADD_KEYPTR(hh, rt->boxes, b->container.id, strlen(b->container.id), b);
    return b;
}

static void drop_body(struct box *b)
{
    if (b->body != NULL)
        mem_wipe(b->body, strlen(b->body)); /* the secret is in it */
    free(b->body);
    b->body = NULL;
}

static void forget(struct box *b)
{
    if (b->call != NULL)
        docker_cancel(b->call);
    timer_stop(&b->retry);
    drop_body(b);
    HASH_DEL(b->rt->boxes, b);
    free(b);
}

/* METHOD /containers/KEY + rest */
static struct docker_call *ask_about(struct runtime *rt, const char *method, const char *key,
                                     const char *rest, int64_t timeout_ms, http_done_fn *done,
                                     void *arg)
{
    char *path = mem_printf("/containers/%s%s", key, rest);
    struct docker_call *call = docker_ask(
        rt->engine,
        &(struct docker_request){.method = method, .path = path, .timeout_ms = timeout_ms},
        done, arg);
    free(path);
    return call;
}

static void fail_launch(struct box *b, const struct error *e);

static void said(void *arg, const struct http_answer *answer)
{
    struct box *b = arg;
    char line[200];
    struct error e;
    b->call = NULL;
    if (answer->status == 200) {
        docker_read_last_line(answer->body, answer->body_len, line, sizeof(line));
        log_warn("container.last_line", KV("container", b->container.id), KV("line", line));
    }
    if (b->body == NULL) {
        b->rt->env.on_exit(b->rt->env.arg, b->container.id, b->cause,
                           strcmp(b->cause, "exited with status 0") == 0);
        return;
    }
    error_set(&e, ERR_DIED, "container %s has ended: %s", b->container.id, b->cause);
    fail_launch(b, &e);
}

/* Its last line is logged first: when it is removed that is lost. */
static void take_death(struct box *b, const char *cause)
{
    bool killed = strcmp(cause, DOCKER_KILLED) == 0;
    mem_copy_string(b->cause, sizeof(b->cause),
                    b->out_of_memory && killed ? DOCKER_OUT_OF_MEMORY_CAUSE : cause);
    if (b->call != NULL)
        docker_cancel(b->call);
    b->call = ask_about(b->rt, "GET", b->container.id, "/logs?stdout=1&stderr=1&tail=5",
                        LAST_LINE_MS, said, b);
}

static void report_death(struct box *b, const char *cause)
{
    if (b->phase != PHASE_LIVE)
        return;
    b->phase = PHASE_DEAD;
    take_death(b, cause);
}

/* What went wrong, for whoever launches or stops: the engine that cannot be asked is no fault
 * of the container's. */
static void explain(const struct http_answer *answer, const char *what, struct error *e)
{
    if (answer->error.code != ERR_NONE)
        error_set(e, ERR_LAUNCH, "%s: the engine does not answer: %.160s", what,
                  answer->error.message);
    else if (docker_refusal(answer->status, answer->body, answer->body_len, what, e) ==
             ERR_NONE)
        error_set(e, ERR_LAUNCH, "%s: the engine answered %d", what, answer->status);
}

/* ---- launch: create, start, look; each may find that it was done before ---- */

static void create(struct box *b);
static void clear(struct box *b);
static void start(struct box *b);
static void look(struct box *b);

/* The callback is the last thing: b may be gone after it. */
static void end_launch(struct box *b, const struct error *e)
{
    runtime_launched_fn *done = b->done;
    void *arg = b->arg;
    struct container c = b->container;
    drop_body(b);
    done(arg, e, e == NULL ? &c : NULL);
}

/* There is surely nothing of ours under that name. */
static void refuse_launch(struct box *b, const struct error *e)
{
    runtime_launched_fn *done = b->done;
    void *arg = b->arg;
    struct error copy = *e;
    forget(b);
    done(arg, &copy, NULL);
}

static void fail_launch(struct box *b, const struct error *e)
{
    struct error copy = *e;
    b->phase = PHASE_CLEARING;
    b->tries = 0;
    end_launch(b, &copy);
    clear(b);
}

/* Once more from the beginning, a little later. The name may be taken while its container
 * cannot be seen: a create whose asker has died is still under way. */
static void go_round(struct box *b)
{
    struct error e;
    if (++b->rounds < LAUNCH_ROUNDS) {
        timer_arm(&b->retry, ROUND_MS);
        return;
    }
    error_set(&e, ERR_LAUNCH, "container %s is neither there nor can it be made",
              b->container.id);
    fail_launch(b, &e);
}

static void pulled(void *arg, const struct error *e)
{
    struct runtime *rt = arg;
    struct box *b, *next;
    rt->pull = NULL;
    HASH_ITER (hh, rt->boxes, b, next) {
        if (!b->waits_for_image)
            continue;
        b->waits_for_image = false;
        b->pulled = true;
        if (e != NULL)
            refuse_launch(b, e);
        else
            create(b);
    }
}

/* One pull for all that wait. */
static void pull(struct box *b)
{
    struct runtime *rt = b->rt;
    b->waits_for_image = true;
    if (rt->pull == NULL)
        rt->pull = docker_pull_start(rt->env.loop, rt->engine, rt->env.class->image,
                                     rt->env.class->create_timeout_s * 1000, pulled, rt);
}

static void created(void *arg, const struct http_answer *answer)
{
    struct box *b = arg;
    struct error e = {0};
    b->call = NULL;
    if (answer->status == 201) {
        start(b);
    } else if (answer->status == 409) {
        look(b);
    } else if (answer->status == 404 && !b->pulled) {
        pull(b);
    } else {
        explain(answer, "create", &e);
        if (answer->status >= 400 || !answer->sent)
            refuse_launch(b, &e);
        else
            fail_launch(b, &e);
    }
}

static void create(struct box *b)
{
    char *path = mem_printf("/containers/create?name=%s", b->container.id);
    b->call =
        docker_ask(b->rt->engine,
                   &(struct docker_request){
                       .method = "POST", .path = path, .body = b->body, .timeout_ms = ASK_MS},
                   created, b);
    free(path);
}

static void started(void *arg, const struct http_answer *answer)
{
    struct box *b = arg;
    struct error e = {0};
    b->call = NULL;
    if (answer->status == 204 || answer->status == 304) {
        look(b);
    } else if (answer->status == 404 && answer->error.code == ERR_NONE) {
        go_round(b);
    } else {
        explain(answer, "start", &e);
        fail_launch(b, &e);
    }
}

static void start(struct box *b)
{
    b->call = ask_about(b->rt, "POST", b->container.id, "/start", ASK_MS, started, b);
}

static void judge_launch(struct box *b, const struct docker_view *v)
{
    struct error e;
    if (strcmp(v->key, b->container.id) != 0) {
        error_set(&e, ERR_PERMANENT, "somebody else's container is named %s", b->container.id);
        refuse_launch(b, &e);
    } else if (v->status == DOCKER_CREATED && ++b->rounds < LAUNCH_ROUNDS) {
        start(b);
    } else if (v->status == DOCKER_ENDED || b->died) {
        take_death(b, b->died ? b->cause : v->cause);
    } else if (v->ip[0] == '\0') {
        error_set(&e, ERR_LAUNCH, "container %s publishes no port on network %s",
                  b->container.id, b->rt->env.class->docker_network);
        fail_launch(b, &e);
    } else {
        mem_copy_string(b->container.ip, sizeof(b->container.ip), v->ip);
        b->container.port = v->port;
        b->phase = PHASE_LIVE;
        end_launch(b, NULL);
    }
}

static void looked(void *arg, const struct http_answer *answer)
{
    struct box *b = arg;
    struct docker_view v;
    struct error e = {0};
    b->call = NULL;
    if (answer->status == 404) {
        go_round(b);
    } else if (answer->status == 200 && docker_read_inspect(answer->body, answer->body_len,
                                                            b->rt->env.class->port, &v)) {
        judge_launch(b, &v);
    } else {
        explain(answer, "inspect", &e);
        fail_launch(b, &e);
    }
}

static void look(struct box *b)
{
    b->rt->addresses_asked++;
    b->call = ask_about(b->rt, "GET", b->container.id, "/json", ASK_MS, looked, b);
}

/* The engine would make the directory as root's; user code's executor may be another. */
static bool make_artifacts(const struct class *c, const char *session, struct error *e)
{
    unsigned uid, gid;
    char *dir = docker_artifacts_of(c, session);
    bool good = dir == NULL || dir_make(dir, 0755, e) == ERR_NONE;
    int numbers = sscanf(c->docker_user, "%9u:%9u", &uid, &gid);
    if (good && dir != NULL && geteuid() == 0 && numbers > 0 &&
        chown(dir, uid, numbers == 2 ? gid : 0) != 0) {
        error_set(e, ERR_LAUNCH, "%.160s cannot be given to user %u", dir, uid);
        good = false;
    }
    if (!good)
        e->code = ERR_LAUNCH;
    free(dir);
    return good;
}

static char *make_body(const struct runtime *rt, const struct launch *l)
{
    json_t *o = docker_create_body(rt->env.class, l);
    char *text = js_text(o);
    json_decref(o);
    return text;
}

struct given {
    runtime_launched_fn *done;
    void *arg;
    struct error error;
    struct container container;
};

static void give(void *payload)
{
    struct given *g = payload;
    bool good = g->error.code == ERR_NONE;
    g->done(g->arg, good ? NULL : &g->error, good ? &g->container : NULL);
}

static struct given *give_later(struct runtime *rt, runtime_launched_fn *done, void *arg)
{
    struct given *g = later_call(&rt->later, give, sizeof(*g));
    g->done = done;
    g->arg = arg;
    return g;
}

static void docker_launch(struct runtime *rt, const struct launch *l, runtime_launched_fn *done,
                          void *arg)
{
    struct error e = {0};
    struct box *b = key_valid(l->key) ? find(rt, l->key) : NULL;
    if (!key_valid(l->key))
        error_set(&e, ERR_INVALID, "\"%s\" is no valid key", l->key);
    else if (b != NULL && b->body != NULL)
        error_set(&e, ERR_LAUNCH, "container %s is being launched", l->key);
    else if (b != NULL && b->phase != PHASE_LIVE && b->phase != PHASE_CLEARING)
        error_set(&e, ERR_DIED, "container %s has ended or is being stopped", l->key);
    if (e.code != ERR_NONE || (b != NULL && b->phase == PHASE_LIVE)) {
        struct given *g = give_later(rt, done, arg);
        g->error = e;
        if (b != NULL)
            g->container = b->container;
        rt->addresses_known += e.code == ERR_NONE;
        return;
    }
    if (!make_artifacts(rt->env.class, l->session, &e)) {
        give_later(rt, done, arg)->error = e;
        return;
    }
    bool is_new = b == NULL;
    if (is_new)
        b = enter(rt, l->key, PHASE_LAUNCHING);
    b->body = make_body(rt, l);
    b->done = done;
    b->arg = arg;
    if (is_new)
        create(b); /* else once the name is free */
}

/* ---- clearing away what a failed launch may have left ---- */

static void cleared(void *arg, const struct http_answer *answer)
{
    struct box *b = arg;
    b->call = NULL;
    if (answer->status != 204 && answer->status != 404) {
        timer_arm(&b->retry, backoff_ms(CLEAR_BASE_MS, ++b->tries, CLEAR_CAP_MS));
        return;
    }
    if (b->body == NULL) {
        forget(b);
        return;
    }
    b->phase = PHASE_LAUNCHING;
    b->rounds = 0;
    b->died = b->pulled = b->out_of_memory = false;
    create(b);
}

static void clear(struct box *b)
{
    b->call = ask_about(b->rt, "DELETE", b->container.id, "?force=1&v=1", ASK_MS, cleared, b);
}

static void again(void *arg)
{
    struct box *b = arg;
    if (b->phase == PHASE_CLEARING)
        clear(b);
    else
        create(b);
}

/* ---- stop: then remove ---- */

static void end_stop(struct stop *s, const struct error *e)
{
    runtime_done_fn *done = s->done;
    void *arg = s->arg;
    struct box *b = find(s->rt, s->key);
    if (e == NULL && b != NULL && b->phase == PHASE_STOPPING)
        forget(b);
    LIST_REMOVE(s, entry);
    timer_stop(&s->retry);
    free(s);
    done(arg, e);
}

static void removed(void *arg, const struct http_answer *answer)
{
    struct stop *s = arg;
    struct error e = {0};
    s->call = NULL;
    if (answer->status == 204 || answer->status == 404) {
        end_stop(s, NULL);
    } else if (answer->status == 409 && ++s->tries < REMOVE_TRIES) { /* somebody does it */
        timer_arm(&s->retry, REMOVE_RETRY_MS);
    } else {
        explain(answer, "remove", &e);
        end_stop(s, &e);
    }
}

static void remove_container(void *arg)
{
    struct stop *s = arg;
    s->call = ask_about(s->rt, "DELETE", s->key, "?force=1&v=1", ASK_MS, removed, s);
}

static void stopped(void *arg, const struct http_answer *answer)
{
    struct stop *s = arg;
    struct error e = {0};
    s->call = NULL;
    bool ended = answer->status == 204 || answer->status == 304;
    if (answer->status == 404 || (ended && s->keep)) {
        end_stop(s, NULL);
    } else if (ended) {
        remove_container(s);
    } else {
        explain(answer, "stop", &e);
        end_stop(s, &e);
    }
}

static void docker_stop(struct runtime *rt, const struct container *c, bool keep,
                        runtime_done_fn *done, void *arg)
{
    struct error e;
    char rest[32];
    if (!key_valid(c->id)) {
        error_set(&e, ERR_INVALID, "\"%s\" is no container of this runtime", c->id);
        later_finish(&rt->later, done, arg, &e);
        return;
    }
    struct box *b = find(rt, c->id);
    if (b != NULL && (b->phase == PHASE_LIVE || b->phase == PHASE_DEAD)) {
        b->phase = PHASE_STOPPING;
        if (b->call != NULL)
            docker_cancel(b->call);
        b->call = NULL;
    }
    struct stop *s = mem_alloc(sizeof(*s));
    s->rt = rt;
    s->keep = keep;
    s->done = done;
    s->arg = arg;
    mem_copy_string(s->key, sizeof(s->key), c->id);
    timer_init(&s->retry, rt->env.loop, remove_container, s);
    LIST_INSERT_HEAD(&rt->stops, s, entry);
    int64_t grace_s = rt->env.class->stop_grace_s;
    snprintf(rest, sizeof(rest), "/stop?t=%lld", (long long)grace_s);
    s->call = ask_about(rt, "POST", s->key, rest, grace_s * 1000 + ASK_MS, stopped, s);
}

/* The engine gave the port back when the container ended. */
static void docker_release(struct runtime *rt, const struct container *c)
{
    struct box *b = find(rt, c->id);
    if (b != NULL && b->phase == PHASE_DEAD)
        forget(b);
}

/* ---- listing, and the truth about what lives ---- */

static void verified(void *arg, const struct http_answer *answer)
{
    struct box *b = arg;
    struct docker_view v;
    b->call = NULL;
    if (answer->status == 404)
        report_death(b, "it does not exist any more");
    else if (answer->status != 200 ||
             !docker_read_inspect(answer->body, answer->body_len, b->rt->env.class->port, &v))
        timer_arm(&b->rt->refresh, REFRESH_RETRY_MS);
    else if (v.status != DOCKER_RUNNING)
        report_death(b, v.cause);
}

/* A listing may be older than a launch: one by one is certain. */
static void verify_unseen(struct runtime *rt)
{
    struct box *b, *next;
    HASH_ITER (hh, rt->boxes, b, next) {
        if (b->phase != PHASE_LIVE || b->seen || b->call != NULL)
            continue;
        b->call = ask_about(rt, "GET", b->container.id, "/json", ASK_MS, verified, b);
    }
}

/* Nothing ever ran in one that was never started. */
static void drop_unstarted(struct runtime *rt, const char *key)
{
    if (find(rt, key) == NULL)
        clear(enter(rt, key, PHASE_CLEARING));
}

static void list_one(void *arg, const struct docker_view *v)
{
    struct listing *l = arg;
    struct box *b = find(l->rt, v->key);
    struct container c = {.port = v->port};
    if (!key_valid(v->key))
        return;
    if (v->status == DOCKER_CREATED) {
        drop_unstarted(l->rt, v->key);
        return;
    }
    if (b != NULL && v->status == DOCKER_RUNNING)
        b->seen = true;
    mem_copy_string(c.id, sizeof(c.id), v->key);
    mem_copy_string(c.ip, sizeof(c.ip), v->ip);
    if (l->each != NULL)
        l->each(l->arg, v->key, &c, v->status == DOCKER_RUNNING);
}

static void listed(void *arg, const struct http_answer *answer)
{
    struct listing *l = arg;
    struct runtime *rt = l->rt;
    struct error e = {0};
    if (answer->status != 200)
        explain(answer, "list", &e);
    else if (!docker_read_list(answer->body, answer->body_len, rt->env.class->port, list_one,
                               l))
        error_set(&e, ERR_PROTOCOL, "list: the engine's answer makes no sense");
    LIST_REMOVE(l, entry);
    timer_arm(&rt->refresh, e.code != ERR_NONE ? REFRESH_RETRY_MS : REFRESH_MS);
    if (e.code == ERR_NONE)
        verify_unseen(rt);
    if (l->done != NULL)
        l->done(l->arg, e.code != ERR_NONE ? &e : NULL);
    free(l);
}

static void docker_list(struct runtime *rt, runtime_each_fn *each, runtime_done_fn *done,
                        void *arg)
{
    struct listing *l = mem_alloc(sizeof(*l));
    struct box *b, *next;
    char *path = docker_list_path(rt->env.owner);
    *l = (struct listing){.rt = rt, .each = each, .done = done, .arg = arg};
    LIST_INSERT_HEAD(&rt->listings, l, entry);
    HASH_ITER (hh, rt->boxes, b, next)
        b->seen = b->phase != PHASE_LIVE;
    l->call = docker_ask(
        rt->engine,
        &(struct docker_request){.method = "GET", .path = path, .timeout_ms = ASK_MS}, listed,
        l);
    free(path);
}

static void refresh(void *arg)
{
    docker_list(arg, NULL, NULL, NULL);
}

static void docker_adopt(struct runtime *rt, const struct container *c)
{
    if (!key_valid(c->id) || find(rt, c->id) != NULL)
        return;
    struct box *b = enter(rt, c->id, PHASE_LIVE);
    mem_copy_string(b->container.ip, sizeof(b->container.ip), c->ip);
    b->container.port = c->port;
    timer_arm(&rt->refresh, 0); /* one listing for all that are adopted now */
}

/* ---- events ---- */

static void on_event(void *arg, const struct docker_event *event)
{
    struct box *b = find(arg, event->key);
    if (b == NULL)
        return;
    if (event->kind == DOCKER_OUT_OF_MEMORY)
        b->out_of_memory = true; /* perhaps only one process of user code's */
    if (event->kind != DOCKER_DIED)
        return;
    if (b->phase == PHASE_LAUNCHING && !b->died) {
        b->died = true;
        mem_copy_string(b->cause, sizeof(b->cause), event->cause);
    }
    report_death(b, event->cause);
}

static void on_open(void *arg)
{
    refresh(arg);
}

/* ---- open, close, status ---- */

static struct runtime *docker_open(const struct runtime_env *env, struct error *e)
{
    (void)e; /* an engine that is not there yet is asked again */
    struct runtime *rt = mem_alloc(sizeof(*rt));
    rt->env = *env;
    rt->engine = docker_engine_new(env->client, env->class->docker_socket);
    timer_init(&rt->refresh, env->loop, refresh, rt);
    LIST_INIT(&rt->stops);
    LIST_INIT(&rt->listings);
    later_init(&rt->later, env->loop);
    rt->events = docker_events_open(&(struct docker_events_env){.loop = env->loop,
                                                                .engine = rt->engine,
                                                                .owner = env->owner,
                                                                .on_event = on_event,
                                                                .on_open = on_open,
                                                                .arg = rt});
    return rt;
}

static void drop_ops(struct runtime *rt)
{
    struct stop *s;
    struct listing *l;
    while ((s = LIST_FIRST(&rt->stops)) != NULL) {
        LIST_REMOVE(s, entry);
        timer_stop(&s->retry);
        if (s->call != NULL)
            docker_cancel(s->call);
        free(s);
    }
    while ((l = LIST_FIRST(&rt->listings)) != NULL) {
        LIST_REMOVE(l, entry);
        docker_cancel(l->call);
        free(l);
    }
}

static void docker_close(struct runtime *rt)
{
    struct box *b, *next;
    docker_events_close(rt->events);
    if (rt->pull != NULL)
        docker_pull_cancel(rt->pull);
    drop_ops(rt);
    HASH_ITER (hh, rt->boxes, b, next)
        forget(b);
    timer_stop(&rt->refresh);
    later_drop(&rt->later);
    docker_engine_free(rt->engine);
    free(rt);
}

static json_t *docker_status(struct runtime *rt)
{
    size_t alive = 0;
    struct box *b, *next;
    HASH_ITER (hh, rt->boxes, b, next)
        alive += b->phase == PHASE_LIVE;
    return json_pack("{s:s, s:s, s:b, s:i, s:I, s:I, s:I, s:b}", "name", "docker",
                     "api_version", docker_engine_version(rt->engine), "connected",
                     (int)docker_events_connected(rt->events), "reconnects",
                     (int)docker_events_reconnects(rt->events), "containers", (json_int_t)alive,
                     "addresses_asked", (json_int_t)rt->addresses_asked, "addresses_known",
                     (json_int_t)rt->addresses_known, "pulling", (int)(rt->pull != NULL));
}

const struct runtime_ops runtime_docker = {
    .name = "docker",
    .open = docker_open,
    .close = docker_close,
    .launch = docker_launch,
    .adopt = docker_adopt,
    .stop = docker_stop,
    .release = docker_release,
    .list = docker_list,
    .status = docker_status,
};
