/* Every mishap at every step of a cleanup, alone and after every other one, each in a world of
 * its own with one session. The seed is the number of the combination. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "books.h"
#include "scenario.h"
#include "sim_aws.h"
#include "trap.h"

#define CLOSED_WITHIN_MS (20 * 60 * 1000)
#define ANSWER_KNOWN_MS 1000
#define MAX_TRAPS 64

#define OF(mishap) (1u << MISHAP_##mishap)
#define ANSWERS (OF(ERROR) | OF(REFUSED) | OF(ANSWER_LOST) | OF(LATE))
#define ENDS (OF(DEATH) | OF(CRASH))

/* What can go wrong where; a balancer's restart wherever there is one that can. */
static const unsigned mishaps_at[MOMENTS] = {
    [MOMENT_END] = ENDS | OF(AWAY),
    [MOMENT_COMPLETE] = ANSWERS | ENDS | OF(AWAY),
    [MOMENT_PROGRESS] = ANSWERS | ENDS | OF(AWAY),
    [MOMENT_UPLOAD] = OF(ERROR) | OF(LATE) | ENDS | OF(AWAY),
    [MOMENT_DEREGISTER] = ANSWERS | ENDS | OF(AWAY),
    [MOMENT_DRAIN] = ANSWERS | ENDS | OF(AWAY),
    [MOMENT_STOP] = ANSWERS | ENDS | OF(AWAY),
    [MOMENT_REMOVE] = ANSWERS | OF(CRASH) | OF(AWAY), /* there is nothing left to die */
    [MOMENT_RELEASE] = OF(CRASH),
};

enum {
    DIRECT_WORLDS = 468,
    HAPROXY_WORLDS = 1852,
    PLAIN_WORLDS = 1544,
    ALB_WORLDS = 1560,
    DOCKER_WORLDS = 868,
    STATIC_WORLDS = 604
};

enum kind { DIRECT = 1, HAPROXY = 2, PLAIN = 4, ALB = 8, DOCKER = 16, STATIC = 32 };

/* What a class is like, and how many worlds that makes. */
struct shape {
    enum kind kind;
    unsigned worlds;
    bool balancer, restarts; /* restarts: and forgets */
    bool engine;             /* a stop is a call, not a signal */
    bool removes;            /* and another call follows it */
    bool sequential;         /* the balancer comes after the upload */
};

static struct trap chosen[2];
static enum kind chosen_kind;
static bool is_pair, is_last;
static unsigned alone, pairs, struck_both, must_strike, lost_by_death;

/* ---- the combinations ---- */

static unsigned mishaps_of(enum moment m, const struct shape *shape)
{
    if ((m == MOMENT_DEREGISTER || m == MOMENT_DRAIN) && !shape->balancer)
        return 0;
    if (m == MOMENT_REMOVE && !shape->removes)
        return 0;
    unsigned some = mishaps_at[m] | (shape->restarts ? OF(BALANCER) : 0);
    if (m == MOMENT_STOP && !shape->engine) /* a signal has no answer */
        some &= ~(OF(ERROR) | OF(REFUSED) | OF(ANSWER_LOST) | OF(AWAY));
    return some;
}

static unsigned list_traps(struct trap *list, const struct shape *shape)
{
    unsigned n = 0;
    for (unsigned m = 0; m < MOMENTS; m++)
        for (unsigned k = 0; k < MISHAPS; k++)
            if (mishaps_of((enum moment)m, shape) & (1u << k))
                list[n++] = (struct trap){(enum moment)m, (enum mishap)k};
    return n;
}

/* False: there will be no such moment any more. */
static bool can_follow(const struct trap *first, const struct trap *second,
                       const struct shape *shape)
{
    bool uploaded = first->moment >= MOMENT_STOP || first->mishap == MISHAP_DEATH ||
                    (shape->sequential && first->moment >= MOMENT_DEREGISTER);
    if (first->moment == MOMENT_RELEASE || second->moment == MOMENT_END)
        return false;
    return !uploaded || second->moment >= MOMENT_DEREGISTER;
}

