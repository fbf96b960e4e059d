#include "driver/docker_box.h"
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"

#define LAST_LINE_MS 2000

bool docker_key_valid(const char *key)
{
    size_t len =
        strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return len > 0 && len < KEY_SIZE && key[len] == '\0' && key[0] != '.';
}

/* ---- the table */

struct docker_box *docker_box_find(struct runtime *rt, const char *key)
{
    struct docker_box *b;
    HASH_FIND(hh, rt->boxes, key, strlen(key), b);
    return b;
}

struct docker_box *docker_box_new(struct runtime *rt, const char *key, enum docker_phase phase)
{
    struct docker_box *b = mem_alloc(sizeof(*b));
    b->rt = rt;
    b->phase = phase;
    b->seen = true;
    STAILQ_INIT(&b->waiters);
    mem_copy_string(b->container.id, sizeof(b->container.id), key);
    timer_init(&b->retry, rt->env.loop, docker_launch_again, b);
    HASH_ADD_KEYPTR(hh, rt->boxes, b->container.id, strlen(b->container.id), b);
    return b;
}

static void drop_recipe(struct docker_box *b)
{
    if (b->body != NULL)
        mem_wipe(b->body, strlen(b->body)); /* the secret is in it */
    free(b->body);
    free(b->image);
    b->body = b->image = NULL;
}

void docker_box_forget(struct docker_box *b)
{
    struct docker_waiter *w;
    while ((w = STAILQ_FIRST(&b->waiters)) != NULL) {
        STAILQ_REMOVE_HEAD(&b->waiters, entry);
        free(w);
    }
    if (b->call != NULL)
        docker_cancel(b->call);
    if (b->artifacts != NULL)
        docker_artifacts_drop(b->artifacts);
    timer_stop(&b->retry);
    drop_recipe(b);
    HASH_DEL(b->rt->boxes, b);
    free(b);
}

void docker_box_wait(struct docker_box *b, runtime_launched_fn *done, void *arg)
{
    struct docker_waiter *w = mem_alloc(sizeof(*w));
    w->done = done;
    w->arg = arg;
    STAILQ_INSERT_TAIL(&b->waiters, w, entry);
}

void docker_box_answer(struct docker_box *b, const struct error *e)
{
    struct docker_waiters waiters = STAILQ_HEAD_INITIALIZER(waiters);
    struct docker_waiter *w;
    struct container c = b->container;
    struct error copy = {0};
    if (e != NULL)
        copy = *e;
    STAILQ_CONCAT(&waiters, &b->waiters);
    drop_recipe(b);
    while ((w = STAILQ_FIRST(&waiters)) != NULL) {
        STAILQ_REMOVE_HEAD(&waiters, entry);
        w->done(w->arg, e != NULL ? &copy : NULL, e != NULL ? NULL : &c);
        free(w);
    }
}

/* ---- what is asked about one */

int64_t docker_ask_ms(const struct runtime *rt)
{
    return rt->env.class->step_timeout_s * 1000;
}

int64_t docker_work_ms(const struct runtime *rt)
{
    return 2 * docker_ask_ms(rt);
}

struct docker_call *docker_about(struct runtime *rt, const char *method, const char *key,
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

/* An engine that cannot be asked is no fault of the container's. */
void docker_explain(const struct http_answer *answer, const char *what, struct error *e)
{
    if (answer->error.code != ERR_NONE)
        error_set(e, ERR_LAUNCH, "%s: the engine does not answer: %.160s", what,
                  answer->error.message);
    else if (docker_refusal(answer->status, answer->body, answer->body_len, what, e) ==
             ERR_NONE)
        error_set(e, ERR_LAUNCH, "%s: the engine's answer (%d) makes no sense", what,
                  answer->status);
    /* 500 is what it also says when one container's own recipe is wrong */
    e->of_engine =
        answer->error.code != ERR_NONE || answer->status == 429 || answer->status > 500;
}

/* ---- deaths */

static void tell_death(struct docker_box *b)
{
    struct runtime *rt = b->rt;
    struct error e;
    if (STAILQ_EMPTY(&b->waiters)) {
        rt->env.on_exit(rt->env.arg, b->container.id, b->cause,
                        strcmp(b->cause, DOCKER_IN_ORDER) == 0);
        return;
    }
    error_set(&e, ERR_DIED, "container %s has ended: %s", b->container.id, b->cause);
    docker_launch_failed(b, &e);
}

static void last_line_read(void *arg, const struct http_answer *answer)
{
    struct docker_box *b = arg;
    char line[200];
    b->call = NULL;
    if (answer->status == 200) {
        docker_read_last_line(answer->body, answer->body_len, line, sizeof(line));
        log_warn("container.last_line", KV("container", b->container.id), KV("line", line));
    }
    tell_death(b);
}

/* Its last line is logged first: when it is removed that is lost. */
void docker_box_died(struct docker_box *b, const char *cause)
{
    bool killed = strcmp(cause, DOCKER_KILLED) == 0;
    if (b->phase == DOCKER_LIVE)
        b->phase = DOCKER_DEAD;
    else if (b->phase != DOCKER_LAUNCHING)
        return;
    mem_copy_string(b->cause, sizeof(b->cause),
                    b->out_of_memory && killed ? DOCKER_OUT_OF_MEMORY_CAUSE : cause);
    if (b->call != NULL)
        docker_cancel(b->call);
    b->call = docker_about(b->rt, "GET", b->container.id, "/logs?stdout=1&stderr=1&tail=5",
                           LAST_LINE_MS, last_line_read, b);
}

/* One that is being launched is judged by the launch, which sees it next. */
void docker_box_event(struct runtime *rt, const struct docker_event *event)
{
    struct docker_box *b = docker_box_find(rt, event->key);
    if (b == NULL)
        return;
    docker_address_doubt(b, event->time_ms);
    if (event->kind == DOCKER_OUT_OF_MEMORY)
        b->out_of_memory = true; /* perhaps only one process of user code's */
    if (event->kind != DOCKER_DIED)
        return;
    if (b->phase == DOCKER_LIVE) {
        docker_box_died(b, event->cause);
    } else if (b->phase == DOCKER_LAUNCHING && !b->died) {
        b->died = true;
        mem_copy_string(b->cause, sizeof(b->cause), event->cause);
    }
}
