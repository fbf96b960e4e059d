/* Events: numbers, what is shown when, bounds, and readers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <event2/event.h>
#include "base/mem.h"
#include "cleat.h"
#include "core_help.h"
#include "http/json.h"
#include "session/event.h"
#include "session/event_code.h"
#include "session/event_tenant.h"
#include "session/journal.h"
#include "session/notes.h"
#include "session/session.h"

#define ID "018bcfe5-6800-7000-8000-000000000001"
#define OTHER "018bcfe5-6800-7000-8000-000000000002"

struct world {
    struct event_base *base;
    struct cleat *core;
    struct session *s, *other;
    char dir[CORE_DIR_SIZE];
};

static void do_nothing(void *arg)
{
    (void)arg;
}

/* As one that is durable and takes no step, so that nothing happens to it but its events. */
static struct session *make(struct cleat *core, const char *id, const char *tenant)
{
    struct session *s = session_new(core, &core->groups[0], id, tenant, id);
    s->class_name = mem_strdup("default");
    session_set_state(s, SESSION_READY);
    s->stored = true;
    task_stop(&s->task);
    task_init(&s->task, core->loop, do_nothing, s);
    return s;
}

static const char *const options[][3] = {{NULL, "executor", "/bin/false"}, {0}};

static int setup(void **state)
{
    struct world *w = mem_alloc(sizeof(*w));
    w->base = event_base_new();
    w->core = core_help_open(w->base, w->dir, options);
    w->s = make(w->core, ID, "tenant-a");
    w->other = make(w->core, OTHER, "tenant-b");
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

struct reader {
    char text[4096]; /* "code id, …" */
    unsigned count;
    unsigned pause_after; /* 0: never */
    uint64_t last;
    char *document; /* of the newest */
    struct cleat_events *events;
    bool cancels;
};

static bool take(void *arg, const struct cleat_event *e)
{
    struct reader *r = arg;
    size_t len = strlen(r->text);
    r->count++;
    r->last = e->id;
    if (len < sizeof(r->text) - 64)
        snprintf(r->text + len, sizeof(r->text) - len, "%s%s %llu", len ? ", " : "", e->code,
                 (unsigned long long)e->id);
    free(r->document);
    r->document = mem_strdup(e->document);
    if (r->cancels)
        cleat_events_cancel(r->events);
    if (strcmp(e->code, "end") == 0)
        r->events = NULL;
    return r->count != r->pause_after;
}

static void turn(struct world *w)
{
    struct timeval soon = {0, 500};
    event_base_loopexit(w->base, &soon);
    event_base_dispatch(w->base);
}

/* What the readers' tasks have to do; commits may take longer. */
static void run(struct world *w)
{
    for (unsigned i = 0; i < 8; i++)
        turn(w);
}

static void run_until(struct world *w, const struct event_log *log, uint64_t shown)
{
    for (unsigned i = 0; i < 100000 && log->shown < shown; i++)
        turn(w);
    assert_int_equal(log->shown, shown);
    turn(w);
    turn(w);
}

/* As when their commit is durable, without waiting for one. */
static void show_all(struct world *w, struct session *s)
{
    events_commit(s, UINT64_MAX, events_count(s));
    turn(w);
}

static void forget_text(struct reader *r)
{
    r->text[0] = '\0';
}

static void each_session_counts_its_own(void **state)
{
    struct world *w = *state;
    struct reader one = {0}, all = {0};
    one.events = cleat_events(w->core, NULL, ID, 0, true, take, &one);
    all.events = cleat_events(w->core, NULL, NULL, 0, true, take, &all);
    event_emit(w->s, "session.opening");
    event_emit(w->other, "session.opening");
    event_emit(w->s, "session.ready", KV("from", "OPENING"));
    assert_string_equal(one.text, ""); /* not before the journal has them */
    run_until(w, &w->s->events, 2);
    assert_string_equal(one.text, "session.opening 1, session.ready 2");
    assert_string_equal(all.text, "session.opening 1, session.ready 2, session.opening 3");
    json_t *o = json_loads(one.document, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_integer_value(json_object_get(o, "seq")), 2);
    assert_string_equal(json_string_value(json_object_get(o, "session_id")), ID);
    assert_string_equal(json_string_value(json_object_get(o, "tenant")), "tenant-a");
    assert_string_equal(json_string_value(json_object_get(o, "from")), "OPENING");
    assert_string_equal(json_string_value(json_object_get(o, "message")),
                        event_code_find("session.ready")->message);
    json_decref(o);
    cleat_events_cancel(one.events);
    cleat_events_cancel(all.events);
    free(one.document);
    free(all.document);
}

static void readers_resume_where_they_were(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < 10; i++)
        event_emit(w->s, "retry", KI("try", i));
    run_until(w, &w->s->events, 10);
    struct reader first = {.pause_after = 4}, rest = {0};
    first.events = cleat_events(w->core, "tenant-a", ID, 0, true, take, &first);
    run(w);
    assert_int_equal(first.count, 4);
    assert_int_equal(cleat_events_position(first.events), 4);
    cleat_events_resume(first.events);
    run(w);
    assert_int_equal(first.count, 10);
    cleat_events_cancel(first.events);
    rest.events = cleat_events(w->core, "tenant-a", ID, 7, true, take, &rest);
    run(w);
    assert_string_equal(rest.text, "retry 8, retry 9, retry 10");
    cleat_events_cancel(rest.events);
    forget_text(&rest);
    rest.events = cleat_events(w->core, "tenant-a", ID, CLEAT_EVENTS_NEW, true, take, &rest);
    run(w);
    assert_string_equal(rest.text, "");
    rest.cancels = true; /* from within the callback */
    event_emit(w->s, "retry");
    event_emit(w->s, "retry");
    run_until(w, &w->s->events, 12);
    assert_string_equal(rest.text, "retry 11");
    free(first.document);
    free(rest.document);
}

