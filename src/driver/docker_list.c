/* Listings, the core's and our own, and the truth about what lives. */
#include <stdlib.h>
#include "base/mem.h"
#include "driver/docker_box.h"
#include "driver/docker_fields.h"

#define REFRESH_MS 60000 /* finds what an engine made for an asker that had given up */
#define UNSTARTED_ASKS                                                                         \
    6 /* times as long as an answer may take: longer than create and start                     \
       */

struct docker_listing {
    LIST_ENTRY(docker_listing) entry;
    struct runtime *rt;
    struct docker_call *call;
    int64_t asked_ms;      /* wall clock */
    runtime_each_fn *each; /* NULL: our own */
    runtime_done_fn *done;
    void *arg;
};

/* A listing may be older than a launch: one by one is certain. */
static void check_unseen(struct runtime *rt)
{
    struct docker_box *b, *next;
    HASH_ITER (hh, rt->boxes, b, next)
        if (b->phase == DOCKER_LIVE && !b->seen)
            docker_address_check(b);
}

/* Nothing ever ran in one that was never started. A young one may be about to be, by another
 * class that uses this engine. */
static void drop_unstarted(struct runtime *rt, const struct docker_view *v)
{
    int64_t age_ms = loop_wall_ms(rt->env.loop) - v->created_s * 1000;
    if (docker_box_find(rt, v->key) != NULL || age_ms <= UNSTARTED_ASKS * docker_ask_ms(rt))
        return;
    struct docker_box *b = docker_box_new(rt, v->key, DOCKER_CLEARING);
    b->unstarted = true;
    docker_clear(rt, v->key);
}

static void list_one(void *arg, const struct docker_view *v)
{
    struct docker_listing *l = arg;
    struct container c = {.port = v->port};
    if (!docker_key_valid(v->key))
        return;
    if (v->status == DOCKER_CREATED) {
        drop_unstarted(l->rt, v);
        return;
    }
    struct docker_box *b = docker_box_find(l->rt, v->key);
    if (b != NULL && v->status == DOCKER_RUNNING)
        docker_address_listed(b, v, l->asked_ms);
    mem_copy_string(c.id, sizeof(c.id), v->key);
    mem_copy_string(c.ip, sizeof(c.ip), v->ip);
    if (l->each != NULL)
        l->each(l->arg, v->key, &c, v->status == DOCKER_RUNNING, v->label);
}

static void listed(void *arg, const struct http_answer *answer)
{
    struct docker_listing *l = arg;
    struct runtime *rt = l->rt;
    struct error e = {0};
    if (answer->status != 200 ||
        !docker_read_list(answer->body, answer->body_len, rt->env.class->port, list_one, l))
        docker_explain(answer, "list", &e);
    LIST_REMOVE(l, entry);
    timer_arm(&rt->refresh, e.code != ERR_NONE ? DOCKER_REFRESH_RETRY_MS : REFRESH_MS);
    if (e.code == ERR_NONE)
        check_unseen(rt);
    if (l->done != NULL)
        l->done(l->arg, e.code != ERR_NONE ? &e : NULL);
    free(l);
}

void docker_list(struct runtime *rt, runtime_each_fn *each, runtime_done_fn *done, void *arg)
{
    struct docker_listing *l = mem_alloc(sizeof(*l));
    struct docker_box *b, *next;
    char *path = docker_list_path(rt->env.owner);
    *l = (struct docker_listing){.rt = rt,
                                 .asked_ms = loop_wall_ms(rt->env.loop),
                                 .each = each,
                                 .done = done,
                                 .arg = arg};
    LIST_INSERT_HEAD(&rt->listings, l, entry);
    HASH_ITER (hh, rt->boxes, b, next)
        b->seen = b->phase != DOCKER_LIVE;
    l->call = docker_ask(rt->engine,
                         &(struct docker_request){
                             .method = "GET", .path = path, .timeout_ms = docker_ask_ms(rt)},
                         listed, l);
    free(path);
}

void docker_list_refresh(void *runtime)
{
    docker_list(runtime, NULL, NULL, NULL);
}

void docker_list_drop(struct runtime *rt)
{
    struct docker_listing *l;
    while ((l = LIST_FIRST(&rt->listings)) != NULL) {
        LIST_REMOVE(l, entry);
        docker_cancel(l->call);
        free(l);
    }
}
