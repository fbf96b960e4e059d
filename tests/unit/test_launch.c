/* Launches with drivers of the test's own: places, bytes, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <event2/event.h>
#include "base/mem.h"
#include "cleat.h"
#include "core_help.h"
#include "http/json.h"
#include "session/attempt.h"
#include "session/launch.h"
#include "session/record.h"
#include "session/session.h"

#define TURNS 2000

struct world {
    struct event_base *base;
    struct cleat *core;
    struct group *group;
    struct session *session;
    char dir[64];
    const struct runtime_ops *real_runtime;
    const struct balancer_ops *real_balancer;
};

/* What the drivers of the test are to do, and what they saw. */
static struct {
    struct error prepare_error, launch_error;
    unsigned refusals; /* launches that find no room before one is let through */
    bool has_place;
    unsigned prepared, launched, reserved, unreserved, cleared;
    bool was_durable, row_had_bytes;
    char bytes[128];
} drivers;

static char *fake_prepare(struct runtime *r, const struct launch *what, struct error *e)
{
    (void)r;
    drivers.prepared++;
    *e = drivers.prepare_error;
    return e->code ? NULL : mem_printf("bytes of %s with %.4s", what->key, what->secret);
}

struct answer {
    runtime_launched_fn *done;
    void *arg;
};

static void answer(evutil_socket_t fd, short what, void *arg)
{
    struct answer *a = arg;
    struct container c = {.id = "task-1", .ip = "127.64.3.3", .port = 9};
    struct error e = drivers.launch_error;
    (void)fd;
    (void)what;
    if (drivers.refusals > 0) {
        drivers.refusals--;
        error_set(&e, ERR_CAPACITY, "RESOURCE:MEMORY");
    }
    a->done(a->arg, e.code ? &e : NULL, e.code ? NULL : &c);
    free(a);
}

static struct event_base *base;

static void fake_launch(struct runtime *r, const struct launch *what, runtime_launched_fn *done,
                        void *arg)
{
    struct attempt *attempt = arg;
    struct answer *a = mem_alloc(sizeof(*a));
    char *row = attempt_row(attempt);
    (void)r;
    drivers.launched++;
    drivers.was_durable = attempt_durable(attempt);
    drivers.row_had_bytes = what->prepared && strstr(row, what->prepared);
    mem_copy_string(drivers.bytes, sizeof(drivers.bytes), what->prepared ? what->prepared : "");
    *a = (struct answer){done, arg};
    event_base_once(base, -1, EV_TIMEOUT, answer, a, &(struct timeval){0, 1000});
    free(row);
}

static void fake_adopt(struct runtime *r, const struct container *c)
{
    (void)r;
    (void)c;
}

static void fake_stop(struct runtime *r, const struct container *c, bool keep,
                      runtime_done_fn *done, void *arg)
{
    (void)r;
    (void)c;
    (void)keep;
    (void)done;
    (void)arg; /* it never ends: the tests end before */
}

static bool fake_reserve(struct balancer *b, const struct target *t)
{
    (void)b;
    (void)t;
    drivers.reserved++;
    return drivers.has_place;
}

static void fake_unreserve(struct balancer *b, const char *id)
{
    (void)b;
    (void)id;
    drivers.unreserved++;
}

static void fake_clear(struct runtime *r, const char *key)
{
    (void)r;
    assert_non_null(strstr(key, "."));
    drivers.cleared++;
}

static struct runtime_ops runtime;
static struct balancer_ops balancer;

static int setup(void **state)
{
    static const char *const options[][3] = {
        {"default", "backoff_base_ms", "2"}, {"default", "launch_attempts", "2"}, {0}};
    struct world *w = mem_alloc(sizeof(*w));
    memset(&drivers, 0, sizeof(drivers));
    drivers.has_place = true;
    base = w->base = event_base_new();
    w->core = core_help_open(w->base, w->dir, options);
    w->group = &w->core->groups[0];
    w->real_runtime = w->group->runtime_ops;
    w->real_balancer = w->group->balancer_ops;
    runtime = *w->real_runtime;
    runtime.prepare = fake_prepare;
    runtime.launch = fake_launch;
    runtime.adopt = fake_adopt;
    runtime.stop = fake_stop;
    runtime.clear = fake_clear;
    balancer = *w->real_balancer;
    balancer.reserve = fake_reserve;
    balancer.unreserve = fake_unreserve;
    w->group->runtime_ops = &runtime;
    w->group->balancer_ops = &balancer;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    w->group->runtime_ops = w->real_runtime;
    w->group->balancer_ops = w->real_balancer;
    int rc = core_help_close(w->core, w->base, w->dir);
    free(w);
    return rc;
}

static void created(void *arg, const struct cleat_error *error, const char *document)
{
    struct world *w = arg;
    struct error e;
    assert_null(error);
    json_t *o = js_parse_object(document, strlen(document), &e);
    w->session = core_find(w->core, json_string_value(json_object_get(o, "session_id")));
    json_decref(o);
}

