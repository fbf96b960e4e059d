/* The runtime ecs: lost answers, conflicts, tasks that cannot be seen, many at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/runtime.h"
#include "driver_help.h"
#include "ecs_fake.h"

#define SECRET "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define TEMPLATE                                                                               \
    "{\"taskDefinition\":\"agent:3\",\"networkConfiguration\":{\"awsvpcConfiguration\":{"      \
    "\"subnets\":[\"subnet-1\"]}}}"

struct launched {
    int calls;
    struct error error;
    struct container container;
};

struct fixture {
    struct loop *loop;
    struct class *class;
    struct aws *aws;
    struct runtime *rt;
    char *directory;
    int exits, in_order, progresses;
    char exit_key[KEY_SIZE], cause[256], progress[128];
};

/* The helpers count by the loop's clock, which is fast. */
static bool comes(struct fixture *f, until_fn *is_true, void *arg)
{
    return run_until(f->loop, is_true, arg, FAKE_SPEED * 20000);
}

static void pass(struct fixture *f, int64_t real_ms)
{
    run_for(f->loop, FAKE_SPEED * real_ms);
}

static bool is_answered(void *arg)
{
    return ((struct answer *)arg)->calls > 0;
}

static enum error_code answered(struct fixture *f, struct answer *a)
{
    assert_true(comes(f, is_answered, a));
    assert_int_equal(a->calls, 1);
    a->calls = 0;
    return a->error.code;
}

static void on_exit_of(void *arg, const char *key, const char *cause, bool in_order)
{
    struct fixture *f = arg;
    f->exits++;
    f->in_order += in_order;
    mem_copy_string(f->exit_key, sizeof(f->exit_key), key);
    mem_copy_string(f->cause, sizeof(f->cause), cause);
}

static void on_progress(void *arg, const char *key, const char *text)
{
    struct fixture *f = arg;
    assert_true(*key);
    f->progresses++;
    mem_copy_string(f->progress, sizeof(f->progress), text);
}

static void open_runtime(struct fixture *f)
{
    struct error e = {0};
    f->rt = runtime_ecs.open(&(struct runtime_env){.loop = f->loop,
                                                   .class = f->class,
                                                   .owner = "o",
                                                   .aws = f->aws,
                                                   .on_exit = on_exit_of,
                                                   .on_progress = on_progress,
                                                   .arg = f},
                             &e);
    if (f->rt == NULL)
        fail_msg("%s", e.message);
}

static void write_template(struct fixture *f, const char *text)
{
    char *path = mem_printf("%s/task.json", f->directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    class_set(f->class, "ecs_task", path);
    free(path);
}

static int set_up(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));
    f->loop = loop_new(NULL);
    f->class = class_new();
    f->directory = directory_new();
    class_set(f->class, "runtime", "ecs");
    class_set(f->class, "ecs_cluster", "c");
    class_set(f->class, "ecs_container", "main");
    write_template(f, TEMPLATE);
    f->aws = fake_open(f->loop);
    open_runtime(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->rt != NULL)
        runtime_ecs.close(f->rt);
    fake_close(f->aws);
    loop_free(f->loop);
    class_free(f->class);
    directory_remove(f->directory);
    free(f);
    return 0;
}

/* ---- launches ---- */

static void take_launch(void *arg, const struct error *e, const struct container *c)
{
    struct launched *l = arg;
    l->calls++;
    l->error = e != NULL ? *e : (struct error){0};
    l->container = c != NULL ? *c : (struct container){0};
}

static void begin(struct fixture *f, const char *session, struct launched *out)
{
    char *key = mem_printf("o.%s.1", session);
    struct error e = {0};
    struct launch l = {.key = key,
                       .owner = "o",
                       .session = session,
                       .attempt = 1,
                       .secret = SECRET,
                       .idle_timeout_s = 5,
                       .lifetime_s = 6};
    char *bytes = runtime_ecs.prepare(f->rt, &l, &e);
    assert_non_null(bytes);
    l.prepared = bytes;
    *out = (struct launched){0};
    runtime_ecs.launch(f->rt, &l, take_launch, out);
    assert_int_equal(out->calls, 0); /* never inline */
    free(bytes);
    free(key);
}

static bool is_launched(void *arg)
{
    return ((struct launched *)arg)->calls > 0;
}

static enum error_code outcome(struct fixture *f, struct launched *l)
{
    assert_true(comes(f, is_launched, l));
    assert_int_equal(l->calls, 1);
    return l->error.code;
}

static bool has_tasks(void *arg)
{
    return fake.count >= *(size_t *)arg;
}

static struct fake_task *task_made(struct fixture *f, size_t n)
{
    assert_true(comes(f, has_tasks, &n));
    return &fake.tasks[n - 1];
}

/* A container that runs. */
static struct container run(struct fixture *f, const char *session)
{
    struct launched l;
    size_t n = fake.count + 1;
    begin(f, session, &l);
    fake_move(task_made(f, n), "RUNNING");
    assert_int_equal(outcome(f, &l), ERR_NONE);
    return l.container;
}

static bool has_exited(void *arg)
{
    return ((struct fixture *)arg)->exits > 0;
}

static void check_exit(struct fixture *f, const char *key, const char *words)
{
    assert_true(comes(f, has_exited, f));
    assert_int_equal(f->exits, 1);
    assert_string_equal(f->exit_key, key);
    if (strstr(f->cause, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", f->cause, words);
}

static bool progress_has_come(void *arg)
{
    return ((struct fixture *)arg)->progresses > 0;
}

static enum error_code stop(struct fixture *f, const struct container *c)
{
    struct answer a = {0};
    runtime_ecs.stop(f->rt, c, false, take_answer, &a);
    assert_int_equal(a.calls, 0);
    return answered(f, &a);
}

static bool has_stopped_some(void *arg)
{
    return fake.stops >= *(int *)arg;
}

static void end_when_stopped(struct fixture *f, struct fake_task *t, int stops)
{
    assert_true(comes(f, has_stopped_some, &stops));
    fake_end(t, "UserInitiated", "x", 0);
}

static bool has_looked(void *arg)
{
    return fake.describes >= *(int *)arg;
}

/* That many more calls of DescribeTasks are answered. */
static void looks(struct fixture *f, int more)
{
    int until = fake.describes + more;
    assert_true(comes(f, has_looked, &until));
}

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

/* ---- after a restart ---- */

struct listed {
    struct answer answer; /* first: take_answer's arg */
    int count;
    char keys[512];
    struct container last;
};

static void take_listed(void *arg, const char *key, const struct container *c, bool alive)
{
    struct listed *l = arg;
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
        TEST(notice_is_no_death),
        TEST(failed_starts),
        TEST(no_interface),
        TEST(stuck_start),
        TEST(lost_answers),
        TEST(nothing_was_sent),
        TEST(throttled_after_a_lost_answer),
        TEST(refused_after_a_lost_answer),
        TEST(conflict_with_ours),
        TEST(conflict_with_anothers),
        TEST(missing_early),
        TEST(missing_late),
        TEST(stop_is_repeated),
        TEST(stop_with_a_lost_answer),
        TEST(stop_of_an_unknown_task),
        TEST(stop_while_it_rises),
        TEST(many_at_once),
        TEST(ticks_do_not_overlap),
        TEST(ticks_that_fail),
        TEST(listing),
        TEST(adoption),
        TEST(adoption_of_a_forgotten_task),
        TEST(plain_adoption),
        TEST(close_in_flight),
        TEST(same_key_twice),
        TEST(bad_templates),
        TEST(the_account),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
