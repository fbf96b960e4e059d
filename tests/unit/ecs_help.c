#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "ecs_help.h"

#define SECRET "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define TEMPLATE                                                                               \
    "{\"taskDefinition\":\"agent:3\",\"networkConfiguration\":{\"awsvpcConfiguration\":{"      \
    "\"subnets\":[\"subnet-1\"]}}}"

/* The helpers count by the loop's clock, which is fast. */
bool comes(struct fixture *f, until_fn *is_true, void *arg)
{
    return run_until(f->loop, is_true, arg, FAKE_SPEED * 20000);
}

void pass(struct fixture *f, int64_t real_ms)
{
    run_for(f->loop, FAKE_SPEED * real_ms);
}

static bool is_answered(void *arg)
{
    return ((struct answer *)arg)->calls > 0;
}

enum error_code answered(struct fixture *f, struct answer *a)
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

void open_runtime(struct fixture *f)
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

void write_template(struct fixture *f, const char *text)
{
    char *path = mem_printf("%s/task.json", f->directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    class_set(f->class, "ecs_task", path);
    free(path);
}

int set_up(void **state)
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

int tear_down(void **state)
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

void begin(struct fixture *f, const char *session, struct launched *out)
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

enum error_code outcome(struct fixture *f, struct launched *l)
{
    assert_true(comes(f, is_launched, l));
    assert_int_equal(l->calls, 1);
    return l->error.code;
}

static bool has_tasks(void *arg)
{
    return fake.count >= *(size_t *)arg;
}

struct fake_task *task_made(struct fixture *f, size_t n)
{
    assert_true(comes(f, has_tasks, &n));
    return &fake.tasks[n - 1];
}

/* A container that runs. */
struct container run(struct fixture *f, const char *session)
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

void check_exit(struct fixture *f, const char *key, const char *words)
{
    assert_true(comes(f, has_exited, f));
    assert_int_equal(f->exits, 1);
    assert_string_equal(f->exit_key, key);
    if (strstr(f->cause, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", f->cause, words);
}

bool progress_has_come(void *arg)
{
    return ((struct fixture *)arg)->progresses > 0;
}

enum error_code stop(struct fixture *f, const struct container *c)
{
    struct answer a = {0};
    runtime_ecs.stop(f->rt, c, false, take_answer, &a);
    assert_int_equal(a.calls, 0);
    return answered(f, &a);
}

bool has_stopped_some(void *arg)
{
    return fake.stops >= *(int *)arg;
}

void end_when_stopped(struct fixture *f, struct fake_task *t, int stops)
{
    assert_true(comes(f, has_stopped_some, &stops));
    fake_end(t, "UserInitiated", "x", 0);
}

static bool has_looked(void *arg)
{
    return fake.describes >= *(int *)arg;
}

/* That many more calls of DescribeTasks are answered. */
void looks(struct fixture *f, int more)
{
    int until = fake.describes + more;
    assert_true(comes(f, has_looked, &until));
}