static json_int_t id_of(const char *document)
{
    json_t *o = json_loads(document, JSON_REJECT_DUPLICATES, NULL);
    json_int_t id = json_integer_value(json_object_get(o, "id"));
    json_decref(o);
    return id;
}

static void tenants_see_their_own(void **state)
{
    struct world *w = *state;
    struct reader a = {0};
    assert_null(cleat_events(w->core, "tenant-b", ID, 0, true, take, &a));
    assert_null(
        cleat_events(w->core, NULL, "018bcfe5-6800-7000-8000-00000000000f", 0, true, take, &a));
    a.events = cleat_events(w->core, "tenant-a", NULL, 0, true, take, &a);
    event_emit(w->other, "session.opening");
    event_emit_core(w->core, "drain.begin", KV("drained", "*"));
    event_emit(w->s, "session.closing");
    run_until(w, &w->s->events, 1);
    assert_string_equal(a.text, "session.closing 1"); /* no number tells of the others */
    assert_int_equal(id_of(a.document), 1);
    cleat_events_cancel(a.events);
    forget_text(&a);
    a.events = cleat_events(w->core, "tenant-a", ID, 0, false, take, &a);
    run_until(w, &w->s->events, 1);
    assert_string_equal(a.text, "session.closing 1, end 1");
    forget_text(&a);
    a.pause_after = 4;
    a.events = cleat_events(w->core, "tenant-a", ID, 0, true, take, &a);
    run(w);
    assert_int_equal(id_of(a.document), 1); /* nor in the stream of a session */
    cleat_events_cancel(a.events);
    free(a.document);
}

/* A name that was forgotten comes back with higher numbers, and nobody else notices. */
static void tenants_are_known_in_bounds(void **state)
{
    struct world *w = *state;
    struct reader a = {0}, b = {0};
    event_emit(w->s, "retry");
    run_until(w, &w->s->events, 1);
    tenant_events_of(w->core, "idle")->ring.last = 77;
    for (unsigned i = 0; i < 2 * TENANT_EVENTS_MAX; i++) {
        char *name = mem_printf("t%u", i);
        tenant_events_of(w->core, name);
        free(name);
        assert_true(HASH_COUNT(w->core->events.tenants) <= TENANT_EVENTS_MAX);
    }
    assert_true(tenant_events_of(w->core, "idle")->ring.last >= 10000000000);
    event_emit(w->s, "retry");
    event_emit(w->other, "retry");
    assert_int_equal(w->s->events.shown, 1); /* a life that the journal does not know */
    run_until(w, &w->other->events, 1);
    a.events = cleat_events(w->core, "tenant-a", NULL, 0, false, take, &a);
    b.events = cleat_events(w->core, "tenant-b", NULL, CLEAT_EVENTS_NEW, false, take, &b);
    run(w);
    assert_string_equal(a.text, "retry 1, retry 2, end 2");
    char *expected =
        mem_printf("end %llu", (unsigned long long)w->core->events.life * 10000000000 + 1);
    assert_string_equal(b.text, expected);
    free(expected);
    free(a.document);
    free(b.document);
}