/* First each alone, then the pairs. Gives the number of all. */
static unsigned combine(unsigned wanted, const struct shape *shape, struct trap out[2])
{
    struct trap list[MAX_TRAPS];
    unsigned n = list_traps(list, shape), number = n;
    if (wanted < n)
        out[0] = out[1] = list[wanted];
    for (unsigned i = 0; i < n * n; i++) {
        const struct trap *first = &list[i / n], *second = &list[i % n];
        if (!can_follow(first, second, shape))
            continue;
        if (number++ == wanted) {
            out[0] = *first;
            out[1] = *second;
        }
    }
    alone = n;
    pairs = number - n;
    return number;
}

static void choose(const struct shape *shape)
{
    unsigned number = (unsigned)((world.seed - 1) % shape->worlds);
    unsigned all = combine(number, shape, chosen);
    is_pair = number >= alone;
    chosen_kind = shape->kind;
    if (all != shape->worlds)
        world_violate("SIM", "%u combinations in place of %u", all, shape->worlds);
    if (number == 0)
        lost_by_death = struck_both = must_strike = 0;
    is_last = number + 1 == all;
    traps_set(chosen, is_pair ? 2 : 1);
    world_log("%s at %s", mishap_names[chosen[0].mishap], moment_names[chosen[0].moment]);
    if (is_pair)
        world_log("then %s at %s", mishap_names[chosen[1].mishap],
                  moment_names[chosen[1].moment]);
}

/* ---- the worlds ---- */

static void set_one(struct settings_of_world *s)
{
    s->lives = 1;
    s->check_interval_ms = 500;
    container_habits.upload_min_ms = 400;
    container_habits.upload_max_ms = 600;
}

static void set_cleanup_haproxy(struct settings_of_world *s)
{
    set_one(s);
    s->nodes = 1;
    choose(&(struct shape){
        .kind = HAPROXY, .worlds = HAPROXY_WORLDS, .balancer = true, .restarts = true});
}

static void set_cleanup_plain(struct settings_of_world *s)
{
    set_one(s);
    s->nodes = 1;
    s->plain = true;
    choose(&(struct shape){PLAIN, PLAIN_WORLDS, .balancer = true, .restarts = true,
                           .sequential = true});
}

static void set_cleanup_direct(struct settings_of_world *s)
{
    set_one(s);
    choose(&(struct shape){.kind = DIRECT, .worlds = DIRECT_WORLDS});
}

static void set_cleanup_alb(struct settings_of_world *s)
{
    set_one(s);
    s->ecs = true;
    s->groups = 1;
    choose(
        &(struct shape){.kind = ALB, .worlds = ALB_WORLDS, .balancer = true, .engine = true});
}

static void set_cleanup_docker(struct settings_of_world *s)
{
    set_one(s);
    s->docker = true;
    choose(&(struct shape){
        .kind = DOCKER, .worlds = DOCKER_WORLDS, .engine = true, .removes = true});
}

static void set_cleanup_static(struct settings_of_world *s)
{
    set_one(s);
    s->static_hosts = 1;
    choose(&(struct shape){.kind = STATIC, .worlds = STATIC_WORLDS, .engine = true});
}

/* One execution has left an artifact and another one is at it when the session closes. */
static void begin_cleanup(void)
{
    struct plan p = {.tenant = "tenant-a",
                     .close_ms = settings.ecs     ? 40000
                                 : settings.plain ? 6000
                                                  : 3000,
                     .executions = 2,
                     .execution = {{.takes_ms = 20, .artifact = true, .named = true},
                                   {.after_ready_ms = 100, .takes_ms = 200000, .named = true}}};
    life_new(&p);
}

/* ---- which mishaps strike ---- */

#define AT(moment) (1u << MOMENT_##moment)
#define ANY (~0u)
#define BUT(kind) (~(unsigned)(kind))
#define UPLOADING (AT(COMPLETE) | AT(PROGRESS) | AT(UPLOAD))
#define BEFORE_STOP (AT(END) | UPLOADING | AT(DEREGISTER) | AT(DRAIN))
#define SIGNALLED (DIRECT | HAPROXY | PLAIN)
#define SIDE_BY_SIDE (HAPROXY | ALB) /* deregistered while it uploads */

/* After these mishaps at these moments those others do not come any more, or not each time; all
 * that is not here must. */
