/* Addresses are cached: the event stream says when one may have changed, and when it was away
 * all are in doubt until a listing, or an inspect that all who want to know share, confirms
 * them. */
#include <string.h>
#include "base/mem.h"
#include "driver/docker_box.h"

#define DOUBT_MS 500 /* then one listing for all that have come into doubt */

bool docker_address_holds(const struct docker_box *b)
{
    const struct runtime *rt = b->rt;
    return b->phase == DOCKER_LIVE && b->confirmed_ms >= b->changed_ms &&
           b->confirmed_ms >= rt->events_opened_ms && docker_events_connected(rt->events);
}

static void confirm_soon(struct docker_box *b)
{
    struct timer *refresh = &b->rt->refresh;
    int64_t left_ms = refresh->at_ms - loop_now_ms(b->rt->env.loop);
    if (!timer_armed(refresh) || left_ms > DOUBT_MS)
        timer_arm(refresh, DOUBT_MS);
}

void docker_address_set(struct docker_box *b, const struct docker_view *v, int64_t asked_ms)
{
    mem_copy_string(b->container.ip, sizeof(b->container.ip), v->ip);
    b->container.port = v->port;
    b->confirmed_ms = asked_ms;
    if (!docker_address_holds(b))
        confirm_soon(b);
}

void docker_address_doubt(struct docker_box *b, int64_t wall_ms)
{
    if (wall_ms > b->changed_ms)
        b->changed_ms = wall_ms;
    if (b->phase == DOCKER_LIVE && !docker_address_holds(b))
        confirm_soon(b);
}

static bool is_same(const struct docker_box *b, const struct docker_view *v)
{
    return strcmp(b->container.ip, v->ip) == 0 && b->container.port == v->port;
}

static void checked(void *arg, const struct http_answer *answer)
{
    struct docker_box *b = arg;
    struct docker_view v;
    struct error e = {0};
    b->call = NULL;
    if (answer->status == 404) {
        docker_box_died(b, "it does not exist any more");
    } else if (answer->status != 200 || !docker_read_inspect(answer->body, answer->body_len,
                                                             b->rt->env.class->port, &v)) {
        docker_explain(answer, "inspect", &e);
        timer_arm(&b->rt->refresh, DOCKER_REFRESH_RETRY_MS);
        if (!STAILQ_EMPTY(&b->waiters))
            docker_launch_failed(b, &e);
    } else if (v.status != DOCKER_RUNNING) {
        docker_box_died(b, v.cause);
    } else if (!is_same(b, &v)) { /* another life of its, without what the first one knew */
        docker_box_died(b, "its address is another one than it had");
    } else {
        b->confirmed_ms = b->asked_ms;
        docker_box_answer(b, NULL);
    }
}

void docker_address_check(struct docker_box *b)
{
    if (b->call != NULL) {
        b->rt->hits++;
        return;
    }
    b->rt->misses++;
    b->asked_ms = loop_wall_ms(b->rt->env.loop);
    b->call =
        docker_about(b->rt, "GET", b->container.id, "/json", docker_ask_ms(b->rt), checked, b);
}

void docker_address_listed(struct docker_box *b, const struct docker_view *v, int64_t asked_ms)
{
    if (b->phase != DOCKER_LIVE || !is_same(b, v))
        return;
    b->rt->hits++;
    b->seen = true;
    if (asked_ms > b->confirmed_ms)
        b->confirmed_ms = asked_ms;
}

json_t *docker_address_status(const struct runtime *rt)
{
    json_int_t entries = 0;
    struct docker_box *b, *next;
    HASH_ITER (hh, rt->boxes, b, next)
        entries += docker_address_holds(b);
    double asked = (double)(rt->hits + rt->misses);
    return json_pack("{s:I, s:I, s:I, s:f}", "entries", entries, "hits", (json_int_t)rt->hits,
                     "misses", (json_int_t)rt->misses, "hit_rate",
                     asked > 0 ? (double)rt->hits / asked : 0.0);
}