static void without_follow_it_ends(void **state)
{
    struct world *w = *state;
    struct reader all = {0}, one = {0};
    event_emit_core(w->core, "journal.works");
    run(w);
    all.events = cleat_events(w->core, NULL, NULL, 0, false, take, &all);
    run(w);
    assert_string_equal(all.text, "journal.works 1, end 1");
    assert_string_equal(all.document, "{\"code\":\"end\",\"reason\":\"all\"}");
    session_set_state(w->s, SESSION_CLOSED);
    one.events = cleat_events(w->core, NULL, ID, 0, true, take, &one);
    run(w);
    assert_string_equal(one.text, "end 0");
    assert_string_equal(one.document, "{\"code\":\"end\",\"reason\":\"closed\"}");
    free(all.document);
    free(one.document);
}

static void a_slow_reader_is_ended(void **state)
{
    struct world *w = *state;
    struct reader slow = {.pause_after = 1}, quick = {0};
    char text[250];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    slow.events = cleat_events(w->core, NULL, ID, 0, true, take, &slow);
    quick.events = cleat_events(w->core, NULL, NULL, 0, true, take, &quick);
    uint64_t sent = 0;
    while (slow.events && sent < 5000) {
        for (unsigned i = 0; i < 50; i++, sent++)
            event_emit(w->s, "retry", KV("error", text));
        run_until(w, &w->s->events, sent);
    }
    assert_null(slow.events);
    assert_string_equal(slow.text, "retry 1, end 1");
    assert_string_equal(slow.document, "{\"code\":\"end\",\"reason\":\"slow\"}");
    assert_in_range(sent, 550, 900); /* 256 KiB of them, each near 400 bytes */
    assert_int_equal(quick.count, sent);
    assert_int_equal(w->core->events.slow, 1);
    assert_int_equal(w->core->events.gaps, 0);
    assert_int_equal(w->core->events.reading, 1);
    cleat_events_cancel(quick.events);
    free(slow.document);
    free(quick.document);
}

static void what_is_kept_is_bounded_and_gaps_are_told(void **state)
{
    struct world *w = *state;
    char text[250];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    event_emit(w->other, "session.ready");
    uint64_t sent = 0;
    while (event_ring_first(&w->core->events.shown) < 1000) {
        for (unsigned i = 0; i < 60; i++, sent++)
            event_emit(w->s, "retry", KV("error", text));
        show_all(w, w->s);
        assert_in_range(w->core->events.bytes, 1, (8 << 20) + 60 * 600);
        assert_true(sent < 100000);
    }
    struct reader one = {.pause_after = 2}, other = {0}, all = {.pause_after = 1};
    one.events = cleat_events(w->core, NULL, ID, 10, true, take, &one);
    other.events = cleat_events(w->core, NULL, OTHER, 0, true, take, &other);
    all.events = cleat_events(w->core, NULL, NULL, 1, true, take, &all);
    run(w);
    uint64_t kept = event_ring_first(&w->s->events.ring);
    char *expected = mem_printf("gap %llu, retry %llu", (unsigned long long)kept - 1,
                                (unsigned long long)kept);
    assert_string_equal(one.text, expected);
    free(expected);
    assert_string_equal(other.text, "gap 1");
    expected = mem_printf("{\"code\":\"gap\",\"from\":2,\"to\":%llu,\"message\":"
                          "\"Events between these numbers are not kept\"}",
                          (unsigned long long)event_ring_first(&w->core->events.shown) - 1);
    assert_string_equal(all.document, expected);
    free(expected);
    assert_int_equal(w->core->events.gaps, 3);
    cleat_events_cancel(one.events);
    cleat_events_cancel(other.events);
    cleat_events_cancel(all.events);
    assert_int_equal(w->core->events.reading, 0);
    free(one.document);
    free(other.document);
    free(all.document);
}

static void nobody_s_number_begins_anew(void **state)
{
    struct world *w = *state;
    struct reader r = {0};
    event_emit(w->s, "retry");
    run_until(w, &w->s->events, 1);
    r.events = cleat_events(w->core, NULL, ID, 77, false, take, &r); /* of a lost journal */
    run(w);
    assert_string_equal(r.text, "retry 1, end 1");
    free(r.document);
}

static void a_forgotten_session_ends_its_readers(void **state)
{
    struct world *w = *state;
    struct reader one = {0}, all = {0};
    event_emit(w->other, "session.ready");
    run_until(w, &w->other->events, 1);
    one.events = cleat_events(w->core, NULL, OTHER, 1, true, take, &one);
    run(w);
    session_free(w->other);
    run(w);
    assert_string_equal(one.document, "{\"code\":\"end\",\"reason\":\"forgotten\"}");
    all.events = cleat_events(w->core, NULL, NULL, 0, false, take, &all);
    run(w);
    assert_string_equal(all.text, "session.ready 1, end 1"); /* what it was told is kept */
    free(one.document);
    free(all.document);
}