static const struct absence {
    unsigned kinds, at, mishaps, missing;
} absences[] = {
    /* The upload is begun by then, and only a failed one or a crash begins it again. */
    {BUT(PLAIN), AT(PROGRESS), ANSWERS, AT(COMPLETE)},
    {HAPROXY | PLAIN, AT(UPLOAD), OF(BALANCER), AT(COMPLETE)},
    {HAPROXY, AT(COMPLETE) | AT(PROGRESS), OF(BALANCER), AT(COMPLETE)},
    {SIDE_BY_SIDE, AT(DEREGISTER) | AT(DRAIN), ANY & ~OF(CRASH), AT(COMPLETE)},
    /* It goes on to its end whatever becomes of us, and is asked for again at most. */
    {ANY, AT(UPLOAD), OF(CRASH) | OF(BALANCER), AT(UPLOAD)},
    {HAPROXY, AT(UPLOAD), OF(BALANCER), AT(PROGRESS)}, /* it may be over by the next look */
    /* A plain container is asked how far it is only while the balancer does not lead to it, or
     * when nobody knows whether it was told, and is told but once; what is known of that a
     * crash may take along, and user code may end before the next start. */
    {PLAIN, AT(COMPLETE), OF(ANSWER_LOST) | OF(LATE), AT(COMPLETE)},
    {PLAIN, AT(COMPLETE), OF(ERROR) | OF(REFUSED) | OF(AWAY), AT(PROGRESS)},
    {PLAIN, AT(UPLOAD), OF(ERROR) | OF(LATE) | OF(AWAY), AT(PROGRESS)},
    {PLAIN, UPLOADING, OF(CRASH), AT(COMPLETE) | AT(PROGRESS)},
    {PLAIN, AT(END), OF(CRASH), AT(PROGRESS)},
    /* A target is taken out as soon as the session closes, and once. */
    {HAPROXY, AT(PROGRESS), ANY, AT(DEREGISTER)},
    {SIDE_BY_SIDE, AT(UPLOAD), ANY, AT(DEREGISTER)},
    {SIDE_BY_SIDE | PLAIN, AT(DRAIN) | AT(STOP), ANY, AT(DEREGISTER)},
    {SIDE_BY_SIDE | PLAIN, AT(DEREGISTER), ENDS, AT(DEREGISTER)},
    /* HAProxy has deleted it by then, or has forgotten it in a restart. */
    {HAPROXY, AT(UPLOAD), ANY, AT(DRAIN)},
    {HAPROXY | PLAIN, AT(STOP), ANY, AT(DRAIN)},
    {HAPROXY | PLAIN, AT(DRAIN), ENDS, AT(DRAIN)},
    {HAPROXY, AT(END) | AT(COMPLETE) | AT(PROGRESS) | AT(DEREGISTER), OF(BALANCER), AT(DRAIN)},
    {PLAIN, AT(DEREGISTER), OF(BALANCER), AT(DRAIN)},
    {PLAIN, AT(UPLOAD), OF(BALANCER), AT(DEREGISTER)},
    /* A draining target is waited for while, and after, all else is done. */
    {ALB, AT(DRAIN), ANY, UPLOADING | AT(STOP)},
    {PLAIN, AT(DRAIN), ANY, AT(STOP)},
    /* The dead are not stopped, but are left for a look where they have lost something; and
     * who was told to stop is not told again. */
    {BUT(DOCKER), BEFORE_STOP, OF(DEATH), AT(STOP)},
    {DOCKER, BEFORE_STOP, OF(DEATH), AT(REMOVE)},
    {BUT(STATIC), AT(STOP), OF(DEATH), AT(STOP)},
    {SIGNALLED | ALB, AT(STOP), OF(LATE), AT(STOP)},
    {SIGNALLED, AT(STOP), OF(BALANCER), AT(STOP)},
    {BUT(DOCKER), AT(STOP), OF(CRASH), AT(STOP)},
    {DOCKER, AT(REMOVE), OF(ANSWER_LOST) | OF(LATE) | OF(CRASH), AT(REMOVE)},
};

static bool must_follow(void)
{
    for (size_t i = 0; i < sizeof absences / sizeof *absences; i++) {
        const struct absence *a = &absences[i];
        if ((a->kinds & chosen_kind) && (a->at & 1u << chosen[0].moment) &&
            (a->mishaps & 1u << chosen[0].mishap) && (a->missing & 1u << chosen[1].moment))
            return false;
    }
    return true;
}