typedef bool condition(const struct world *);

static void run_until(struct world *w, condition *holds, const char *what)
{
    for (int i = 0; i < TURNS && !(w->session && holds(w)); i++)
        event_base_loop(w->base, EVLOOP_ONCE);
    if (!w->session || !holds(w))
        fail_msg("never: %s", what);
}

static void create(struct world *w)
{
    cleat_create(w->core, NULL, "{}", 2, created, w);
}

static bool is_launched(const struct world *w)
{
    const struct attempt *a = w->session->attempt;
    return a && a->launched && attempt_durable(a);
}

static bool has_failed(const struct world *w)
{
    return w->session->state == SESSION_FAILED;
}

static bool waits_for_place(const struct world *w)
{
    return strstr(w->session->waiting_for, "place") != NULL;
}

static bool waits_for_capacity(const struct world *w)
{
    return strcmp(w->session->waiting_for, "capacity: RESOURCE:MEMORY") == 0;
}

static void bytes_are_durable_before_they_leave(void **state)
{
    struct world *w = *state;
    create(w);
    run_until(w, is_launched, "a launch");
    assert_int_equal(drivers.prepared, 1);
    assert_int_equal(drivers.launched, 1);
    assert_true(drivers.was_durable);
    assert_true(drivers.row_had_bytes);
    assert_non_null(strstr(drivers.bytes, w->session->id));
    assert_null(w->session->attempt->prepared); /* the container is known */
    char *row = attempt_row(w->session->attempt);
    assert_null(strstr(row, "prepared"));
    free(row);
}

static void bytes_of_an_earlier_life_are_handed_in_again(void **state)
{
    struct world *w = *state;
    struct error e = {0};
    create(w);
    drivers.has_place = false;
    run_until(w, waits_for_place, "the wait for a place");
    struct session *s = w->session;
    char *row = mem_printf("{\"session\":\"%s\",\"number\":2,\"state\":\"LAUNCHING\","
                           "\"since\":1,\"upload\":0,\"prepared\":\"the very bytes\"}",
                           s->id);
    struct attempt *a = attempt_from_row(w->core, row, &e);
    free(row);
    assert_non_null(a);
    char *again = attempt_row(a);
    assert_non_null(strstr(again, "the very bytes"));
    free(again);
    w->core->listing = 1; /* the engine is still asked what it holds */
    drivers.has_place = true;
    attempt_go(s->attempt, ATTEMPT_ENDING);
    s->attempt = a;
    session_wake(s);
    for (int i = 0; i < 50; i++)
        event_base_loop(w->base, EVLOOP_NONBLOCK);
    assert_int_equal(drivers.launched, 0);
    w->core->listing = 0;
    session_wake(s);
    run_until(w, is_launched, "a launch");
    assert_string_equal(drivers.bytes, "the very bytes");
    assert_int_equal(drivers.prepared, 0);
    assert_int_equal(drivers.launched, 1);
}

static void what_cannot_be_prepared_fails_typed(void **state)
{
    struct world *w = *state;
    error_set(&drivers.prepare_error, ERR_TOO_LARGE, "overrides: over 8192 characters");
    create(w);
    run_until(w, has_failed, "its end");
    assert_int_equal(w->session->error.code, ERR_TOO_LARGE);
    assert_int_equal(drivers.prepared, 1);
    assert_int_equal(drivers.launched, 0);
    assert_int_equal(drivers.unreserved, 1);
}

static void a_lack_of_room_costs_no_attempt(void **state)
{
    struct world *w = *state;
    drivers.refusals = 4;
    create(w);
    run_until(w, waits_for_capacity, "the reason of the wait");
    run_until(w, is_launched, "a launch");
    assert_int_equal(drivers.launched, 5);
    assert_int_equal(w->session->failures, 0);
    assert_int_equal(w->session->refusals, 0);
    assert_string_equal(w->session->waiting_for, "");
    unsigned capacity = 0, first = 0;
    for (size_t i = 0; i < w->session->span_count; i++) {
        capacity += strcmp(w->session->spans[i].name, "capacity") == 0;
        first += w->session->spans[i].attempt == 1;
    }
    assert_int_equal(capacity, 1);
    assert_int_equal(first, 0); /* it never was */
    assert_int_equal(drivers.reserved, 5);
    assert_int_equal(drivers.unreserved, 4);
}

/* However many containers were tried before: a wait for room starts small and stays below 30 s.
 */
