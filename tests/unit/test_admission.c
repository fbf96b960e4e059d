/* Admission: the arithmetic of expectation, turns and ranks, and what limits let through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <event2/event.h>
#include "base/mem.h"
#include "cleat.h"
#include "core_help.h"
#include "http/json.h"
#include "session/admission.h"
#include "session/attempt.h"
#include "session/cleanup.h"
#include "session/config.h"
#include "session/position.h"
#include "session/queue.h"
#include "session/route.h"
#include "session/session.h"
#include "session/warm.h"

/* ---- the arithmetic ---- */

static void a_pace_needs_evidence(void **state)
{
    struct pace p = {0};
    (void)state;
    for (int i = 0; i < PACE_EVIDENCE; i++) {
        assert_int_equal(pace_expect(&p, 1, 5000), 0);
        pace_note(&p, 1000 * i);
    }
    assert_int_equal(pace_expect(&p, 1, 2000), 3000);
    assert_int_equal(pace_expect(&p, 10, 2000), 12000);
}

static void a_pace_follows_the_newest_returns(void **state)
{
    struct pace p = {0};
    int64_t at = 0;
    (void)state;
    for (int i = 0; i < 100; i++)
        pace_note(&p, at += 5000);
    for (int i = 0; i < PACE_RETURNS; i++)
        pace_note(&p, at += 100);
    assert_int_equal(pace_expect(&p, 1, at), at + 100);
    /* None came back for long: who knows when one will? */
    assert_int_equal(pace_expect(&p, 1, at + 16000), at + 16000 + 17500 / PACE_RETURNS);
    assert_true(pace_expect(&p, 1, at + 160000) > at + 160000 + 10000);
    /* All at once: the next may come now, and no estimate lies in the past. */
    struct pace burst = {0};
    for (int i = 0; i < PACE_RETURNS; i++)
        pace_note(&burst, 1000);
    assert_int_equal(pace_expect(&burst, 5, 1000), 1000);
}

static void a_rank_needs_as_many_places_as_are_missing(void **state)
{
    (void)state;
    assert_int_equal(position_needs(0, 70, 9), 0); /* no limit */
    assert_int_equal(position_needs(10, 4, 6), 0); /* there is room */
    assert_int_equal(position_needs(10, 4, 7), 1);
    assert_int_equal(position_needs(10, 10, 1), 1); /* the next one */
    assert_int_equal(position_needs(10, 10, 25), 25);
    assert_int_equal(position_needs(10, 14, 1), 5); /* the limit was lowered */
}

static void limits_of_tenants_are_read(void **state)
{
    struct cleat_config *c = cleat_config_new();
    struct error e;
    (void)state;
    assert_true(cleat_config_set(c, NULL, "tenant_max_sessions", "7", NULL, 0));
    assert_true(cleat_config_set(c, NULL, "tenant_max_queued", "8", NULL, 0));
    assert_true(
        cleat_config_set(c, NULL, "tenant_limits", "a=1:2,b=0:0,a=b=3:100000", NULL, 0));
    assert_true(limits_check(&c->settings, &e));
    const struct {
        const char *tenant;
        int64_t sessions, queued;
    } expected[] = {{"a", 1, 2}, {"b", 0, 0}, {"a=b", 3, 100000}, {"c", 7, 8}, {"", 7, 8}};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        struct tenant_limits l = limits_of(&c->settings, expected[i].tenant);
        assert_int_equal(l.sessions, expected[i].sessions);
        assert_int_equal(l.queued, expected[i].queued);
    }
    static const char *const bad[] = {"a",
                                      "a=1",
                                      "a=1:",
                                      "=1:2",
                                      "a=:2",
                                      "a=1:2x",
                                      "a=-1:2",
                                      "a=1:2:3",
                                      "a=1:100001",
                                      "a=1 :2",
                                      "a=1:2,b=1:2,a=3:4",
                                      "a=b=1:2,a=b=1:2"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_true(cleat_config_set(c, NULL, "tenant_limits", bad[i], NULL, 0));
        if (limits_check(&c->settings, &e))
            fail_msg("%s is accepted", bad[i]);
        assert_int_equal(e.code, ERR_CONFIG);
    }
    cleat_config_free(c);
}

