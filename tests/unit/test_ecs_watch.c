/* Tasks of ECS that live and end: ticks, MISSING, stops, restarts, and the account. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "ecs_help.h"

/* ---- the way of a task ---- */

/* Its address is there before its image is: it is given when the container runs. */
static void a_life(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    struct answer a = {0};
    begin(f, "s", &l);
    struct fake_task *t = task_made(f, 1);
    assert_string_equal(t->token, "o.s.1");
    assert_true(comes(f, progress_has_come, f));
    assert_string_equal(f->progress, "the task is PROVISIONING");
    fake_move(t, "PENDING");
    f->progresses = 0;
    assert_true(comes(f, progress_has_come, f));
    assert_int_equal(l.calls, 0);
    fake_move(t, "ACTIVATING");
    assert_int_equal(outcome(f, &l), ERR_NONE);
    assert_string_equal(l.container.id, t->id);
    assert_string_equal(l.container.ip, "10.0.0.1");
    assert_int_equal(l.container.port, 8080);
    fake_move(t, "RUNNING");
    runtime_ecs.stop(f->rt, &l.container, false, take_answer, &a);
    int one = 1;
    assert_true(comes(f, has_stopped_some, &one));
    fake_move(t, "STOPPING");
    pass(f, 50);
    assert_int_equal(a.calls, 0); /* its container may still upload */
    fake_move(t, "DEPROVISIONING");
    assert_int_equal(answered(f, &a), ERR_NONE);
    assert_int_equal(f->exits, 0); /* it was wanted */
    assert_int_equal(stop(f, &l.container), ERR_NONE);
}

static void deaths(void **state)
{
    struct fixture *f = *state;
    struct container c = run(f, "s");
    fake_end(&fake.tasks[0], "EssentialContainerExited", "Essential container in task exited",
             3);
    check_exit(f, "o.s.1", "exited with status 3");
    assert_int_equal(f->in_order, 0);
    assert_int_equal(stop(f, &c), ERR_NONE);
    assert_int_equal(fake.stops, 0); /* it is known to be gone */
    f->exits = 0;
    c = run(f, "t");
    fake_end(&fake.tasks[1], "SpotInterruption", "Your Spot Task was interrupted.", 0);
    check_exit(f, "o.t.1", "Spot");
    assert_int_equal(f->in_order, 1);
}

/* Its containers have ended, and how is not known yet. */
static void the_status_comes_late(void **state)
{
    struct fixture *f = *state;
    run(f, "s");
    fake.tasks[0].desired = "STOPPED";
    fake_move(&fake.tasks[0], "DEPROVISIONING");
    looks(f, 2);
    assert_int_equal(f->exits, 0);
    fake.tasks[0].exit_code = 0;
    check_exit(f, "o.s.1", "");
    assert_int_equal(f->in_order, 1);
}

/* Told by Spot that it has two minutes, it may still upload. */
static void notice_is_no_death(void **state)
{
    struct fixture *f = *state;
    run(f, "s");
    fake.tasks[0].desired = "STOPPED";
    fake_move(&fake.tasks[0], "STOPPING");
    looks(f, 3);
    assert_int_equal(f->exits, 0);
}

/* ---- doubt ---- */

struct window { /* of time, with a doubt in every turn */
    struct fixture *f;
    const struct container *c;
    struct timer end;
    int asked; /* how often ECS was asked until its end */
    bool over;
};

static int asked(struct fixture *f)
{
    json_t *status = runtime_ecs.status(f->rt);
    int count = (int)json_integer_value(json_object_get(status, "describes"));
    json_decref(status);
    return count;
}

static void window_ends(void *arg)
{
    struct window *w = arg;
    w->over = true;
    w->asked = asked(w->f);
}

static bool doubts_until_over(void *arg)
{
    struct window *w = arg;
    if (!w->over)
        runtime_ecs.look(w->f->rt, w->c);
    return w->over;
}

/* How often ECS is asked within a minute. */
static int asked_in_a_minute(struct fixture *f, const struct container *c)
{
    struct window w = {.f = f, .c = c};
    int before = asked(f);
    timer_init(&w.end, f->loop, window_ends, &w);
    timer_arm(&w.end, 60000);
    assert_true(comes(f, doubts_until_over, &w));
    return w.asked - before;
}

