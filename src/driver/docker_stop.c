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
    runtime_done_fn *done = s->done;
    void *arg = s->arg;
    turn_away(s->rt, s->key, e == NULL);
    LIST_REMOVE(s, entry);
    timer_stop(&s->retry);
    free(s);
    done(arg, e);
}

static void removed(void *arg, const struct http_answer *answer)
{
    struct docker_stop *s = arg;
    struct error e = {0};
    s->call = NULL;
    if (answer->status == 204 || answer->status == 404) {
        end_stop(s, NULL);
    } else if (answer->status == 409 && ++s->tries < REMOVE_TRIES) { /* somebody does it */
        timer_arm(&s->retry, REMOVE_RETRY_MS);
    } else {
        docker_explain(answer, "remove", &e);
        end_stop(s, &e);
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
    struct error e = {0};
    s->call = NULL;
    bool ended = answer->status == 204 || answer->status == 304;
    if (answer->status == 404 || (ended && s->keep)) {
        end_stop(s, NULL);
    } else if (ended) {
        remove_container(s);
    } else {
        docker_explain(answer, "stop", &e);
        end_stop(s, &e);
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
    s->rt = rt;
    s->keep = keep;
    s->done = done;
    s->arg = arg;
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