/* A mishap that does not strike shows nothing. */
static void judge_strikes(void)
{
    size_t struck = traps_struck(), wanted = is_pair && must_follow() ? 2 : 1;
    if (struck < wanted)
        world_violate("SIM", "%zu of %zu mishaps struck", struck, wanted);
    struck_both += struck == 2;
    must_strike += is_pair && wanted == 2;
}

/* ---- what is left ---- */

static bool says_lost(const struct life *life)
{
    char *text = coordinator ? cleat_session(coordinator, NULL, life->session) : NULL;
    json_t *o = text ? json_loads(text, 0, NULL) : NULL, *step;
    const char *result = "";
    size_t i;
    json_array_foreach (json_object_get(o, "cleanup"), i, step)
        if (strcmp(json_string_value(json_object_get(step, "name")), "upload") == 0)
            result = json_string_value(json_object_get(step, "result"));
    bool lost = strcmp(result, "lost") == 0;
    if (!lost && strcmp(result, "ok") != 0)
        world_violate("I4", "the document does not tell whether the upload worked: %s",
                      text ? text : "there is none");
    json_decref(o);
    free(text);
    return lost;
}

/* No mishap lasts as long as the salvage limit. */
static void judge_artifacts(const struct life *life, const struct container *c)
{
    bool said = says_lost(life), lost = c->uploaded < c->artifacts;
    if (lost && !said)
        world_violate("I4", "an artifact is lost and nobody says so");
    if (!said)
        return;
    if (traps_killed_unconfirmed())
        lost_by_death++;
    else
        world_violate("I4", "the upload is said to be lost although its container lived");
}

/* Its own address tells that it has uploaded. */
static void judge_lost_answer(const struct container *c)
{
    bool is_lost =
        chosen[0].moment == MOMENT_COMPLETE && chosen[0].mishap == MISHAP_ANSWER_LOST;
    int64_t after_ms = traps_uploaded_ms() - c->uploaded_ms;
    if (chosen_kind == PLAIN && is_lost && !is_pair &&
        (after_ms < 0 || after_ms > ANSWER_KNOWN_MS))
        world_violate("PLAIN", "the upload is known after %" PRId64 " ms", after_ms);
}

static void print_all(void)
{
    printf("  %u mishaps alone and %u pairs; %u struck both, %u had to; %u uploads died with "
           "their container\n",
           alone, pairs, struck_both, must_strike, lost_by_death);
}

static void judge_cleanup(void)
{
    const struct life *life = lives;
    if (!life->was_ready || !containers || !containers->artifacts) {
        world_violate("SIM", "the session had nothing to lose");
        return;
    }
    judge_artifacts(life, containers);
    judge_strikes();
    judge_lost_answer(containers);
    if (life->closed_ms - life->closing_ms > CLOSED_WITHIN_MS)
        world_violate("I8", "the cleanup took %" PRId64 " s",
                      (life->closed_ms - life->closing_ms) / 1000);
    if (is_last)
        print_all();
}

const struct scenario cleanup_scenarios[] = {
    {"cleanup-direct", "every mishap at every step of a cleanup, and every pair of them",
     set_cleanup_direct, begin_cleanup, judge_cleanup, DIRECT_WORLDS},
    {"cleanup-haproxy", "the same behind HAProxy", set_cleanup_haproxy, begin_cleanup,
     judge_cleanup, HAPROXY_WORLDS},
    {"cleanup-plain", "the same with a container that proves nothing", set_cleanup_plain,
     begin_cleanup, judge_cleanup, PLAIN_WORLDS},
    {"cleanup-alb", "the same for a task behind a load balancer", set_cleanup_alb,
     begin_cleanup, judge_cleanup, ALB_WORLDS},
    {"cleanup-docker", "the same on a Docker engine", set_cleanup_docker, begin_cleanup,
     judge_cleanup, DOCKER_WORLDS},
    {"cleanup-static", "the same on a static host", set_cleanup_static, begin_cleanup,
     judge_cleanup, STATIC_WORLDS},
    {NULL, NULL, NULL, NULL, NULL, 0},
};
