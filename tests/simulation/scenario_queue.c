/* Many who want more than there is: limits that hold at every instant, turns, and an order that
 * survives restarts. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "places.h"
#include "scenario.h"

#define TENANTS 5
#define USERS 5 /* of each */
#define SESSIONS 20
#define FLOOD 5000
#define FLOOD_PLACES 3
#define ANSWER_MS 120000
#define GUEST_AFTER_MS 10000
#define RESTART_AT_MS 25000
#define SECOND_GUEST_AT_MS 40000

/* ---- users up to their limits ---- */

static void set_users(struct settings_of_world *s)
{
    s->lives = TENANTS * USERS * SESSIONS;
    s->max_sessions = 30;
    s->max_queued = 1000;
    s->max_parallel = 28;
    s->tenant_max_sessions = 8;
    s->user_max_sessions = 3;
    s->crash_every_ms = world_chance(5000) ? 20000 : 0;
    s->faults.until_ms = 60000;
}

static void begin_users(void)
{
    for (unsigned i = 0; i < settings.lives; i++) {
        unsigned user = i / SESSIONS; /* one after the other: those of one user in a row */
        struct plan p = {.close_ms = -1, .linger_ms = 200, .born_ms = world_pick(0, 500)};
        p.tenant = world_printf("tenant-%u", user % TENANTS);
        p.user = world_printf("user-%u", user);
        life_new(&p);
    }
}

static void judge_users(void)
{
    for (const struct life *life = lives; life; life = life->next)
        if (!life->was_ready)
            world_violate("QUEUE", "%s of %s starved", life->name, life->plan.user);
}

/* ---- one floods, others ask for one ---- */

static struct {
    const char *session[FLOOD];
    unsigned answered, next; /* next: of them to be closed */
    bool over;
} flood;

static struct guest {
    const char *tenant;
    struct life *life;
    unsigned before; /* admissions until it asked */
} guests[2];

static void set_flood(struct settings_of_world *s)
{
    s->lives = 2;
    s->max_sessions = FLOOD_PLACES;
    s->max_queued = FLOOD + 10;
    s->queue_timeout_s = 3600;
}

static void flooded(void *arg, const struct cleat_error *error, const char *document)
{
    const char **session = arg;
    json_t *o = error ? NULL : json_loads(document, 0, NULL);
    if (!o) {
        world_violate("QUEUE", "a create is refused: %s", error ? error->reason : document);
        return;
    }
    *session = world_strdup(json_string_value(json_object_get(o, "session_id")));
    json_decref(o);
    flood.answered++;
}

static void create_flood(void)
{
    for (unsigned i = 0; i < FLOOD; i++) {
        const char *request =
            world_printf("{\"request_id\":\"flood-%u\",\"tenant\":\"flood\"}", i);
        struct call *call = call_new("flood", ANSWER_MS, flooded, &flood.session[i]);
        call_keep(call, cleat_create(coordinator, "flood", request, strlen(request), call_done,
                                     call));
    }
}

static void ignore(void *arg, const struct cleat_error *error, const char *document)
{
    (void)arg, (void)error, (void)document;
}

/* Every second one of them ends. */
static void close_one(void *arg)
{
    if (flood.over)
        return;
    world_at(1000, close_one, arg);
    if (!coordinator || flood.next >= places_admissions)
        return;
    const char *session = places_admitted(flood.next++);
    struct call *call = call_new("close one", ANSWER_MS, ignore, NULL);
    call_keep(call, cleat_close(coordinator, NULL, session, call_done, call));
}

static void invite(void *arg)
{
    struct guest *guest = arg;
    struct plan p = {.tenant = guest->tenant, .close_ms = -1, .linger_ms = 100};
    guest->before = places_admissions;
    guest->life = life_new(&p);
}

static void crash(void *arg)
{
    (void)arg;
    world.crash_due = true;
}

/* The rest of the flood is turned away. */
static void end_flood(void *arg)
{
    flood.over = true;
    if (!coordinator) {
        world_at(1000, end_flood, arg);
        return;
    }
    struct call *call = call_new("drain", ANSWER_MS, ignore, NULL);
    call_keep(call, cleat_drain(coordinator, "flood", true, call_done, call));
}

static void begin_flood(void)
{
    memset(&flood, 0, sizeof flood);
    memset(guests, 0, sizeof guests);
    guests[0].tenant = "guest";
    guests[1].tenant = "late-guest";
    create_flood();
    world_at(1000, close_one, NULL);
    world_at(GUEST_AFTER_MS, invite, &guests[0]);
    world_at(RESTART_AT_MS, crash, NULL);
    world_at(SECOND_GUEST_AT_MS, invite, &guests[1]);
    world_at(2 * SECOND_GUEST_AT_MS, end_flood, NULL);
}

static unsigned admission_of(const char *session)
{
    for (unsigned i = 0; i < places_admissions; i++)
        if (strcmp(places_admitted(i), session) == 0)
            return i;
    return UINT32_MAX;
}

/* All others were admitted in the order of their creation, also after the restart. */
static void judge_order(void)
{
    unsigned next = 0;
    for (unsigned i = 0; i < places_admissions; i++) {
        const char *session = places_admitted(i);
        if (strcmp(session, guests[0].life->session) == 0 ||
            strcmp(session, guests[1].life->session) == 0)
            continue;
        if (strcmp(session, flood.session[next]) != 0)
            world_violate("QUEUE", "admission %u is not that of create %u", i, next);
        next++;
    }
}

static void judge_flood(void)
{
    if (flood.answered != FLOOD) {
        world_violate("QUEUE", "%u of %u creates were answered", flood.answered, FLOOD);
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        unsigned at = admission_of(guests[i].life->session);
        if (at != guests[i].before)
            world_violate("QUEUE", "%s asked after %u admissions, and was number %u",
                          guests[i].tenant, guests[i].before, at);
    }
    judge_order();
}

const struct scenario queue_scenarios[] = {
    {"users", "25 users of 5 tenants with 20 sessions each, and limits on all", set_users,
     begin_users, judge_users, 1},
    {"flood", "5,000 creates of one tenant, and one of another, before and after a restart",
     set_flood, begin_flood, judge_flood, 1},
    {NULL, NULL, NULL, NULL, NULL, 0},
};
