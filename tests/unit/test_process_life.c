/* The runtime `process`: containers are launched and end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "loop/child.h"
#include "process_help.h"

static bool has_line(const char *text, const char *line)
{
    const char *at = strstr(text, line);
    return at != NULL && (at == text || at[-1] == '\n') && at[strlen(line)] == '\n';
}

/* ---- launching ---- */

static int syncs;

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    syncs++;
    return __real_fsync(fd);
}

/* A machine that loses its power loses its containers, too. */
static void test_launch_waits_for_no_disk(void **state)
{
    struct bench *t = *state;
    syncs = 0;
    assert_int_equal(launch(t, "o.s.1", "s").answer.error.code, ERR_NONE);
    assert_true(exists(t, "o.s.1", "address"));
    assert_false(exists(t, "o.s.1", "address.new"));
    assert_int_equal(syncs, 0);
    assert_int_equal(file_write(t->executor, executor_script, NULL), ERR_NONE);
    assert_true(syncs > 0); /* these are counted */
}

static void test_environment(void **state)
{
    struct bench *t = *state;
    close_runtime(t);
    class_set(t->class, "memory_mb", "64");
    class_set(t->class, "processes", "9");
    class_set(t->class, "sandbox", "bwrap");
    class_set(t->class, "artifacts", "file:///nowhere");
    open_runtime(t);
    struct launched l = launch(t, "o.s.2", "s");
    assert_int_equal(l.answer.error.code, ERR_NONE);
    assert_string_equal(l.container.id, "o.s.2");
    assert_string_equal(l.container.ip, "127.65.8.1");
    assert_int_equal(l.container.port, 8080);
    until_ready(t, "o.s.2");
    char *path = path_of(t, "o.s.2", "env"), *text = file_read(path, 65536);
    char *workspace = path_of(t, "o.s.2", "");
    char *expected = mem_printf("CLEAT_WORKSPACE=%s", workspace);
    static const char *const lines[] = {
        "SESSION_ID=s",
        "CLEAT_ATTEMPT=2",
        "CLEAT_OWNER=o",
        ("CLEAT_SECRET=" SECRET),
        "CLEAT_SANDBOX=bwrap",
        "CLEAT_LISTEN=127.65.8.1:8080",
        "CLEAT_NETWORK=none",
        "CLEAT_MEMORY_MB=64",
        "CLEAT_PROCESSES=9",
        "CLEAT_CPU_S=0",
        "CLEAT_IDLE_TIMEOUT_S=77",
        "CLEAT_LIFETIME_S=88",
        "LANG=C.UTF-8",
        "CLEAT_OPEN_FILES=0",
        "CLEAT_FILE_SIZE_MB=4096",
        "CLEAT_ARTIFACTS=file:///nowhere",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_true(has_line(text, lines[i]));
    assert_true(has_line(text, expected));
    /* 200000 + 65.8.1 as one number: no other address of any class has it */
    assert_true(
        has_line(text, geteuid() == 0 ? "CLEAT_SANDBOX_UID=4461889" : "CLEAT_SANDBOX_UID=0"));
    assert_null(strstr(text, "HOME=")); /* nothing of ours is inherited */
    struct stat st;
    assert_int_equal(stat(workspace, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    free(expected);
    free(workspace);
    free(text);
    free(path);
    path = path_of(t, "o.s.2", "executor.log");
    text = file_read(path, 4096);
    assert_string_equal(text, "ready\n");
    free(text);
    free(path);
}

static void test_command(void **state)
{
    struct bench *t = *state;
    close_runtime(t);
    char *copy = mem_printf("%s/plain", t->dir), *command = mem_printf("/bin/sh  %s ", copy);
    assert_int_equal(file_write(copy, executor_script, NULL), ERR_NONE);
    class_set(t->class, "command", command);
    open_runtime(t);
    assert_int_equal(launch(t, "o.s.1", "s").answer.error.code, ERR_NONE);
    until_ready(t, "o.s.1");
    free(command);
    free(copy);
}

static void test_bad_key(void **state)
{
    struct bench *t = *state;
    static const char *const bad[] = {
        "",    "..", "o/../x",
        "o s", ".o", "o.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    struct container c = {.id = "../x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(launch(t, bad[i], "s").answer.error.code, ERR_INVALID);
    assert_int_equal(stop(t, &c, false), ERR_INVALID);
    runtime_process.adopt(t->rt, &c);
    runtime_process.release(t->rt, &c);
    assert_int_equal(list(t).count, 0);
}

/* Nothing stays of a launch that failed, neither workspace nor address. */
static void test_no_executor(void **state)
{
    struct bench *t = *state;
    close_runtime(t);
    char *late = mem_printf("%s/late", t->dir);
    class_set(t->class, "command", late);
    open_runtime(t);
    char *path = path_of(t, "o.s.1", "");
    for (int i = 0; i < 8; i++) { /* more than there are addresses */
        assert_int_equal(launch(t, "o.s.1", "s").answer.error.code, ERR_LAUNCH);
        for (int k = 0; k < 500 && access(path, F_OK) == 0; k++)
            run_for(t->loop, 5);
        assert_int_not_equal(access(path, F_OK), 0);
        run_for(t->loop, 20);
    }
    free(path);
    json_t *status = runtime_process.status(t->rt);
    assert_int_equal(json_integer_value(json_object_get(status, "addresses_free")), 6);
    json_decref(status);
    assert_int_equal(file_write(late, executor_script, NULL), ERR_NONE);
    assert_int_equal(chmod(late, 0755), 0);
    assert_int_equal(launch(t, "o.s.1", "s").answer.error.code, ERR_NONE);
    free(late);
}

static void test_addresses(void **state)
{
    struct bench *t = *state;
    char key[16];
    struct launched all[6], l;
    for (int i = 0; i < 6; i++) {
        snprintf(key, sizeof(key), "o.s.%d", i);
        all[i] = launch(t, key, "s");
        assert_int_equal(all[i].answer.error.code, ERR_NONE);
    }
    assert_string_equal(all[5].container.ip, "127.65.8.6");
    assert_int_equal(launch(t, "o.s.6", "s").answer.error.code, ERR_CAPACITY);
    assert_false(exists(t, "o.s.6", ""));
    runtime_process.release(t->rt, &all[2].container); /* not stopped: nothing happens */
    assert_int_equal(launch(t, "o.s.6", "s").answer.error.code, ERR_CAPACITY);
    stop(t, &all[4].container, false);
    stop(t, &all[1].container, false);
    assert_int_equal(launch(t, "o.s.6", "s").answer.error.code,
                     ERR_CAPACITY); /* not released */
    runtime_process.release(t->rt, &all[4].container);
    runtime_process.release(t->rt, &all[1].container);
    runtime_process.release(t->rt, &all[1].container);
    l = launch(t, "o.s.6", "s");
    assert_string_equal(l.container.ip, all[4].container.ip); /* free for longer */
    l = launch(t, "o.s.7", "s");
    assert_string_equal(l.container.ip, all[1].container.ip);
}

/* Two classes of one range never give the same address. */
static void test_shared_range(void **state)
{
    struct bench *t = *state;
    struct runtime *other = open_with(t, t->dir, NULL), *mine = t->rt;
    struct launched a = launch(t, "o.a.1", "s");
    t->rt = other;
    struct launched b = launch(t, "o.b.1", "s");
    assert_string_equal(a.container.ip, "127.65.8.1");
    assert_string_equal(b.container.ip, "127.65.8.2");
    t->rt = mine;
    runtime_process.close(other);
    class_set(t->class, "address_range", "127.65.8.0/28");
    struct error e = {.code = ERR_NONE};
    assert_null(open_with(t, t->dir, &e)); /* overlaps */
    assert_int_equal(e.code, ERR_CONFIG);
    class_set(t->class, "address_range", "127.65.8.0/29");
}

static void test_bad_state_dir(void **state)
{
    struct bench *t = *state;
    struct error e = {.code = ERR_NONE};
    char *path = mem_printf("%s/file", t->dir);
    assert_int_equal(file_write(path, "x", NULL), ERR_NONE);
    assert_null(open_with(t, path, &e));
    assert_int_not_equal(e.code, ERR_NONE);
    free(path);
}

/* ---- ending ---- */

static void test_exit(void **state)
{
    struct bench *t = *state;
    struct launched l = launch(t, "o.x.1", "exits");
    until_exit(t, "o.x.1");
    assert_string_equal(t->cause, "exited with status 3");
    assert_false(t->in_order);
    assert_int_equal(launch(t, "o.x.1", "exits").answer.error.code, ERR_DIED); /* never twice */
    assert_int_equal(stop(t, &l.container, true), ERR_NONE);
    assert_true(exists(t, "o.x.1", "executor.log")); /* kept */
    assert_int_equal(stop(t, &l.container, false), ERR_NONE);
    assert_false(exists(t, "o.x.1", ""));
    assert_int_equal(stop(t, &l.container, false), ERR_NONE);
    runtime_process.release(t->rt, &l.container);
    assert_int_equal(stop(t, &l.container, false), ERR_NONE); /* unknown by now */
    assert_int_equal(t->exits, 1);
}

static void test_exit_in_order(void **state)
{
    struct bench *t = *state;
    launch(t, "o.x.1", "finishes");
    until_exit(t, "o.x.1");
    assert_true(t->in_order);
}

static void test_killed(void **state)
{
    struct bench *t = *state;
    launch(t, "o.x.1", "dies");
    until_exit(t, "o.x.1");
    assert_string_equal(t->cause, "killed by signal 9");
}

static void test_stop(void **state)
{
    struct bench *t = *state;
    struct launched l = launch(t, "o.s.1", "s");
    until_ready(t, "o.s.1");
    struct answer first = {0}, second = {0};
    int64_t start = loop_now_ms(t->loop);
    runtime_process.stop(t->rt, &l.container, false, take_answer, &first);
    runtime_process.stop(t->rt, &l.container, false, take_answer, &second);
    assert_int_equal(launch(t, "o.s.1", "s").answer.error.code, ERR_DIED);
    assert_int_equal(answer_of(t->loop, &first), ERR_NONE);
    assert_int_equal(answer_of(t->loop, &second), ERR_NONE);
    assert_true(loop_now_ms(t->loop) - start < 900); /* it heard the first signal */
    assert_false(exists(t, "o.s.1", ""));
    run_for(t->loop, 50);
    assert_int_equal(t->exits, 0); /* it was asked to */
    assert_int_equal(list(t).count, 0);
}

static void test_force(void **state)
{
    struct bench *t = *state;
    struct launched l = launch(t, "o.s.1", "deaf");
    until_ready(t, "o.s.1");
    int64_t start = loop_now_ms(t->loop);
    assert_int_equal(stop(t, &l.container, false), ERR_NONE);
    assert_true(loop_now_ms(t->loop) - start >= 990);
    assert_false(exists(t, "o.s.1", ""));
}

/* One of those who stop it together wants its files. */
static void test_keep(void **state)
{
    struct bench *t = *state;
    struct launched l = launch(t, "o.s.1", "s");
    until_ready(t, "o.s.1");
    struct answer first = {0}, second = {0};
    runtime_process.stop(t->rt, &l.container, false, take_answer, &first);
    runtime_process.stop(t->rt, &l.container, true, take_answer, &second);
    assert_int_equal(answer_of(t->loop, &first), ERR_NONE);
    assert_int_equal(answer_of(t->loop, &second), ERR_NONE);
    assert_true(exists(t, "o.s.1", "env"));
}

/* Closed and freed in the middle of everything: nothing is called back, nothing leaks. */
static void test_close_while_stopping(void **state)
{
    struct bench *t = *state;
    struct launched a = launch(t, "o.a.1", "s"), b = launch(t, "o.b.1", "exits");
    struct answer first = {0}, second = {0};
    until_exit(t, "o.b.1");
    runtime_process.stop(t->rt, &a.container, false, take_answer, &first);
    runtime_process.stop(t->rt, &b.container, false, take_answer, &second);
    close_runtime(t);
    run_for(t->loop, 200);
    assert_int_equal(first.calls + second.calls, 0);
}

static void test_status(void **state)
{
    struct bench *t = *state;
    launch(t, "o.a.1", "s");
    json_t *status = runtime_process.status(t->rt);
    assert_string_equal(json_string_value(json_object_get(status, "name")), "process");
    assert_string_equal(json_string_value(json_object_get(status, "sandbox")), "auto");
    assert_int_equal(json_integer_value(json_object_get(status, "containers")), 1);
    assert_int_equal(json_integer_value(json_object_get(status, "addresses_free")), 5);
    assert_null(json_object_get(status, "isolation"));
    json_t *limit = json_array_get(json_object_get(status, "limits_not_enforced"), 0);
    assert_non_null(json_string_value(json_object_get(limit, "limit")));
    assert_non_null(strstr(json_string_value(json_object_get(limit, "reason")), "cgroup"));
    json_decref(status);
    close_runtime(t);
    class_set(t->class, "sandbox", "none");
    open_runtime(t);
    status = runtime_process.status(t->rt);
    assert_string_equal(json_string_value(json_object_get(status, "isolation")), "none");
    json_decref(status);
}

int main(void)
{
#define REAL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        REAL(test_launch_waits_for_no_disk),
        REAL(test_environment),
        REAL(test_command),
        REAL(test_bad_key),
        REAL(test_no_executor),
        REAL(test_addresses),
        REAL(test_shared_range),
        REAL(test_bad_state_dir),
        REAL(test_exit),
        REAL(test_exit_in_order),
        REAL(test_killed),
        REAL(test_stop),
        REAL(test_force),
        REAL(test_keep),
        REAL(test_close_while_stopping),
        REAL(test_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