/* A task that runs is looked at every ten seconds; in doubt every second, and no more often. */
static void doubt(void **state)
{
    struct fixture *f = *state;
    struct container c = run(f, "s"), other = {.id = "0123456789abcdef0123456789abcdef"};
    looks(f, 1);
    assert_in_range(asked_in_a_minute(f, &other), 0, 8);
    assert_in_range(asked_in_a_minute(f, &c), 15, 61);
    fake_end(&fake.tasks[0], "EssentialContainerExited", "x", 9);
    check_exit(f, "o.s.1", "status 9");
    assert_in_range(asked_in_a_minute(f, &c), 0, 1); /* it is known to be gone */
    assert_int_equal(f->exits, 1);
}

/* While a look is under way another one is owed. */
static void doubt_during_a_look(void **state)
{
    struct fixture *f = *state;
    struct container c = run(f, "s");
    fake_add_fault("DescribeTasks", FAKE_HELD, 0);
    assert_int_equal(asked_in_a_minute(f, &c), 1);
    fake_release();
    assert_in_range(asked_in_a_minute(f, &c), 15, 61);
}

/* Doubt does not press an ECS that cannot be asked: 1, 3, 9, 27 s lie between. */
static void doubt_while_ecs_is_away(void **state)
{
    struct fixture *f = *state;
    struct container c = run(f, "s");
    for (int i = 0; i < 10; i++)
        fake_add_fault("DescribeTasks", FAKE_UNSENT, i);
    assert_in_range(asked_in_a_minute(f, &c), 1, 7);
}

/* ---- MISSING ---- */

static void missing_early(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    begin(f, "s", &l);
    struct fake_task *t = task_made(f, 1);
    t->hidden = true;
    looks(f, 5);
    assert_int_equal(l.calls, 0);
    t->hidden = false;
    fake_move(t, "RUNNING");
    assert_int_equal(outcome(f, &l), ERR_NONE);
    t->hidden = true;
    looks(f, 2);
    assert_int_equal(f->exits, 0);
}

static void missing_late(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    struct container c = run(f, "s");
    class_set(f->class, "start_timeout_s", "3600");
    begin(f, "t", &l);
    task_made(f, 2)->hidden = true;
    fake.tasks[0].hidden = true;
    check_exit(f, "o.s.1", "does not know");
    assert_int_equal(outcome(f, &l), ERR_LAUNCH);
    assert_int_equal(stop(f, &c), ERR_NONE);
    assert_int_equal(fake.stops, 0);
}

/* ---- stops ---- */

static void stop_is_repeated(void **state)
{
    struct fixture *f = *state;
    struct container c = run(f, "s");
    fake_add_fault("StopTask", FAKE_DENIED, 0);
    assert_int_equal(stop(f, &c), ERR_PERMANENT);
    struct answer a = {0}, b = {0};
    runtime_ecs.stop(f->rt, &c, false, take_answer, &a);
    runtime_ecs.stop(f->rt, &c, false, take_answer, &b);
    end_when_stopped(f, &fake.tasks[0], 1);
    assert_int_equal(answered(f, &a), ERR_NONE);
    assert_int_equal(answered(f, &b), ERR_NONE);
    assert_int_equal(fake.stops, 1); /* one call for both */
    assert_int_equal(f->exits, 0);
}

/* The task ends although StopTask's answer was lost; whoever asks again is told. */
static void stop_with_a_lost_answer(void **state)
{
    struct fixture *f = *state;
    struct container c = run(f, "s");
    fake_add_fault("StopTask", FAKE_LOST, 0);
    assert_int_equal(stop(f, &c), ERR_RESET);
    fake_end(&fake.tasks[0], "UserInitiated", "x", 0);
    looks(f, 1);
    assert_int_equal(stop(f, &c), ERR_NONE);
    assert_int_equal(f->exits, 0);
}

/* Not found so early means nothing; late it is an end. */
static void stop_of_an_unknown_task(void **state)
{
    struct fixture *f = *state;
    struct container c = {.id = "0123456789abcdef0123456789abcdef"};
    struct answer a = {0};
    runtime_ecs.stop(f->rt, &c, false, take_answer, &a);
    pass(f, 100);
    assert_int_equal(a.calls, 0);
    assert_int_equal(answered(f, &a), ERR_NONE);
}

static void stop_of_nothing(void **state)
{
    struct fixture *f = *state;
    struct container c = {.id = ""};
    assert_int_equal(stop(f, &c), ERR_INVALID);
}