static void texts_are_made_valid(void **state)
{
    struct world *w = *state;
    struct reader r = {0};
    char long_text[1000];
    memset(long_text, 'y', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    event_emit(w->s, "retry", KV("error", "a\"b\\c\nd\xff\x01"), KV("cause", ""), KI("n", -5),
               KV("long", long_text));
    run_until(w, &w->s->events, 1);
    r.events = cleat_events(w->core, NULL, ID, 0, false, take, &r);
    r.pause_after = 1;
    run(w);
    json_t *o = json_loads(r.document, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "error")), "a\"b\\c?d??");
    assert_null(json_object_get(o, "cause"));
    assert_int_equal(json_integer_value(json_object_get(o, "n")), -5);
    assert_int_equal(json_string_length(json_object_get(o, "long")), 256);
    json_decref(o);
    cleat_events_cancel(r.events);
    free(r.document);
}

/* The next life goes on after the numbers that readers saw, and reserves new ones of all. */
static void numbers_go_on_after_a_restart(void **state)
{
    struct world *w = *state;
    char why[256];
    struct session *s = w->s;
    s->parameters = mem_strdup("{\"tenant\":\"tenant-a\"}");
    session_set_state(s, SESSION_CLOSED);
    session_dirty(s);
    event_emit(s, "retry");
    run_until(w, &s->events, 1);
    event_emit(s, "retry"); /* the row of the session does not change with these */
    event_emit(s, "retry");
    run_until(w, &s->events, 3);
    assert_int_equal(w->core->events.shown.last, 3);
    cleat_free(w->core);
    struct cleat_config *config = cleat_config_new();
    assert_true(cleat_config_set(config, NULL, "state_dir", w->dir, why, sizeof(why)));
    assert_true(cleat_config_set(config, NULL, "executor", "/bin/false", why, sizeof(why)));
    w->core = cleat_new(w->base, config, why, sizeof(why));
    assert_non_null(w->core);
    s = core_find(w->core, ID);
    assert_non_null(s);
    struct reader one = {0}, all = {0}, own = {0};
    task_stop(&s->task);
    task_init(&s->task, w->core->loop, do_nothing, s);
    session_set_state(s, SESSION_READY); /* it is told of something more */
    one.events = cleat_events(w->core, NULL, ID, 2, true, take, &one);
    all.events = cleat_events(w->core, NULL, NULL, 3, true, take, &all);
    own.events = cleat_events(w->core, "tenant-a", NULL, 3, true, take, &own);
    event_emit(s, "session.rerouting");
    run_until(w, &s->events, 4);
    assert_string_equal(one.text, "gap 3, session.rerouting 4");
    assert_string_equal(all.text, "gap 65537, session.rerouting 65538");
    assert_string_equal(own.text, "gap 10000000000, session.rerouting 10000000001");
    cleat_events_cancel(own.events);
    free(own.document);
    cleat_events_cancel(one.events);
    cleat_events_cancel(all.events);
    free(one.document);
    free(all.document);
}

/* ---- many readers that leave and come back ---- */

struct crowd {
    struct world *w;
    struct session *s[100];
    struct follower {
        struct reader reader;
        uint64_t last;
        unsigned until; /* it leaves */
        bool misled;
    } follower[101]; /* the last one reads all */
    unsigned dice;
};

static unsigned throw_dice(struct crowd *c, unsigned sides)
{
    c->dice = c->dice * 1103515245u + 12345u;
    return c->dice / 65536 % sides;
}

static bool follow(void *arg, const struct cleat_event *e)
{
    struct follower *f = arg;
    f->misled = f->misled || e->id != f->last + 1;
    f->last = e->id;
    if (--f->until == 0) {
        cleat_events_cancel(f->reader.events);
        f->reader.events = NULL;
    }
    return true;
}

static void come_back(struct crowd *c)
{
    for (unsigned i = 0; i < 101; i++) {
        struct follower *f = &c->follower[i];
        if (f->reader.events || throw_dice(c, 3) == 0)
            continue;
        f->until = 1 + throw_dice(c, 9);
        f->reader.events = cleat_events(c->w->core, NULL, i < 100 ? c->s[i]->id : NULL,
                                        (int64_t)f->last, true, follow, f);
    }
}

