/* Containers of Docker or Podman: what the runtime's parts are joined to. */
#include <stdlib.h>
#include "base/mem.h"
#include "driver/docker_box.h"

static void docker_adopt(struct runtime *rt, const struct container *c)
{
    if (!docker_key_valid(c->id) || docker_box_find(rt, c->id) != NULL)
        return;
    struct docker_box *b = docker_box_new(rt, c->id, DOCKER_LIVE);
    b->container = *c;
    timer_arm(&rt->refresh, 0); /* one listing for all that are adopted now */
}

static void docker_look(struct runtime *rt, const struct container *c)
{
    struct docker_box *b = docker_box_find(rt, c->id);
    if (b != NULL && b->phase == DOCKER_LIVE)
        docker_address_check(b);
}

/* The engine gave the port back when the container ended. */
static void docker_release(struct runtime *rt, const struct container *c)
{
    struct docker_box *b = docker_box_find(rt, c->id);
    if (b != NULL && b->phase == DOCKER_DEAD)
        docker_box_forget(b);
}

static void on_event(void *arg, const struct docker_event *event)
{
    docker_box_event(arg, event);
}

static void on_open(void *arg)
{
    struct runtime *rt = arg;
    rt->events_opened_ms = loop_wall_ms(rt->env.loop);
    docker_list_refresh(rt);
}

static struct runtime *docker_open(const struct runtime_env *env, struct error *e)
{
    (void)e; /* an engine that is not there yet is asked again */
    struct runtime *rt = mem_alloc(sizeof(*rt));
    rt->env = *env;
    rt->engine = docker_engine_new(env->client, env->class->docker_socket);
    timer_init(&rt->refresh, env->loop, docker_list_refresh, rt);
    LIST_INIT(&rt->pulls);
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

static void docker_close(struct runtime *rt)
{
    struct docker_box *b, *next;
    docker_events_close(rt->events);
    docker_pull_drop(&rt->pulls);
    docker_stop_drop(rt);
    docker_list_drop(rt);
    HASH_ITER (hh, rt->boxes, b, next)
        docker_box_forget(b);
    timer_stop(&rt->refresh);
    later_drop(&rt->later);
    docker_engine_free(rt->engine);
    free(rt);
}

static json_t *docker_status(struct runtime *rt)
{
    json_int_t alive = 0;
    struct docker_box *b, *next;
    HASH_ITER (hh, rt->boxes, b, next)
        alive += b->phase == DOCKER_LIVE;
    return json_pack("{s:s, s:s, s:b, s:i, s:I, s:o, s:b}", "name", "docker", "api_version",
                     docker_engine_version(rt->engine), "connected",
                     (int)docker_events_connected(rt->events), "reconnects",
                     (int)docker_events_reconnects(rt->events), "containers", alive,
                     "endpoint_cache", docker_address_status(rt), "pulling",
                     (int)!LIST_EMPTY(&rt->pulls));
}

const struct runtime_ops runtime_docker = {
    .name = "docker",
    .open = docker_open,
    .close = docker_close,
    .launch = docker_launch,
    .clear = docker_clear,
    .adopt = docker_adopt,
    .stop = docker_stop,
    .look = docker_look,
    .release = docker_release,
    .list = docker_list,
    .status = docker_status,
};
