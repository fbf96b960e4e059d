/* Stop, then remove: either may find that it was done before. */
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "driver/docker_box.h"

#define REMOVE_RETRY_MS 200
#define REMOVE_TRIES 50

struct docker_stop {
    LIST_ENTRY(docker_stop) entry;
    struct runtime *rt;
    char key[KEY_SIZE];
    bool keep;
    unsigned tries;
    struct docker_call *call;
    struct timer retry;
    struct error error;
    runtime_done_fn *done;
    void *arg;
};

/* Who launches it meanwhile hears of it, even when it still stands. */
static void turn_away(struct runtime *rt, const char *key, bool is_gone)
{
    struct error e;
    struct docker_box *b = docker_box_find(rt, key);
    if (b == NULL || b->phase != DOCKER_STOPPING)
        return;
    error_set(&e, ERR_DIED, "container %s was stopped", key);
    docker_box_answer(b, &e);
    b = docker_box_find(rt, key);
    if (is_gone && b != NULL && b->phase == DOCKER_STOPPING)
        docker_box_forget(b);
}

static void end_stop(struct docker_stop *s, const struct error *e)
{
    turn_away(s->rt, s->key, e == NULL);
    LIST_REMOVE(s, entry);
    timer_stop(&s->retry);
    s->done(s->arg, e);
    free(s);
}

static void asked_for_others(void *arg, const struct error *e)
{
    struct docker_stop *s = arg;
    s->error.of_engine = e != NULL && e->of_engine;
    end_stop(s, &s->error);
}

/* An engine that says nothing of one container may know all others. */
static void fail(struct docker_stop *s, const struct http_answer *answer, const char *what)
{
    docker_explain(answer, what, &s->error);
    if (answer->error.code != ERR_NONE)
        docker_list(s->rt, NULL, asked_for_others, s);
    else
        end_stop(s, &s->error);
}

static void removed(void *arg, const struct http_answer *answer)
{
    struct docker_stop *s = arg;
    s->call = NULL;
    if (answer->status == 204 || answer->status == 404) {
        end_stop(s, NULL);
    } else if (answer->status == 409 && ++s->tries < REMOVE_TRIES) { /* somebody does it */
        timer_arm(&s->retry, REMOVE_RETRY_MS);
    } else {
        fail(s, answer, "remove");
    }
}

static void remove_container(void *arg)
{
    struct docker_stop *s = arg;
    s->call = docker_about(s->rt, "DELETE", s->key, "?force=1&v=1", docker_work_ms(s->rt),
                           removed, s);
}

static void stopped(void *arg, const struct http_answer *answer)
{
    struct docker_stop *s = arg;
    s->call = NULL;
    bool ended = answer->status == 204 || answer->status == 304;
    if (answer->status == 404 || (ended && s->keep)) {
        end_stop(s, NULL);
    } else if (ended) {
        remove_container(s);
    } else {
        fail(s, answer, "stop");
    }
}

void docker_stop(struct runtime *rt, const struct container *c, bool keep,
                 runtime_done_fn *done, void *arg)
{
    struct error e;
    char rest[32];
    if (!docker_key_valid(c->id)) {
        error_set(&e, ERR_INVALID, "\"%s\" is no container of this runtime", c->id);
        later_finish(&rt->later, done, arg, &e);
        return;
    }
    struct docker_box *b = docker_box_find(rt, c->id);
    if (b != NULL &&
        (b->phase == DOCKER_LIVE || b->phase == DOCKER_DEAD || docker_awaits_clear(b))) {
        b->phase = DOCKER_STOPPING;
        if (b->call != NULL)
            docker_cancel(b->call);
        b->call = NULL;
    }
    struct docker_stop *s = mem_alloc(sizeof(*s));
    *s = (struct docker_stop){.rt = rt, .keep = keep, .done = done, .arg = arg};
    mem_copy_string(s->key, sizeof(s->key), c->id);
    timer_init(&s->retry, rt->env.loop, remove_container, s);
    LIST_INSERT_HEAD(&rt->stops, s, entry);
    int64_t grace_s = rt->env.class->stop_grace_s;
    snprintf(rest, sizeof(rest), "/stop?t=%lld", (long long)grace_s);
    s->call =
        docker_about(rt, "POST", s->key, rest, grace_s * 1000 + docker_work_ms(rt), stopped, s);
}

void docker_stop_drop(struct runtime *rt)
{
    struct docker_stop *s;
    while ((s = LIST_FIRST(&rt->stops)) != NULL) {
        LIST_REMOVE(s, entry);
        timer_stop(&s->retry);
        if (s->call != NULL)
            docker_cancel(s->call);
        free(s);
    }
}
