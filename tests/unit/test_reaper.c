/* Whose a listed container is, which class deals with it, and whom the journal can speak for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <event2/event.h>
#include "base/log.h"
#include "base/mem.h"
#include "cleat.h"
#include "core_help.h"
#include "session/attempt.h"
#include "session/context.h"
#include "session/found.h"
#include "session/journal.h"
#include "session/orphan.h"
#include "session/past.h"
#include "session/session.h"

#define ID "018bcfe5-6800-7000-8000-000000000001"
#define KEY "cleat." ID ".1"
#define MADE INT64_C(1700000000000)

struct world {
    struct event_base *base;
    struct cleat *core;
    struct group *a, *b;
    struct found_table table;
    uint64_t listings;
    char dir[64], cause[FOUND_CAUSE_SIZE];
};

static int setup(void **state)
{
    static const char *const options[][3] = {{NULL, "executor", "/bin/false"},
                                             {NULL, "retention_s", "1"},
                                             {"b", "proof", "required"},
                                             {0}};
    struct world *w = mem_alloc(sizeof(*w));
    w->base = event_base_new();
    w->core = core_help_open(w->base, w->dir, options);
    w->core->listing = 0;
    w->core->past.created = 0;
    w->core->past.gap_from = MADE + 256;
    w->a = core_find_group(w->core, "default");
    w->b = core_find_group(w->core, "b");
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    found_clear(&w->table);
    int rc = core_help_close(w->core, w->base, w->dir);
    free(w);
    return rc;
}

/* ip NULL: the container is not listed; target NULL: no target is. */
static void list(struct world *w, struct group *g, const char *id, const char *ip,
                 const char *target, int64_t asked_at)
{
    struct listed_container c = {.alive = true, .container = {.port = 8080}};
    struct listed_target t = {.port = 8080};
    mem_copy_string(c.key, sizeof(c.key), KEY);
    mem_copy_string(c.container.id, sizeof(c.container.id), id);
    mem_copy_string(c.container.ip, sizeof(c.container.ip), ip ? ip : "");
    mem_copy_string(t.id, sizeof(t.id), target ? target : "");
    mem_copy_string(t.ip, sizeof(t.ip), "10.0.0.1");
    g->listed = ++w->listings;
    found_compare(&w->table, g,
                  &(struct listed){.asked_at = asked_at,
                                   .number = w->listings,
                                   .containers = &c,
                                   .targets = &t,
                                   .container_count = ip != NULL,
                                   .target_count = target != NULL});
}

static struct found *of(const struct world *w, const struct group *g, bool is_target)
{
    struct found *f = found_first(&w->table);
    while (f && (f->group != g || f->is_target != is_target))
        f = found_next(f);
    return f;
}

static bool is_chosen(const struct world *w, const struct group *g)
{
    const struct found *f = of(w, g, false);
    return f && found_is_chosen(&w->table, f);
}

static struct attempt *make(struct world *w, struct group *g, enum session_state state,
                            enum attempt_state attempt)
{
    struct session *s = session_new(w->core, g, ID, "t", ID);
    s->class_name = mem_strdup(g->class->name);
    s->parameters = mem_strdup("{}");
    s->state = state;
    s->attempts_used = 1;
    struct attempt *a = attempt_new(s, 1);
    if (attempt > ATTEMPT_CHECKING)
        g->arriving--;
    a->state = attempt;
    a->since = 1000;
    a->launched = true;
    strcpy(a->container.id, "one");
    strcpy(a->container.ip, "10.0.0.1");
    a->container.port = 8080;
    return a;
}

static void keys_are_read(void **state)
{
    static const char *const bad[] = {"cleat",
                                      "cleat.thing.1",
                                      "other." ID ".1",
                                      "cleats." ID ".1",
                                      "cleat." ID,
                                      "cleat." ID ".",
                                      "cleat." ID ".0",
                                      "cleat." ID ".01",
                                      "cleat." ID ".-1",
                                      "cleat." ID ".1x",
                                      "cleat." ID ".32768",
                                      "cleat." ID ".111111",
                                      "cleat.018bcfe5-6800-4000-8000-000000000001.1"};
    struct world *w = *state;
    char session[ID_SIZE];
    unsigned number = 0;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(orphan_read_key(w->core, bad[i], session, &number));
    assert_true(orphan_read_key(w->core, "cleat." ID ".32767", session, &number));
    assert_string_equal(session, ID);
    assert_int_equal(number, 32767);
}