static void a_hundred_readers_drop_and_resume(void **state)
{
    struct crowd *c = mem_alloc(sizeof(*c));
    char id[ID_SIZE];
    c->w = *state;
    c->dice = 7;
    for (unsigned i = 0; i < 100; i++) {
        snprintf(id, sizeof(id), "018bcfe5-6800-7000-8001-%012u", i);
        c->s[i] = make(c->w->core, id, i % 2 ? "tenant-a" : "tenant-b");
    }
    for (unsigned round = 0; round < 60; round++) {
        for (unsigned k = throw_dice(c, 120); k > 0; k--)
            event_emit(c->s[throw_dice(c, 100)], "retry", KI("round", round));
        come_back(c);
        turn(c->w);
    }
    uint64_t sent = 0;
    for (unsigned i = 0; i < 100; i++) {
        sent += events_count(c->s[i]);
        run_until(c->w, &c->s[i]->events, events_count(c->s[i]));
    }
    for (unsigned k = 0; k < 100000 && c->follower[100].last < sent; k++) {
        come_back(c);
        turn(c->w);
    }
    assert_int_equal(c->follower[100].last, sent);
    for (unsigned i = 0; i < 101; i++) {
        struct follower *f = &c->follower[i];
        for (unsigned k = 0; i < 100 && k < 1000 && f->last < events_count(c->s[i]); k++) {
            come_back(c);
            turn(c->w);
        }
        assert_false(f->misled);
        assert_true(i == 100 || f->last == events_count(c->s[i]));
        if (f->reader.events)
            cleat_events_cancel(f->reader.events);
    }
    free(c);
}

/* The journal fails: nothing is shown, a bounded number is kept, and what is shown later has no
 * number twice. */
static void an_outage_holds_events_back(void **state)
{
    struct world *w = *state;
    struct reader r = {0};
    w->core->store_failing = true;
    r.events = cleat_events(w->core, NULL, ID, 0, true, take, &r);
    for (unsigned i = 0; i < 200; i++)
        event_emit(w->s, "retry", KI("try", i));
    run(w);
    assert_int_equal(r.count, 0);
    assert_true(w->core->events.bytes < 64 * 300);
    w->core->store_failing = false;
    event_emit(w->s, "session.ready");
    run_until(w, &w->s->events, 201);
    assert_int_equal(r.count, 1 + 64);
    assert_non_null(strstr(r.text, "gap 137, retry 138"));
    assert_int_equal(r.last, 201);
    cleat_events_cancel(r.events);
    free(r.document);
}

/* Two commits are under way: the one with an event fails, the next, with or without another,
 * succeeds. */
static void fail_first(struct world *w, bool another)
{
    uint64_t shown = w->s->events.shown;
    struct error e;
    core_help_hold(w->core);
    event_emit(w->s, "retry");
    turn(w);
    assert_int_equal(core_held_count, 1);
    if (another)
        event_emit(w->s, "retry");
    journal_add(w->s);
    task_wake(&w->core->noted);
    turn(w);
    assert_int_equal(core_held_count, 2);
    core_help_pass(w->core);
    error_set(&e, ERR_STORE, "disk full");
    core_held[0].done(core_held[0].arg, &e);
    core_held[1].done(core_held[1].arg, NULL);
    assert_int_equal(w->s->events.shown, shown);
    run_until(w, &w->s->events, shown + 1 + another);
}

static void a_commit_shows_nothing_that_one_before_failed_to_keep(void **state)
{
    struct world *w = *state;
    event_emit(w->s, "session.ready");
    run_until(w, &w->s->events, 1);
    fail_first(w, false);
    fail_first(w, true);
}

static void codes_are_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < event_code_count; i++)
        assert_ptr_equal(event_code_find(event_codes[i].name), &event_codes[i]);
    assert_null(event_code_find("session.nonsense"));
    assert_null(event_code_find(""));
}

#define EACH(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(each_session_counts_its_own),
        EACH(readers_resume_where_they_were),
        EACH(tenants_see_their_own),
        EACH(tenants_are_known_in_bounds),
        EACH(without_follow_it_ends),
        EACH(a_slow_reader_is_ended),
        EACH(what_is_kept_is_bounded_and_gaps_are_told),
        EACH(nobody_s_number_begins_anew),
        EACH(a_forgotten_session_ends_its_readers),
        EACH(texts_are_made_valid),
        EACH(numbers_go_on_after_a_restart),
        EACH(a_hundred_readers_drop_and_resume),
        EACH(an_outage_holds_events_back),
        EACH(a_commit_shows_nothing_that_one_before_failed_to_keep),
        cmocka_unit_test(codes_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