static void stop_while_it_rises(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    begin(f, "s", &l);
    struct fake_task *t = task_made(f, 1);
    struct container c = {.port = 8080};
    struct answer a = {0};
    assert_true(comes(f, progress_has_come, f));
    mem_copy_string(c.id, sizeof(c.id), t->id);
    runtime_ecs.stop(f->rt, &c, false, take_answer, &a);
    end_when_stopped(f, t, 1);
    assert_int_equal(answered(f, &a), ERR_NONE);
    assert_int_equal(outcome(f, &l), ERR_DIED);
}

/* ---- after a restart ---- */

struct listed {
    struct answer answer; /* first: take_answer's arg */
    int count;
    char keys[512];
    struct container last;
};

static void take_listed(void *arg, const char *key, const struct container *c, bool alive,
                        const char *label)
{
    struct listed *l = arg;
    (void)label;
    size_t used = strlen(l->keys);
    assert_true(alive);
    l->count++;
    l->last = *c;
    snprintf(l->keys + used, sizeof(l->keys) - used, "%s ", key);
}

static void listing(void **state)
{
    struct fixture *f = *state;
    struct listed l = {0}, cut = {0};
    for (int i = 0; i < 5; i++)
        run(f, (const char[]){(char)('a' + i), '\0'});
    mem_copy_string(fake.tasks[1].owner, sizeof(fake.tasks[1].owner), "somebody");
    fake.tasks[3].desired = "STOPPED";
    fake.page = 2;
    runtime_ecs.list(f->rt, take_listed, take_answer, &cut);
    runtime_ecs.close(f->rt);
    open_runtime(f);
    runtime_ecs.list(f->rt, take_listed, take_answer, &l);
    assert_int_equal(answered(f, &l.answer), ERR_NONE);
    assert_string_equal(l.keys, "o.a.1 o.c.1 o.e.1 ");
    assert_string_equal(l.last.id, fake.tasks[4].id);
    assert_string_equal(l.last.ip, "10.0.0.5");
    assert_string_equal(l.last.key, "o.e.1");
    assert_int_equal(fake.lists, 2);
    assert_int_equal(cut.answer.calls + cut.count, 0);
    fake_add_fault("ListTasks", FAKE_NONSENSE, 1);
    runtime_ecs.list(f->rt, take_listed, take_answer, &l);
    assert_int_equal(answered(f, &l.answer), ERR_PROTOCOL);
    fake_add_fault("DescribeTasks", FAKE_DENIED, 0);
    runtime_ecs.list(f->rt, take_listed, take_answer, &l);
    assert_int_equal(answered(f, &l.answer), ERR_PERMANENT);
}

static void listing_without_end(void **state)
{
    struct fixture *f = *state;
    struct listed l = {0};
    fake.endless = true;
    runtime_ecs.list(f->rt, take_listed, take_answer, &l);
    assert_int_equal(answered(f, &l.answer), ERR_PROTOCOL);
}

static void adoption(void **state)
{
    struct fixture *f = *state;
    struct container c = run(f, "s"), d = run(f, "t");
    runtime_ecs.close(f->rt);
    open_runtime(f);
    runtime_ecs.adopt(f->rt, &c);
    runtime_ecs.adopt(f->rt, &c);
    runtime_ecs.adopt(f->rt, &d);
    fake_end(&fake.tasks[0], "EssentialContainerExited", "x", 0);
    check_exit(f, "o.s.1", "status 0"); /* it says itself whose it was */
    assert_int_equal(f->in_order, 1);
    assert_int_equal(stop(f, &c), ERR_NONE);
    end_when_stopped(f, &fake.tasks[1], 0);
    assert_int_equal(stop(f, &d), ERR_NONE);
}

/* Stopped so long ago that ECS has forgotten it: the caller's key says whose it was. */
static void adoption_of_a_forgotten_task(void **state)
{
    struct fixture *f = *state;
    struct container c = run(f, "s");
    runtime_ecs.close(f->rt);
    open_runtime(f);
    fake.tasks[0].hidden = true;
    mem_copy_string(c.key, sizeof(c.key), "o.s.1");
    runtime_ecs.adopt(f->rt, &c);
    check_exit(f, "o.s.1", "does not know");
}

/* The tags of a plain container say which attempt it is; nobody else's are asked for. */
static void plain_adoption(void **state)
{
    struct fixture *f = *state;
    class_set(f->class, "proof", "none");
    struct container c = run(f, "s");
    assert_int_equal(fake.tagged, 0);
    runtime_ecs.close(f->rt);
    open_runtime(f);
    runtime_ecs.adopt(f->rt, &c);
    looks(f, 1);
    assert_int_equal(fake.tagged, 1);
    fake_end(&fake.tasks[0], "EssentialContainerExited", "x", 9);
    check_exit(f, "o.s.1", "status 9");
    assert_int_equal(fake.tagged, 1);
}

