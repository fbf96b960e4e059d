/* Launch: create, start, look; each may find that it was done before. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/backoff.h"
#include "base/mem.h"
#include "driver/docker_box.h"
#include "driver/docker_fields.h"
#include "http/aws.h"
#include "http/json.h"

#define CLEAR_BASE_MS 1000
#define CLEAR_CAP_MS 60000
#define CLEAR_MISSING 4 /* times that what an unanswered create may make was not there */
#define ROUND_MS 250
#define ROUNDS 120 /* of create, start, look */

static void create(struct docker_box *b);
static void start(struct docker_box *b);
static void look(struct docker_box *b);

/* There is surely nothing of ours under that name. */
static void refuse(struct docker_box *b, const struct error *e)
{
    struct runtime *rt = b->rt;
    char key[KEY_SIZE];
    mem_copy_string(key, sizeof(key), b->container.id);
    b->phase = DOCKER_DEAD;
    docker_box_answer(b, e);
    b = docker_box_find(rt, key);
    if (b != NULL && b->phase == DOCKER_DEAD)
        docker_box_forget(b);
}

void docker_launch_failed(struct docker_box *b, const struct error *e)
{
    b->phase = DOCKER_CLEARING;
    b->tries = b->missing = 0;
    docker_box_answer(b, e);
}

/* Once more from the beginning, a little later. The name may be taken while its container
 * cannot be seen: a create whose asker has died is still under way. */
static void go_round(struct docker_box *b)
{
    struct error e;
    if (++b->rounds < ROUNDS) {
        timer_arm(&b->retry, ROUND_MS);
        return;
    }
    error_set(&e, ERR_LAUNCH, "container %s is neither there nor can it be made",
              b->container.id);
    docker_launch_failed(b, &e);
}

/* ---- the image */

static void tell_progress(void *arg, const struct docker_pull *pull, const char *text)
{
    struct runtime *rt = arg;
    struct docker_box *b, *next;
    HASH_ITER (hh, rt->boxes, b, next)
        if (b->pull == pull && rt->env.on_progress != NULL)
            rt->env.on_progress(rt->env.arg, b->container.id, text);
}

static struct docker_box *next_waiting(struct runtime *rt, const struct docker_pull *pull)
{
    struct docker_box *b, *next;
    HASH_ITER (hh, rt->boxes, b, next)
        if (b->pull == pull)
            return b;
    return NULL;
}

static void pulled(void *arg, const struct docker_pull *pull, const struct error *e)
{
    struct runtime *rt = arg;
    struct docker_box *b;
    while ((b = next_waiting(rt, pull)) != NULL) {
        b->pull = NULL;
        b->pulled = true;
        if (e != NULL)
            refuse(b, e);
        else
            create(b);
    }
}

/* One pull for all that wait for the same image. */
static void pull_image(struct docker_box *b)
{
    struct runtime *rt = b->rt;
    b->pull = docker_pull_join(
        &rt->pulls,
        &(struct docker_pull_env){.loop = rt->env.loop,
                                  .engine = rt->engine,
                                  .image = b->image,
                                  .timeout_ms = rt->env.class->create_timeout_s * 1000,
                                  .on_progress = tell_progress,
                                  .done = pulled,
                                  .arg = rt});
    if (rt->env.on_progress != NULL)
        rt->env.on_progress(rt->env.arg, b->container.id, docker_pull_text(b->pull));
}

/* ---- create, start, look */

static void created(void *arg, const struct http_answer *answer)
{
    struct docker_box *b = arg;
    struct error e = {0};
    b->call = NULL;
    if (answer->status == 201) {
        start(b);
    } else if (answer->status == 409) {
        b->unstarted = true;
        look(b);
    } else if (answer->status == 404 && !b->pulled) {
        pull_image(b);
    } else {
        docker_explain(answer, "create", &e);
        b->unanswered = answer->status < 400 && answer->sent;
        if (b->unanswered)
            docker_launch_failed(b, &e);
        else
            refuse(b, &e);
    }
}

static void create(struct docker_box *b)
{
    struct runtime *rt = b->rt;
    char *path = mem_printf("/containers/create?name=%s", b->container.id);
    b->call = docker_ask(
        rt->engine,
        &(struct docker_request){
            .method = "POST", .path = path, .body = b->body, .timeout_ms = docker_work_ms(rt)},
        created, b);
    free(path);
}

static void started(void *arg, const struct http_answer *answer)
{
    struct docker_box *b = arg;
    struct error e = {0};
    b->call = NULL;
    if (answer->status == 204 || answer->status == 304) {
        look(b);
    } else if (answer->status == 404 && answer->error.code == ERR_NONE) {
        go_round(b);
    } else {
        docker_explain(answer, "start", &e);
        docker_launch_failed(b, &e);
    }
}

static void start(struct docker_box *b)
{
    b->call = docker_about(b->rt, "POST", b->container.id, "/start", docker_work_ms(b->rt),
                           started, b);
}

static void judge(struct docker_box *b, const struct docker_view *v)
{
    struct error e;
    if (strcmp(v->key, b->container.id) != 0) {
        error_set(&e, ERR_PERMANENT, "somebody else's container is named %s", b->container.id);
        refuse(b, &e);
    } else if (v->status == DOCKER_CREATED && b->unstarted) {
        error_set(&e, ERR_LAUNCH, "container %s was made earlier and never started",
                  b->container.id);
        docker_launch_failed(b, &e);
    } else if (v->status == DOCKER_CREATED && ++b->rounds < ROUNDS) {
        start(b);
    } else if (v->status == DOCKER_ENDED || b->died) {
        docker_box_died(b, b->died ? b->cause : v->cause);
    } else if (v->ip[0] == '\0') {
        error_set(&e, ERR_LAUNCH, "container %s publishes no port on network %s",
                  b->container.id, b->rt->env.class->docker_network);
        docker_launch_failed(b, &e);
    } else {
        b->phase = DOCKER_LIVE;
        docker_address_set(b, v, b->asked_ms);
        docker_box_answer(b, NULL);
    }
}