/* ---- turns ---- */

struct world {
    struct event_base *base;
    struct cleat *core;
    char dir[CORE_DIR_SIZE];
    struct session *s[64];
    unsigned count;
};

/* Nothing runs its loop: only what is called here happens. */
static int setup(void **state)
{
    static const char *const options[][3] = {{NULL, "executor", "/bin/false"},
                                             {NULL, "max_sessions", "1"},
                                             {NULL, "tenant_limits", "narrow=1:0"},
                                             {"other", "max_parallel", "1"},
                                             {0}};
    struct world *w = mem_alloc(sizeof(*w));
    w->base = event_base_new();
    w->core = core_help_open(w->base, w->dir, options);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    int rc = core_help_close(w->core, w->base, w->dir);
    free(w);
    return rc;
}

static struct session *add(struct world *w, const char *tenant, const char *user,
                           const char *class_name)
{
    char id[ID_SIZE], request[16];
    uint8_t random[10] = {(uint8_t)++w->count};
    id_make(id, core_now(w->core), random);
    snprintf(request, sizeof(request), "r%u", w->count);
    struct session *s =
        session_new(w->core, core_find_group(w->core, class_name), id, tenant, request);
    s->context.user = mem_strdup(user);
    s->class_name = mem_strdup(class_name);
    s->parameters = mem_strdup("{}");
    s->created = s->queued_at = core_now(w->core);
    session_enqueue(s);
    w->s[w->count] = s;
    return s;
}

static void check_ranks(struct world *w, const unsigned *numbers)
{
    position_rank(w->core);
    for (unsigned i = 0; numbers[i]; i++)
        if (w->s[numbers[i]]->rank.all != i + 1)
            fail_msg("session %u has rank %u instead of %u", numbers[i],
                     w->s[numbers[i]]->rank.all, i + 1);
}

/* The first that is enqueued takes the only place. */
static void take_the_place(struct world *w, const char *tenant)
{
    struct error e;
    struct session *s = add(w, tenant, "holder", "default");
    admission_check(w->core, "nobody", NULL, s->group, 0, false, &e); /* settles the queue */
    assert_int_equal(s->state, SESSION_OPENING);
}

static void tenants_take_turns(void **state)
{
    struct world *w = *state;
    take_the_place(w, "a"); /* 1 */
    for (int i = 0; i < 4; i++)
        add(w, "a", "u", "default"); /* 2 to 5 */
    add(w, "b", "u", "default");     /* 6 */
    add(w, "b", "u", "default");     /* 7 */
    add(w, "c", "u", "default");     /* 8 */
    check_ranks(w, (unsigned[]){6, 8, 2, 7, 3, 4, 5, 0});
    /* b's turn is taken: c is next, then a. */
    places_give_container(w->s[1]);
    struct error e;
    admission_wake(w->core);
    admission_check(w->core, "nobody", NULL, w->s[1]->group, 0, false, &e);
    assert_int_equal(w->s[6]->state, SESSION_OPENING);
    check_ranks(w, (unsigned[]){8, 2, 7, 3, 4, 5, 0});
    json_t *o = position_document(w->s[7]);
    assert_int_equal(json_integer_value(json_object_get(o, "position")), 3);
    assert_int_equal(json_integer_value(json_object_get(o, "ahead")), 2);
    assert_string_equal(json_string_value(json_object_get(o, "reason")), "max_sessions");
    assert_true(json_is_null(json_object_get(o, "estimated_start_at")));
    json_decref(o);
}