static void whom_the_journal_can_speak_for(void **state)
{
    struct world *w = *state;
    struct past *p = &w->core->past;
    assert_null(past_silence(w->core, ID, MADE));
    p->created = MADE + 1;
    assert_non_null(strstr(past_silence(w->core, ID, MADE), "older"));
    p->created = MADE;
    assert_null(past_silence(w->core, ID, MADE));
    p->gap_from = MADE - 256;
    assert_non_null(strstr(past_silence(w->core, ID, MADE), "newer"));
    past_doubt(w->core, ID, MADE);
    p->gap_from = MADE + 256; /* as after another start */
    assert_non_null(past_silence(w->core, ID, MADE));
    past_trust(w->core);
    assert_null(past_silence(w->core, ID, MADE));
    assert_null(past_silence(w->core, ID, MADE - 1));
    p->trusted_at = 0;
    assert_non_null(past_silence(w->core, ID, MADE - 1)); /* it comes from a clock ahead */
    assert_int_equal(p->created, 0);
    assert_true(strcmp(p->newest, ID) > 0);
}

/* After a lost journal its parent may be listed later, by another class. */
static void a_child_waits_until_all_is_listed(void **state)
{
    struct world *w = *state;
    struct attempt *a = make(w, w->a, SESSION_READY, ATTEMPT_LIVE);
    struct session *s = a->session;
    s->context.parent = mem_strdup("018bcfe5-6801-7000-8000-000000000001");
    assert_false(past_is_listed(w->core));
    context_step(s);
    assert_int_equal(s->state, SESSION_READY);
    past_all_listed(w->core);
    context_step(s);
    assert_int_equal(s->state, SESSION_CLOSING);
    assert_string_equal(s->stop_reason, "parent_closed");
}

static void one_class_deals_with_it(void **state)
{
    struct world *w = *state;
    list(w, w->a, "one", "10.0.0.1", NULL, 2000);
    list(w, w->b, "one", "10.0.0.1", NULL, 2000);
    assert_true(is_chosen(w, w->a) && !is_chosen(w, w->b));
    list(w, w->b, "one", "10.0.0.1", KEY, 2000); /* it routes to it */
    assert_true(!is_chosen(w, w->a) && is_chosen(w, w->b));
    assert_true(of(w, w->b, false)->has_target && !of(w, w->b, true));
    list(w, w->b, "one", "", KEY, 2000); /* and cannot reach it */
    assert_true(is_chosen(w, w->a) && !is_chosen(w, w->b));
}

static void the_class_of_its_session_does(void **state)
{
    struct world *w = *state;
    make(w, w->b, SESSION_CLOSED, ATTEMPT_ENDED);
    list(w, w->a, "one", "10.0.0.1", KEY, 2000);
    assert_false(is_chosen(w, w->a)); /* b may still list it */
    list(w, w->b, "one", "10.0.0.1", NULL, 2000);
    assert_true(!is_chosen(w, w->a) && is_chosen(w, w->b));
    assert_int_equal(found_judge(&w->table, of(w, w->b, false), w->cause), FOUND_CLOSE);
    assert_string_equal(w->cause, "its attempt 1 had ended");
    list(w, w->b, "one", NULL, NULL, 3000);
    assert_int_equal(found_judge(&w->table, of(w, w->a, false), w->cause), FOUND_REPORT);
}

static void a_target_waits_for_every_class(void **state)
{
    struct world *w = *state;
    list(w, w->a, "one", NULL, KEY, 2000);
    assert_true(found_is_chosen(&w->table, of(w, w->a, true)));
    strcpy(w->b->trouble, "no answer"); /* its container may be there */
    assert_false(found_is_chosen(&w->table, of(w, w->a, true)));
    w->b->trouble[0] = '\0';
    list(w, w->b, "one", "10.0.0.1", NULL, 2000);
    assert_false(found_is_chosen(&w->table, of(w, w->a, true)));
}

static void what_an_attempt_owns_is_nobody_elses(void **state)
{
    struct world *w = *state;
    struct attempt *a = make(w, w->a, SESSION_READY, ATTEMPT_LIVE);
    list(w, w->a, "one", "10.0.0.1", KEY, 2000);
    list(w, w->b, "one", "10.0.0.1", KEY, 2000);
    assert_null(found_first(&w->table));
    list(w, w->a, "two", "10.0.0.2", KEY, 2000); /* beside it */
    assert_true(is_chosen(w, w->a));
    assert_false(of(w, w->a, false)->has_target);
    found_judge(&w->table, of(w, w->a, false), w->cause);
    assert_string_equal(w->cause, "its attempt 1 has another container, one");
    a->launched = false; /* the outcome of its launch is not known: either may be it */
    list(w, w->a, "two", "10.0.0.2", KEY, 2000);
    assert_null(found_first(&w->table));
}

static void what_ended_since_the_listing_was_asked_for_is_none(void **state)
{
    struct world *w = *state;
    struct attempt *a = make(w, w->a, SESSION_CLOSED, ATTEMPT_ENDED);
    a->since = 2000;
    list(w, w->a, "one", "10.0.0.1", KEY, 2000);
    assert_null(found_first(&w->table));
    list(w, w->a, "one", "10.0.0.1", KEY, 2001);
    assert_true(is_chosen(w, w->a));
}