static void looked(void *arg, const struct http_answer *answer)
{
    struct docker_box *b = arg;
    struct docker_view v;
    struct error e = {0};
    b->call = NULL;
    if (answer->status == 404) {
        go_round(b);
    } else if (answer->status == 200 && docker_read_inspect(answer->body, answer->body_len,
                                                            b->rt->env.class->port, &v)) {
        judge(b, &v);
    } else {
        docker_explain(answer, "inspect", &e);
        docker_launch_failed(b, &e);
    }
}

static void look(struct docker_box *b)
{
    b->rt->misses++;
    b->asked_ms = loop_wall_ms(b->rt->env.loop);
    b->call =
        docker_about(b->rt, "GET", b->container.id, "/json", docker_ask_ms(b->rt), looked, b);
}

/* ---- what a launch begins with */

static char *make_body(const struct runtime *rt, const struct launch *l)
{
    json_t *o = docker_create_body(rt->env.class, l,
                                   rt->env.aws != NULL ? aws_region(rt->env.aws) : "");
    char *text = js_text(o);
    json_decref(o);
    return text;
}

/* A box that is there, whatever it is up to. */
static void join(struct docker_box *b, const struct launch *l, runtime_launched_fn *done,
                 void *arg)
{
    struct error e;
    if (docker_address_holds(b)) {
        b->rt->hits++;
        later_launched(&b->rt->later, done, arg, NULL, &b->container);
    } else if (b->phase == DOCKER_LIVE) {
        docker_box_wait(b, done, arg);
        docker_address_check(b);
    } else if (b->phase == DOCKER_LAUNCHING) {
        b->rt->hits++;
        docker_box_wait(b, done, arg);
    } else if (b->phase == DOCKER_CLEARING) {
        /* never under a name that is being removed: the engine may do it once more, later */
        error_set(&e, ERR_LAUNCH, "what was left of container %s is being removed", l->key);
        later_launched(&b->rt->later, done, arg, &e, NULL);
    } else {
        error_set(&e, ERR_DIED, "container %s has ended or is being stopped", l->key);
        later_launched(&b->rt->later, done, arg, &e, NULL);
    }
}

static void artifacts_made(void *arg, const struct error *e)
{
    struct docker_box *b = arg;
    b->artifacts = NULL;
    if (e != NULL)
        docker_launch_failed(b, e); /* a life before may have made a container */
    else
        create(b);
}

static void begin(struct runtime *rt, const struct launch *l, runtime_launched_fn *done,
                  void *arg)
{
    struct error e = {0};
    struct docker_box *b = docker_box_new(rt, l->key, DOCKER_LAUNCHING);
    b->artifacts = docker_artifacts_make(rt, l->session, artifacts_made, b, &e);
    if (e.code != ERR_NONE) {
        docker_box_forget(b);
        later_launched(&rt->later, done, arg, &e, NULL);
        return;
    }
    docker_box_wait(b, done, arg);
    b->body = make_body(rt, l);
    b->image = mem_strdup(rt->env.class->image);
    if (b->artifacts == NULL)
        create(b);
}

void docker_launch(struct runtime *rt, const struct launch *l, runtime_launched_fn *done,
                   void *arg)
{
    struct error e = {0};
    struct docker_box *b = docker_key_valid(l->key) ? docker_box_find(rt, l->key) : NULL;
    if (!docker_key_valid(l->key))
        error_set(&e, ERR_INVALID, "\"%s\" is no valid key", l->key);
    if (e.code != ERR_NONE)
        later_launched(&rt->later, done, arg, &e, NULL);
    else if (b != NULL)
        join(b, l, done, arg);
    else
        begin(rt, l, done, arg);
}

/* ---- clearing away what a failed launch may have left */

static void clear_again(struct docker_box *b)
{
    timer_arm(&b->retry, backoff_ms(CLEAR_BASE_MS, ++b->tries, CLEAR_CAP_MS));
}

static void cleared(void *arg, const struct http_answer *answer)
{
    struct docker_box *b = arg;
    b->call = NULL;
    bool runs = b->unstarted && answer->status == 409;
    if (runs) {
        docker_box_forget(b); /* started after all: the next listing shows it */
    } else if (answer->status != 204 && answer->status != 404) {
        clear_again(b);
    } else if (answer->status == 404 && b->unanswered && ++b->missing <= CLEAR_MISSING) {
        clear_again(b);
    } else {
        docker_box_forget(b);
    }
}

static void remove_left(struct docker_box *b)
{
    /* Without force the engine refuses to remove what runs (Docker Engine API, ContainerDelete,
     * 409): a start whose asker has died may still be under way. */
    b->call =
        docker_about(b->rt, "DELETE", b->container.id, b->unstarted ? "?v=1" : "?force=1&v=1",
                     docker_work_ms(b->rt), cleared, b);
}

void docker_launch_again(void *box)
{
    struct docker_box *b = box;
    if (b->phase == DOCKER_CLEARING)
        remove_left(b);
    else
        create(b);
}

bool docker_awaits_clear(const struct docker_box *b)
{
    return b->phase == DOCKER_CLEARING && b->call == NULL && !timer_armed(&b->retry);
}

void docker_clear(struct runtime *rt, const char *key)
{
    struct docker_box *b = docker_box_find(rt, key);
    if (b != NULL && docker_awaits_clear(b))
        remove_left(b);
}