/* What is held up by a limit of its own holds up nobody, and says so. */
static void the_first_that_fits_goes(void **state)
{
    struct world *w = *state;
    struct error e;
    take_the_place(w, "narrow");      /* 1 */
    add(w, "narrow", "u", "default"); /* 2: its tenant has its one place */
    add(w, "x", "u", "other");        /* 3 */
    add(w, "x", "u", "other");        /* 4: one of this class at a time */
    add(w, "x", "u", "default");      /* 5 */
    check_ranks(w, (unsigned[]){3, 5, 4, 2, 0});
    assert_int_equal(admission_obstacle(w->s[2]), LIMIT_TENANT_SESSIONS);
    assert_int_equal(admission_obstacle(w->s[3]), LIMIT_SESSIONS);
    w->core->settings->max_sessions = 10;
    admission_limits_changed(w->core);
    admission_check(w->core, "nobody", NULL, w->s[1]->group, 0, false, &e);
    assert_int_equal(w->s[3]->state, SESSION_OPENING);
    assert_int_equal(w->s[5]->state, SESSION_OPENING);
    assert_int_equal(admission_obstacle(w->s[4]), LIMIT_PARALLEL);
    w->core->settings->user_max_sessions = 1;
    admission_limits_changed(w->core);
    assert_int_equal(admission_obstacle(w->s[4]), LIMIT_USER_SESSIONS);
    assert_string_equal(position_waits_for(w->s[4]),
                        "a place among its user's user_max_sessions");
}

/* It comes before all that came after it, and its time in the queue goes on. */
static void who_comes_back_is_first(void **state)
{
    struct world *w = *state;
    struct error e;
    take_the_place(w, "a");      /* 1 */
    add(w, "a", "u", "default"); /* 2 */
    error_set(&e, ERR_CAPACITY, "no room");
    admission_return(w->s[1], &e);
    assert_int_equal(w->s[1]->state, SESSION_QUEUED);
    assert_int_equal(w->core->admitted, 0);
    check_ranks(w, (unsigned[]){1, 2, 0});
    assert_int_equal(admission_obstacle(w->s[2]), LIMIT_CAPACITY);
    struct group *g = w->s[1]->group;
    admission_check(w->core, "nobody", NULL, g, 0, false, &e);
    assert_int_equal(w->s[1]->state, SESSION_QUEUED); /* nobody is tried yet */
    admission_freed(g);
    admission_check(w->core, "nobody", NULL, g, 0, false, &e);
    assert_int_equal(w->s[1]->state, SESSION_OPENING); /* one, to see */
    w->core->settings->max_sessions = 10;
    admission_limits_changed(w->core);
    admission_check(w->core, "nobody", NULL, g, 0, false, &e);
    assert_int_equal(w->s[2]->state, SESSION_QUEUED);
    admission_freed(g);
    admission_check(w->core, "nobody", NULL, g, 0, false, &e);
    assert_int_equal(w->s[2]->state, SESSION_OPENING); /* one for each that is gone */
    add(w, "a", "u", "default");                       /* 3 */
    admission_check(w->core, "nobody", NULL, g, 0, false, &e);
    assert_int_equal(w->s[3]->state, SESSION_QUEUED);
    admission_has_room(g);
    admission_check(w->core, "nobody", NULL, g, 0, false, &e);
    assert_int_equal(w->s[3]->state, SESSION_OPENING);
}

/* ---- the engine's room ---- */

static void lacks_room(struct session *s)
{
    struct error e;
    error_set(&e, ERR_CAPACITY, "no room");
    s->opened = s->group->refused_at + 1;
    admission_return(s, &e);
    s->group->room_at = core_now(s->core) + 30000;
}

static unsigned opening_after(struct world *w, struct session *a, struct session *b)
{
    struct error e;
    admission_check(w->core, "nobody", NULL, a->group, 0, false, &e); /* settles the queue */
    return (unsigned)(a->state == SESSION_OPENING) + (unsigned)(b->state == SESSION_OPENING);
}