static void a_grace_is_between_two_listings(void **state)
{
    struct world *w = *state;
    list(w, w->a, "one", "10.0.0.1", NULL, 2000);
    assert_false(of(w, w->a, false)->ripe);
    list(w, w->a, "one", "10.0.0.1", NULL, 61999);
    assert_false(of(w, w->a, false)->ripe);
    list(w, w->a, "one", "10.0.0.1", NULL, 62000);
    assert_true(of(w, w->a, false)->ripe);
    list(w, w->a, "one", NULL, NULL, 63000);
    assert_null(found_first(&w->table));
}

static void a_target_without_a_name_is_its_address(void **state)
{
    struct world *w = *state;
    struct attempt *a = make(w, w->a, SESSION_READY, ATTEMPT_LIVE);
    list(w, w->a, "one", NULL, "cleat.target.10.0.0.1:8080", 2000);
    assert_null(found_first(&w->table));
    a->container.port = 8081;
    list(w, w->a, "one", NULL, "cleat.target.10.0.0.1:8080", 2000);
    assert_int_equal(found_judge(&w->table, of(w, w->a, true), w->cause), FOUND_CLOSE);
    list(w, w->a, "one", NULL, "cleat.thing", 2000);
    assert_int_equal(found_judge(&w->table, of(w, w->a, true), w->cause), FOUND_REPORT);
}

static void a_session_is_remembered_while_an_attempt_of_it_ends(void **state)
{
    struct world *w = *state;
    struct attempt *a = make(w, w->a, SESSION_CLOSED, ATTEMPT_ENDING);
    a->session->closed = 1;
    journal_purge(w->core);
    assert_false(w->core->purging);
    a->state = ATTEMPT_ENDED;
    journal_purge(w->core);
    assert_true(w->core->purging);
    while (w->core->purging)
        assert_true(event_base_loop(w->base, EVLOOP_ONCE) >= 0);
    assert_null(core_find(w->core, ID));
}

static size_t one_node(const struct balancer *b, size_t group,
                       const struct balancer_node **nodes)
{
    static const struct balancer_node node = {.url = "http://127.0.0.1:9"};
    (void)b;
    (void)group;
    *nodes = &node;
    return 1;
}

/* A plain orphan beside its session's own attempt, which serves or is about to. */
static struct attempt *make_plain(struct world *w, bool own_has_target, bool has_target)
{
    struct attempt *own =
        make(w, w->a, SESSION_REROUTING, own_has_target ? ATTEMPT_LIVE : ATTEMPT_REGISTERING);
    struct attempt *orphan = attempt_new(own->session, 2);
    own->session->attempt = own;
    own->registered = own_has_target;
    orphan->container = own->container;
    orphan->launched = orphan->orphan = orphan->touched = true;
    orphan->registered = has_target;
    orphan->target = has_target ? TARGET_HEALTHY : TARGET_UNKNOWN;
    return orphan;
}

static void plain_twins_on_their_own_addresses_do_not_wait(void **state)
{
    struct world *w = *state;
    struct class *real = w->a->class;
    struct class plain = *real;
    plain.proof = PROOF_NONE;
    w->a->class = &plain;
    struct attempt *orphan = make_plain(w, true, false);
    assert_false(orphan_has_path(orphan));
    assert_true(orphan->registered);
    w->a->class = real;
}

/* Behind a node one of them is there at a time, and the one that is there goes first. */
static void one_plain_twin_waits_for_the_other(void **state)
{
    static const struct {
        bool own_has_target, has_target, asks;
    } cases[] = {
        {true, false, false}, {true, true, false}, {false, false, false}, {false, true, true}};
    struct world *w = *state;
    struct class *real = w->a->class;
    const struct balancer_ops *direct = w->a->balancer_ops;
    struct class plain = *real;
    struct balancer_ops behind = *direct;
    plain.proof = PROOF_NONE;
    behind.nodes = one_node;
    w->a->class = &plain;
    w->a->balancer_ops = &behind;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct attempt *orphan = make_plain(w, cases[i].own_has_target, cases[i].has_target);
        assert_false(orphan_has_path(orphan));
        assert_int_equal(orphan->registered, cases[i].has_target);
        assert_int_equal(orphan->message.state == OP_RUNNING, cases[i].asks);
        session_free(orphan->session);
    }
    w->a->balancer_ops = direct;
    w->a->class = real;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keys_are_read),
        TEST(whom_the_journal_can_speak_for),
        TEST(a_child_waits_until_all_is_listed),
        TEST(one_class_deals_with_it),
        TEST(the_class_of_its_session_does),
        TEST(a_target_waits_for_every_class),
        TEST(what_an_attempt_owns_is_nobody_elses),
        TEST(what_ended_since_the_listing_was_asked_for_is_none),
        TEST(a_grace_is_between_two_listings),
        TEST(a_target_without_a_name_is_its_address),
        TEST(plain_twins_on_their_own_addresses_do_not_wait),
        TEST(one_plain_twin_waits_for_the_other),
        TEST(a_session_is_remembered_while_an_attempt_of_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