static void waits_for_room_stay_short(void **state)
{
    static const int64_t waits[] = {3000, 9000, 27000, 30000, 30000};
    struct world *w = *state;
    struct error e;
    create(w);
    drivers.has_place = false;
    run_until(w, waits_for_place, "the wait for a place");
    struct session *s = w->session;
    w->group->class->backoff_base_ms = 3000;
    s->attempts_used = 40;
    error_set(&e, ERR_CAPACITY, "no room");
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        s->attempt = s->attempt ? s->attempt : attempt_new(s, ++s->attempts_used);
        int64_t now = core_now(w->core);
        attempt_fail(s->attempt, &e);
        assert_in_range(w->group->room_at - now, waits[i], waits[i] + 50);
        assert_int_equal(s->state, SESSION_QUEUED);
        assert_int_equal(w->core->admitted, 0);
        session_go(s, SESSION_OPENING);
        s->opened = w->group->refused_at + 1;
    }
    error_set(&e, ERR_LAUNCH, "it did not start");
    s->attempt = attempt_new(s, ++s->attempts_used);
    int64_t now = core_now(w->core);
    attempt_fail(s->attempt, &e);
    assert_in_range(s->launch_at - now, 3000, 3050);
}

static void nothing_is_launched_without_a_place(void **state)
{
    struct world *w = *state;
    drivers.has_place = false;
    create(w);
    run_until(w, waits_for_place, "the wait for a place");
    assert_int_equal(drivers.prepared, 0);
    drivers.has_place = true;
    run_until(w, is_launched, "a launch");
    assert_string_equal(w->session->waiting_for, "");
    assert_true(drivers.reserved >= 2);
    assert_int_equal(drivers.unreserved, 0);
}

static void places_of_an_earlier_life_come_first(void **state)
{
    struct world *w = *state;
    struct error e = {0};
    drivers.has_place = false;
    create(w);
    run_until(w, waits_for_place, "the wait for a place");
    struct attempt *fresh = w->session->attempt;
    char *row = mem_printf("{\"session\":\"%s\",\"number\":9,\"state\":\"LAUNCHING\","
                           "\"since\":1,\"upload\":0}",
                           w->session->id);
    struct attempt *old = attempt_from_row(w->core, row, &e);
    free(row);
    assert_non_null(old);
    launch_owe_place(old);
    launch_owe_place(old);
    assert_int_equal(w->group->places_owed, 1);
    drivers.has_place = true;
    assert_false(launch_has_place(fresh));
    assert_true(launch_has_place(old));
    assert_int_equal(w->group->places_owed, 0);
    assert_true(launch_has_place(fresh));
    launch_forget_place(old);
    assert_int_equal(w->group->places_owed, 0);
    launch_owe_place(old);
    attempt_go(old, ATTEMPT_ENDING); /* nobody waits for what only goes … */
    assert_int_equal(w->group->places_owed, 0);
    launch_owe_place(old);
    attempt_free(old); /* … or is gone */
    assert_int_equal(w->group->places_owed, 0);
}

static void a_launch_that_fails_gives_its_place_back(void **state)
{
    struct world *w = *state;
    error_set(&drivers.launch_error, ERR_LAUNCH, "CannotPullContainerError");
    create(w);
    run_until(w, has_failed, "its end");
    assert_int_equal(drivers.launched, 2); /* launch_attempts */
    assert_int_equal(drivers.unreserved, 2);
    assert_int_equal(w->session->error.code, ERR_LAUNCH);
}

static bool is_launching(const struct world *w)
{
    (void)w;
    return drivers.launched == 1;
}

static bool is_ending(const struct world *w)
{
    return TAILQ_FIRST(&w->session->attempts)->state == ATTEMPT_ENDING;
}

/* A life that does not know of the failure would take over what is being removed. */
static void a_failure_is_durable_before_its_rest_is_removed(void **state)
{
    struct world *w = *state;
    error_set(&drivers.launch_error, ERR_LAUNCH, "inspect: the engine does not answer");
    create(w);
    run_until(w, is_launching, "a launch");
    core_help_hold(w->core);
    run_until(w, is_ending, "its failure");
    for (int i = 0; i < 20; i++) {
        session_wake(w->session);
        event_base_loop(w->base, EVLOOP_ONCE);
    }
    assert_int_equal(drivers.cleared, 0);
    core_help_pass(w->core);
    for (unsigned i = 0; i < core_held_count; i++)
        core_held[i].done(core_held[i].arg, NULL);
    run_until(w, has_failed, "its end");
    assert_int_equal(drivers.launched, 2);
    assert_int_equal(drivers.cleared, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_are_durable_before_they_leave, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_of_an_earlier_life_are_handed_in_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_prepared_fails_typed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lack_of_room_costs_no_attempt, setup, teardown),
        cmocka_unit_test_setup_teardown(waits_for_room_stay_short, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_launched_without_a_place, setup, teardown),
        cmocka_unit_test_setup_teardown(places_of_an_earlier_life_come_first, setup, teardown),
        cmocka_unit_test_setup_teardown(a_launch_that_fails_gives_its_place_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_failure_is_durable_before_its_rest_is_removed, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("launch", tests, NULL, NULL);
}