/* Two classes of one engine: both get what either leaves, one session for each container. */
static void classes_of_an_engine_take_turns(void **state)
{
    struct world *w = *state;
    w->core->settings->max_sessions = 10;
    struct session *a = add(w, "a", "u", "default"), *b = add(w, "b", "u", "other");
    struct session *s[] = {a, b};
    assert_int_equal(opening_after(w, a, b), 2);
    lacks_room(a);
    lacks_room(b);
    assert_int_equal(opening_after(w, a, b), 0);
    for (int i = 0; i < 8; i++) {
        struct session *tries = s[i % 2];
        admission_freed(i < 4 ? a->group : b->group);
        assert_int_equal(opening_after(w, a, b), 1);
        assert_int_equal(tries->state, SESSION_OPENING);
        lacks_room(tries);
    }
    admission_freed(a->group);
    admission_freed(a->group);
    assert_int_equal(opening_after(w, a, b), 2);
}

/* A session that a limit holds up gets no container's room, and keeps none from others. */
static void who_is_held_up_awaits_no_room(void **state)
{
    struct world *w = *state;
    w->core->settings->max_sessions = 10;
    struct session *a = add(w, "narrow", "u", "default"), *b = add(w, "b", "u", "default");
    struct session *c = add(w, "c", "u", "other");
    struct group *g = a->group;
    opening_after(w, b, c);
    lacks_room(a);
    assert_true(admission_awaits_room(g));
    lacks_room(c);

    struct session *holder = add(w, "narrow", "u", "other");
    places_take(holder); /* the one place of its tenant */
    assert_int_equal(admission_obstacle(a), LIMIT_TENANT_SESSIONS);
    assert_false(admission_awaits_room(g));
    c->group->class->max_parallel = 0;
    admission_freed(g);
    assert_int_equal(opening_after(w, a, c), 1);
    assert_int_equal(c->state, SESSION_OPENING);
}

/* Room is told of as soon as there is some, once. */
static void room_comes_back_with_the_stop_or_the_address(void **state)
{
    struct world *w = *state;
    w->core->settings->max_sessions = 10;
    struct session *s = add(w, "a", "u", "default"), *waits = add(w, "b", "u", "default");
    struct group *g = s->group;
    struct runtime_ops ops = *g->runtime_ops;
    const struct runtime_ops *real = g->runtime_ops;
    g->runtime_ops = &ops;
    assert_int_equal(opening_after(w, s, waits), 2);
    for (int with_address = 0; with_address < 2; with_address++) {
        lacks_room(waits);
        ops.release_makes_room = with_address;
        struct attempt *a = attempt_new(s, 1 + (unsigned)with_address);
        a->launched = true;
        attempt_set_state(a, ATTEMPT_ENDING);
        a->cleanup = (struct cleanup){.begun = true,
                                      .upload = STEP_OK,
                                      .deregister = STEP_OK,
                                      .drain = STEP_RUNNING,
                                      .drain_deadline = core_now(w->core) + 60000,
                                      .stop = STEP_RUNNING,
                                      .stop_op = {.state = OP_DONE}};
        cleanup_step(a);
        assert_int_equal(a->cleanup.stop, STEP_OK);
        assert_int_equal(g->room_at > core_now(w->core), with_address);
        g->room_at = core_now(w->core) + 30000;
        a->target = TARGET_GONE;
        cleanup_step(a);
        assert_int_equal(a->state, ATTEMPT_ENDED);
        assert_int_equal(g->room_at > core_now(w->core), !with_address);
        assert_int_equal(opening_after(w, waits, waits), with_address ? 2 : 0);
    }
    g->runtime_ops = real;
}

static unsigned warm_after(struct world *w, struct group *g)
{
    warm_consider(g);
    event_base_loop(w->base, EVLOOP_NONBLOCK);
    return warm_count(g).starting;
}

