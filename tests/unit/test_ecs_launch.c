/* Launches on ECS: what fails, lost answers, conflicts, many at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "ecs_help.h"

/* ---- answers of RunTask ---- */

static void lost_answers(void **state)
{
    static const enum fake_fault kinds[] = {FAKE_LOST, FAKE_VANISHED, FAKE_NONSENSE};
    struct fixture *f = *state;
    struct launched l;
    char session[8] = "s0";
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        session[1] = (char)('0' + i);
        int runs = fake.runs;
        fake_add_fault("RunTask", kinds[i], 0);
        fake_add_fault("RunTask", kinds[i], 1);
        fake.first_status = "RUNNING";
        begin(f, session, &l);
        assert_int_equal(outcome(f, &l), ERR_NONE);
        assert_int_equal(fake.count, i + 1);
        assert_int_equal(fake.runs - runs, kinds[i] == FAKE_VANISHED ? 1 : 3);
    }
}

static void nothing_was_sent(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    fake_add_fault("RunTask", FAKE_UNSENT, 0);
    begin(f, "s", &l);
    assert_int_equal(outcome(f, &l), ERR_LAUNCH);
    fake_add_fault("RunTask", FAKE_THROTTLED, 0);
    begin(f, "s", &l);
    assert_int_equal(outcome(f, &l), ERR_CAPACITY);
    fake_add_fault("RunTask", FAKE_DENIED, 0);
    begin(f, "s", &l);
    assert_int_equal(outcome(f, &l), ERR_PERMANENT);
    assert_non_null(strstr(l.error.message, "AccessDeniedException"));
    fake_add_fault("RunTask", FAKE_NO_ROOM, 0);
    begin(f, "s", &l);
    assert_int_equal(outcome(f, &l), ERR_CAPACITY);
    assert_non_null(strstr(l.error.message, "RESOURCE:MEMORY"));
    assert_int_equal(fake.lists, 0);
    assert_int_equal(fake.count, 0);
}

/* Throttled after a try whose outcome nobody knows: there may be a task. */
static void throttled_after_a_lost_answer(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    fake_add_fault("RunTask", FAKE_LOST, 0);
    fake_add_fault("RunTask", FAKE_THROTTLED, 1);
    fake_add_fault("RunTask", FAKE_UNSENT, 2);
    fake.first_status = "RUNNING";
    begin(f, "s", &l);
    assert_int_equal(outcome(f, &l), ERR_NONE);
    assert_int_equal(fake.count, 1);
}

/* Refused after such a try: the listing decides, also a listing that fails first. */
static void refused_after_a_lost_answer(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    run(f, "other");
    fake.first_status = "RUNNING";
    fake.page = 1;
    fake_add_fault("RunTask", FAKE_LOST, 0);
    fake_add_fault("RunTask", FAKE_DENIED, 1);
    fake_add_fault("ListTasks", FAKE_DENIED, 0);
    begin(f, "s", &l);
    assert_int_equal(outcome(f, &l), ERR_NONE);
    assert_string_equal(l.container.id, fake.tasks[1].id);
    assert_int_equal(fake.count, 2);
    fake_add_fault("RunTask", FAKE_VANISHED, 0);
    fake_add_fault("RunTask", FAKE_DENIED, 1);
    int lists = fake.lists;
    begin(f, "t", &l);
    assert_int_equal(outcome(f, &l), ERR_PERMANENT);
    assert_int_equal(fake.lists - lists, 3 * 2); /* of two pages: a listing may lag behind */
    assert_int_equal(fake.count, 2);
}

/* ---- conflicts ---- */

static void conflict_with_ours(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    run(f, "s");
    runtime_ecs.close(f->rt);
    class_set(f->class, "idle_timeout_s", "77");
    write_template(f, "{\"taskDefinition\":\"agent:4\",\"networkConfiguration\":{"
                      "\"awsvpcConfiguration\":{\"subnets\":[\"subnet-1\"]}}}");
    open_runtime(f);
    begin(f, "s", &l);
    assert_int_equal(outcome(f, &l), ERR_NONE);
    assert_string_equal(l.container.id, fake.tasks[0].id);
    assert_int_equal(fake.count, 1);
    assert_int_equal(fake.stops, 0);
}

