#include "store_help.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "loop/child.h"

struct loop *loop;
char dir[64], path[96];
int dones;
char order[64];
struct error last_error;

int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/cleat-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/state/journal.db", dir);
    loop = loop_new(NULL);
    dones = 0;
    order[0] = '\0';
    return 0;
}

static void count_removal(void *arg, const struct error *e)
{
    (void)e;
    ++*(int *)arg;
}

int remove_dir(void **state)
{
    (void)state;
    int removed = 0;
    dir_remove(loop, dir, count_removal, &removed);
    bool ok = spin(loop, &removed, 1, 10000);
    loop_free(loop);
    return ok ? 0 : -1;
}

struct store *open_ok(void)
{
    struct error e = {0};
    struct store *s = store_sqlite.open(loop, path, STORE_NORMAL, &e);
    assert_string_equal(e.message, "");
    assert_non_null(s);
    return s;
}

void open_fails(const char *why)
{
    struct error e = {0};
    assert_null(store_sqlite.open(loop, path, STORE_NORMAL, &e));
    assert_int_equal(e.code, ERR_STORE);
    if (!strstr(e.message, why))
        fail_msg("%s", e.message);
}

void on_done(void *arg, const struct error *e)
{
    strncat(order, arg, 8);
    last_error = e ? *e : (struct error){0};
    dones++;
}

void put(struct store *s, enum store_kind kind, const char *key, const char *row)
{
    struct store_change change = {kind, key, row};
    store_sqlite.commit(s, &change, 1, on_done, "");
}

static char loaded[256];
int rows;

void load_one(void *arg, const char *key, const char *row)
{
    (void)arg;
    size_t len = strlen(loaded);
    snprintf(loaded + len, sizeof loaded - len, "%s=%s;", key, row);
    rows++;
}

const char *load_all(struct store *s, enum store_kind kind)
{
    struct error e = {.code = ERR_INTERNAL};
    loaded[0] = '\0';
    rows = 0;
    store_sqlite.load(s, kind, load_one, NULL, &e);
    assert_int_equal(e.code, ERR_NONE);
    return loaded;
}

void sql(const char *text)
{
    char *script = mem_printf("import sqlite3;c=sqlite3.connect('%s',isolation_level=None);"
                              "c.execute('%s')",
                              path, text);
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        execl("/usr/bin/python3", "python3", "-c", script, (char *)NULL);
        _exit(1);
    }
    free(script);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

void put_ok(struct store *s, const char *key, const char *row)
{
    int before = dones;
    put(s, STORE_SESSION, key, row);
    assert_true(spin(loop, &dones, before + 1, 10000));
    assert_string_equal(last_error.message, "");
}

struct other other_begin(const char *statement)
{
    char *script = mem_printf("import sqlite3,sys;c=sqlite3.connect('%s',isolation_level=None);"
                              "c.execute('BEGIN');c.execute('%s').fetchall();"
                              "print('x',flush=True);sys.stdin.read()",
                              path, statement);
    int out[2], in[2];
    char c;
    assert_int_equal(pipe(out), 0);
    assert_int_equal(pipe(in), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        execl("/usr/bin/python3", "python3", "-c", script, (char *)NULL);
        _exit(1);
    }
    free(script);
    close(in[0]);
    close(out[1]);
    assert_int_equal(read(out[0], &c, 1), 1);
    close(out[0]);
    return (struct other){pid, in[1]};
}

void other_end(struct other o)
{
    close(o.in);
    waitpid(o.pid, NULL, 0);
}