/* A pool is refilled while who was refused once waits for something else. */
static void a_pool_gives_way_to_who_waits_for_room(void **state)
{
    struct world *w = *state;
    w->core->settings->max_sessions = 10;
    core_help_hold(w->core); /* nothing is launched */
    struct session *a = add(w, "narrow", "u", "default");
    struct group *g = a->group;
    opening_after(w, a, a);
    lacks_room(a);
    g->class->warm_min = g->class->warm_max = 1;
    assert_int_equal(warm_after(w, g), 0);
    assert_int_equal(warm_after(w, core_find_group(w->core, "other")), 0);
    places_take(add(w, "narrow", "u", "other")); /* the one place of its tenant */
    g->room_at = core_now(w->core);
    assert_int_equal(warm_after(w, g), 1);
    assert_int_equal(a->state, SESSION_QUEUED);
    core_help_pass(w->core);
}

/* ---- warm containers ---- */

/* It was not to be had while its route was in doubt. */
static void a_proof_offers_a_warm_one_again(void **state)
{
    struct world *w = *state;
    w->core->settings->max_sessions = 10;
    struct session *waits = add(w, "a", "u", "default");
    struct group *g = waits->group;
    opening_after(w, waits, waits);
    lacks_room(waits);
    struct session *warm = warm_new(g);
    struct attempt *a = warm->attempt = attempt_new(warm, ++warm->attempts_used);
    attempt_set_state(a, ATTEMPT_LIVE);
    session_set_state(warm, SESSION_READY);
    a->route.confirmed = a->route.suspect = true;
    a->target = TARGET_UNHEALTHY;
    opening_after(w, waits, waits);
    assert_int_equal(warm_offers(g, 1), 0);
    assert_false(w->core->admission_due);
    a->message.state = OP_DONE;
    a->message.verdict = VERDICT_PROVEN;
    a->message.status = 200;
    route_keep(a);
    assert_int_equal(warm_offers(g, 1), 1);
    assert_true(w->core->admission_due);
}

static void refusals_say_why(void **state)
{
    struct world *w = *state;
    struct settings *set = w->core->settings;
    struct error e = {0};
    take_the_place(w, "a"); /* 1 */
    struct group *g = w->s[1]->group;
    assert_int_equal(admission_check(w->core, "a", "u", g, 0, false, &e), ERR_NONE);
    assert_int_equal(admission_check(w->core, "a", "u", g, 0, true, &e), ERR_FULL);
    assert_string_equal(e.reason, "max_sessions");
    add(w, "a", "u", "default"); /* 2 */
    const struct {
        int64_t *limit;
        const char *reason;
    } limits[] = {{&set->user_max_queued, "user_max_queued"},
                  {&set->max_queued, "max_queued"},
                  {&g->class->max_queued, "class_max_queued"},
                  {&set->max_closed, "max_closed"}};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        int64_t before = *limits[i].limit;
        *limits[i].limit = 1;
        w->core->closed = limits[i].limit == &set->max_closed;
        assert_int_equal(admission_check(w->core, "a", "u", g, 0, false, &e), ERR_FULL);
        assert_string_equal(e.reason, limits[i].reason);
        assert_null(strstr(e.message, "null"));
        assert_true(strlen(e.message) > 10); /* words for people, too */
        *limits[i].limit = before;
        w->core->closed = 0;
    }
    assert_int_equal(w->core->counters.refused[LIMIT_QUEUED], 1);
    assert_int_equal(admission_check(w->core, "a", "u", g, 0, false, &e), ERR_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pace_needs_evidence),
        cmocka_unit_test(a_pace_follows_the_newest_returns),
        cmocka_unit_test(a_rank_needs_as_many_places_as_are_missing),
        cmocka_unit_test(limits_of_tenants_are_read),
        cmocka_unit_test_setup_teardown(tenants_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_that_fits_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(who_comes_back_is_first, setup, teardown),
        cmocka_unit_test_setup_teardown(classes_of_an_engine_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_held_up_awaits_no_room, setup, teardown),
        cmocka_unit_test_setup_teardown(room_comes_back_with_the_stop_or_the_address, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_pool_gives_way_to_who_waits_for_room, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_proof_offers_a_warm_one_again, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_say_why, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