static void conflict_with_anothers(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    run(f, "s");
    runtime_ecs.close(f->rt);
    open_runtime(f);
    fake.conflict = fake.tasks[0].id;
    fake_add_fault("RunTask", FAKE_CONFLICT, 0);
    begin(f, "t", &l);
    assert_int_equal(outcome(f, &l), ERR_PERMANENT);
    assert_non_null(strstr(l.error.message, "not ours"));
    assert_int_equal(fake.stops, 0); /* whose it is, nobody here knows */
    fake.conflict = "";
    fake_add_fault("RunTask", FAKE_CONFLICT, 0);
    begin(f, "t", &l);
    assert_int_equal(outcome(f, &l), ERR_PERMANENT);
    assert_int_equal(fake.lists, 3); /* it may be ours, though it is not named */
}

/* While ECS does not say whose it is, it is not stopped either. */
static void conflict_that_is_not_explained(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    run(f, "s");
    runtime_ecs.close(f->rt);
    class_set(f->class, "start_timeout_s", "10");
    open_runtime(f);
    fake.conflict = fake.tasks[0].id;
    fake_add_fault("RunTask", FAKE_CONFLICT, 0);
    for (int i = 0; i < 6; i++)
        fake_add_fault("DescribeTasks", FAKE_THROTTLED, i);
    begin(f, "t", &l);
    assert_int_equal(outcome(f, &l), ERR_PERMANENT);
    assert_non_null(strstr(l.error.message, "not ours"));
    assert_int_equal(fake.stops, 0);
}

static void an_answer_of_another_launch(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    run(f, "s");
    runtime_ecs.close(f->rt);
    open_runtime(f);
    fake_add_fault("RunTask", FAKE_MIXED_UP, 0);
    begin(f, "t", &l);
    assert_int_equal(outcome(f, &l), ERR_PERMANENT);
    assert_non_null(strstr(l.error.message, "not ours"));
    assert_int_equal(fake.stops, 0);
}

/* ---- many ---- */

static bool all_launched(void *arg)
{
    struct launched *l = arg;
    for (size_t i = 0; i < 250; i++)
        if (l[i].calls == 0)
            return false;
    return true;
}

static void many_at_once(void **state)
{
    struct fixture *f = *state;
    struct launched *l = mem_array(250, sizeof(*l));
    char session[16];
    fake.first_status = "RUNNING";
    for (int i = 0; i < 250; i++) {
        snprintf(session, sizeof(session), "s%d", i);
        begin(f, session, &l[i]);
    }
    assert_true(comes(f, all_launched, l));
    for (size_t i = 0; i < 250; i++)
        assert_int_equal(l[i].error.code, ERR_NONE);
    assert_int_equal(fake.runs, 250);
    assert_int_equal(fake.most_described, 100);
    assert_true(fake.most_describing <= 3);
    /* all run: two ticks of three calls take 40 s */
    int64_t began = loop_now_ms(f->loop);
    looks(f, 6);
    assert_true(loop_now_ms(f->loop) - began > 20000);
    fake_end(&fake.tasks[249], "EssentialContainerExited", "x", 1);
    check_exit(f, "o.s249.1", "status 1");
    free(l);
}

/* A tick that takes long is not overtaken by the next. */
static void ticks_do_not_overlap(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    fake_add_fault("DescribeTasks", FAKE_HELD, 0);
    begin(f, "s", &l);
    fake_move(task_made(f, 1), "RUNNING");
    pass(f, 200);
    begin(f, "t", &l);
    fake_move(task_made(f, 2), "RUNNING");
    pass(f, 200);
    assert_int_equal(fake.describes, 0);
    fake_release();
    assert_int_equal(outcome(f, &l), ERR_NONE);
    assert_int_equal(fake.most_describing, 1);
}

static void ticks_that_fail(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    fake_add_fault("DescribeTasks", FAKE_DENIED, 0);
    fake_add_fault("DescribeTasks", FAKE_NONSENSE, 1);
    fake_add_fault("DescribeTasks", FAKE_LOST, 2);
    begin(f, "s", &l);
    fake_move(task_made(f, 1), "RUNNING");
    assert_int_equal(outcome(f, &l), ERR_NONE);
    json_t *o = runtime_ecs.status(f->rt);
    assert_string_equal(json_string_value(json_object_get(o, "last_error")), "connection lost");
    assert_string_equal(json_string_value(json_object_get(o, "cluster")), "c");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "tasks"), "live")),
                     1);
    json_decref(o);
}