/* ---- close, open ---- */

static void close_in_flight(void **state)
{
    struct fixture *f = *state;
    struct launched a, b, c;
    struct answer s = {0};
    struct container live = run(f, "live");
    fake_add_fault("RunTask", FAKE_HELD, 0);
    begin(f, "held", &a);
    fake_add_fault("RunTask", FAKE_LOST, 1);
    begin(f, "lost", &b);
    begin(f, "rising", &c);
    fake_add_fault("StopTask", FAKE_HELD, 0);
    runtime_ecs.stop(f->rt, &live, false, take_answer, &s);
    pass(f, 30);
    runtime_ecs.close(f->rt);
    f->rt = NULL;
    assert_int_equal(fake.under_way, 0);
    pass(f, 50);
    assert_int_equal(a.calls + b.calls + c.calls + s.calls, 0);
    assert_int_equal(f->exits, 0);
    assert_int_equal(fake.stops, 0); /* tasks are left as they are */
}

/* ---- the account ---- */

struct account {
    struct answer answer; /* first: take_answer's arg */
    int errors, warnings;
    char text[1024];
};

static void find(void *arg, enum finding_level level, const char *problem, const char *cure)
{
    struct account *a = arg;
    size_t used = strlen(a->text);
    a->errors += level == FINDING_ERROR;
    a->warnings += level == FINDING_WARNING;
    snprintf(a->text + used, sizeof(a->text) - used, "%s: %s\n", problem, cure);
}

static void the_account(void **state)
{
    struct fixture *f = *state;
    struct account a = {0};
    fake.cluster = "{\"clusters\":[{\"status\":\"ACTIVE\"}]}";
    fake.definition = "{\"taskDefinition\":{\"networkMode\":\"awsvpc\",\"containerDefinitions\""
                      ":[{\"name\":\"main\",\"portMappings\":[{\"containerPort\":8080}]}]}}";
    fake.subnets =
        "<R><subnetSet><item><availabilityZone>a</availabilityZone>"
        "<availableIpAddressCount>999</availableIpAddressCount></item></subnetSet></R>";
    runtime_ecs.examine(f->rt, find, take_answer, &a);
    assert_int_equal(answered(f, &a.answer), ERR_NONE);
    assert_int_equal(a.errors, 0);
    assert_int_equal(a.warnings, 1);
    assert_non_null(strstr(a.text, "zone a"));
    /* what may not be read is said, and the rest is read all the same */
    a = (struct account){0};
    fake_add_fault("DescribeTaskDefinition", FAKE_DENIED, 0);
    fake_add_fault("DescribeSubnets", FAKE_UNSENT, 0);
    fake.cluster = "{\"clusters\":[]}";
    runtime_ecs.examine(f->rt, find, take_answer, &a);
    struct answer second = {0};
    runtime_ecs.examine(f->rt, find, take_answer, &second);
    assert_int_equal(answered(f, &second), ERR_CONFLICT);
    assert_int_equal(answered(f, &a.answer), ERR_NONE);
    assert_int_equal(a.errors, 2);
    assert_int_equal(a.warnings, 1);
    assert_non_null(strstr(a.text, "allow ecs:DescribeTaskDefinition"));
    assert_non_null(strstr(a.text, "network of this machine"));
    runtime_ecs.examine(f->rt, find, take_answer, &a);
    runtime_ecs.close(f->rt);
    f->rt = NULL;
    pass(f, 20);
    assert_int_equal(a.answer.calls, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_life),
        TEST(deaths),
        TEST(the_status_comes_late),
        TEST(notice_is_no_death),
        TEST(doubt),
        TEST(doubt_during_a_look),
        TEST(doubt_while_ecs_is_away),
        TEST(missing_early),
        TEST(missing_late),
        TEST(stop_is_repeated),
        TEST(stop_with_a_lost_answer),
        TEST(stop_of_an_unknown_task),
        TEST(stop_of_nothing),
        TEST(stop_while_it_rises),
        TEST(listing),
        TEST(listing_without_end),
        TEST(adoption),
        TEST(adoption_of_a_forgotten_task),
        TEST(plain_adoption),
        TEST(close_in_flight),
        TEST(the_account),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
