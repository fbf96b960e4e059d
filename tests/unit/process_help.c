#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "loop/child.h"
#include "process_help.h"

const char executor_script[] = "#!/bin/sh\n"
                               "env >$CLEAT_WORKSPACE/env.new; mv $CLEAT_WORKSPACE/env.new "
                               "$CLEAT_WORKSPACE/env\n"
                               "case $SESSION_ID in\n"
                               "exits) exit 3;;\n"
                               "finishes) exit 0;;\n"
                               "dies) kill -9 $$;;\n"
                               "deaf) trap '' TERM;;\n"
                               "*) trap 'exit 0' TERM;;\n"
                               "esac\n"
                               "echo ready; >$CLEAT_WORKSPACE/ready\n"
                               "while :; do sleep 0.02; done\n";

static void note_exit(void *arg, const char *id, const char *cause, bool in_order)
{
    struct bench *t = arg;
    t->exits++;
    t->in_order = in_order;
    mem_copy_string(t->exited, sizeof(t->exited), id);
    mem_copy_string(t->cause, sizeof(t->cause), cause);
}

struct runtime *open_with(struct bench *t, const char *state_dir, struct error *e)
{
    struct runtime_env env = {
        .loop = t->loop,
        .class = t->class,
        .owner = "o",
        .state_dir = state_dir,
        .executor = t->executor,
        .on_exit = note_exit,
        .arg = t,
    };
    return runtime_process.open(&env, e);
}

void open_runtime(struct bench *t)
{
    struct error e = {.code = ERR_NONE};
    t->rt = open_with(t, t->dir, &e);
    if (t->rt == NULL)
        fail_msg("%s", e.message);
}

void close_runtime(struct bench *t)
{
    if (t->rt != NULL)
        runtime_process.close(t->rt);
    t->rt = NULL;
}

int set_up(void **state)
{
    struct bench *t = mem_alloc(sizeof(*t));
    t->loop = loop_new(NULL);
    t->dir = directory_new();
    t->class = class_new();
    t->executor = mem_printf("%s/an executor", t->dir);
    assert_int_equal(file_write(t->executor, executor_script, NULL), ERR_NONE);
    assert_int_equal(chmod(t->executor, 0755), 0);
    class_set(t->class, "address_range", "127.65.8.0/29");
    class_set(t->class, "stop_grace_s", "1");
    open_runtime(t);
    *state = t;
    return 0;
}

static void list_one(void *arg, const char *key, const struct container *c, bool alive,
                     const char *label)
{
    struct list *l = arg;
    assert_true(l->count < 8);
    mem_copy_string(l->labels[l->count], sizeof(l->labels[0]), label ? label : "(none)");
    assert_string_equal(key, c->id);
    mem_copy_string(l->keys[l->count], KEY_SIZE, key);
    l->containers[l->count++] = *c;
    l->alive += alive;
}

static void list_done(void *arg, const struct error *e)
{
    take_answer(&((struct list *)arg)->answer, e);
}

struct list list(struct bench *t)
{
    struct list l = {.count = 0};
    runtime_process.list(t->rt, list_one, list_done, &l);
    assert_int_equal(l.count, 0);
    assert_int_equal(answer_of(t->loop, &l.answer), ERR_NONE);
    return l;
}

enum error_code stop(struct bench *t, const struct container *c, bool keep)
{
    struct answer a = {0};
    runtime_process.stop(t->rt, c, keep, take_answer, &a);
    assert_int_equal(a.calls, 0);
    return answer_of(t->loop, &a);
}

int tear_down(void **state)
{
    struct bench *t = *state;
    if (t->rt == NULL)
        open_runtime(t);
    class_set(t->class, "stop_grace_s", "0");
    struct list l = list(t);
    for (size_t i = 0; i < l.count; i++)
        assert_int_equal(stop(t, &l.containers[i], false), ERR_NONE);
    close_runtime(t);
    loop_free(t->loop);
    class_free(t->class);
    directory_remove(t->dir);
    free(t->executor);
    free(t);
    return 0;
}

static void note_launched(void *arg, const struct error *e, const struct container *c)
{
    struct launched *l = arg;
    take_answer(&l->answer, e);
    assert_true((e == NULL) == (c != NULL));
    if (c != NULL)
        l->container = *c;
}

struct launched launch(struct bench *t, const char *key, const char *session)
{
    struct launched l = {.answer = {0}};
    char label[32];
    snprintf(label, sizeof(label), "label-of-%s", session);
    struct launch spec = {
        .key = key,
        .owner = "o",
        .session = session,
        .attempt = 2,
        .label = label,
        .secret = SECRET,
        .idle_timeout_s = 77,
        .lifetime_s = 88,
    };
    runtime_process.launch(t->rt, &spec, note_launched, &l);
    assert_int_equal(l.answer.calls, 0);
    answer_of(t->loop, &l.answer);
    return l;
}

char *path_of(const struct bench *t, const char *key, const char *name)
{
    return mem_printf("%s/workspaces/%s%s%s", t->dir, key, *name == '\0' ? "" : "/", name);
}

bool exists(const struct bench *t, const char *key, const char *name)
{
    char *path = path_of(t, key, name);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

bool path_exists(void *arg)
{
    return access(arg, F_OK) == 0;
}

void until_ready(struct bench *t, const char *key)
{
    char *path = path_of(t, key, "ready");
    assert_true(run_until(t->loop, path_exists, path, 5000));
    free(path);
}

static bool has_exited(void *arg)
{
    return ((struct bench *)arg)->exits > 0;
}

void until_exit(struct bench *t, const char *id)
{
    assert_true(run_until(t->loop, has_exited, t, 5000));
    assert_int_equal(t->exits, 1);
    assert_string_equal(t->exited, id);
}