static void failed_starts(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    begin(f, "s", &l);
    fake_end(task_made(f, 1), "TaskFailedToStart",
             "CannotPullContainerError: pull image manifest has been retried: not found", -1);
    assert_int_equal(outcome(f, &l), ERR_PERMANENT);
    assert_non_null(strstr(l.error.message, "CannotPullContainerError"));
    begin(f, "t", &l);
    fake_end(task_made(f, 2), "TaskFailedToStart", "Capacity is unavailable at this time", -1);
    assert_int_equal(outcome(f, &l), ERR_CAPACITY);
    begin(f, "u", &l);
    fake_end(task_made(f, 3), "EssentialContainerExited", "Essential container", 78);
    assert_int_equal(outcome(f, &l), ERR_LAUNCH);
    assert_int_equal(f->exits, 0);
}

static void no_interface(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    begin(f, "s", &l);
    struct fake_task *t = task_made(f, 1);
    t->status = "RUNNING";
    end_when_stopped(f, t, 1);
    assert_int_equal(outcome(f, &l), ERR_PERMANENT);
    assert_non_null(strstr(l.error.message, "awsvpc"));
}

static void stuck_start(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    class_set(f->class, "start_timeout_s", "20");
    begin(f, "s", &l);
    struct fake_task *t = task_made(f, 1);
    fake_add_fault("StopTask", FAKE_THROTTLED, 0); /* nobody else would repeat it */
    end_when_stopped(f, t, 1);
    assert_int_equal(outcome(f, &l), ERR_LAUNCH);
    assert_non_null(strstr(l.error.message, "within 20 s"));
    assert_int_equal(fake_alive(), 0);
}

/* The time for a start begins when there is a task. */
static void slow_answer(void **state)
{
    struct fixture *f = *state;
    struct launched l;
    class_set(f->class, "start_timeout_s", "20");
    fake_add_fault("RunTask", FAKE_HELD, 0);
    begin(f, "s", &l);
    pass(f, 20 * 1000 / FAKE_SPEED + 50);
    fake_release();
    fake_move(task_made(f, 1), "RUNNING");
    assert_int_equal(outcome(f, &l), ERR_NONE);
    assert_int_equal(fake.stops, 0);
}

static void same_key_twice(void **state)
{
    struct fixture *f = *state;
    struct launched a, b;
    begin(f, "s", &a);
    begin(f, "s", &b);
    assert_int_equal(outcome(f, &b), ERR_LAUNCH);
    fake_move(task_made(f, 1), "RUNNING");
    assert_int_equal(outcome(f, &a), ERR_NONE);
    begin(f, "s", &b);
    assert_int_equal(outcome(f, &b), ERR_NONE);
    assert_string_equal(a.container.id, b.container.id);
    assert_int_equal(fake.runs, 1);
}

static void bad_templates(void **state)
{
    struct fixture *f = *state;
    struct error e = {0};
    struct runtime_env env = {
        .loop = f->loop, .class = f->class, .owner = "o", .aws = f->aws, .arg = f};
    write_template(f, "{\"taskDefinition\":");
    assert_null(runtime_ecs.open(&env, &e));
    assert_int_equal(e.code, ERR_CONFIG);
    class_set(f->class, "ecs_task", "/nonexistent/task.json");
    assert_null(runtime_ecs.open(&env, &e));
    assert_int_equal(e.code, ERR_CONFIG);
    assert_non_null(strstr(e.message, "/nonexistent/task.json"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lost_answers),
        TEST(nothing_was_sent),
        TEST(throttled_after_a_lost_answer),
        TEST(refused_after_a_lost_answer),
        TEST(conflict_with_ours),
        TEST(conflict_with_anothers),
        TEST(conflict_that_is_not_explained),
        TEST(an_answer_of_another_launch),
        TEST(many_at_once),
        TEST(ticks_do_not_overlap),
        TEST(ticks_that_fail),
        TEST(failed_starts),
        TEST(no_interface),
        TEST(stuck_start),
        TEST(slow_answer),
        TEST(same_key_twice),
        TEST(bad_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
