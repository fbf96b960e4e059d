#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "driver/store.h"
#include "loop/child.h"
#include "own_process.h"
#include "store_help.h"

/* ---- what it keeps */

static void rows_are_kept_in_the_order_of_their_keys(void **state)
{
    (void)state;
    struct store *s = open_ok();
    assert_string_equal(load_all(s, STORE_SESSION), "");
    const struct store_change changes[] = {
        {STORE_SESSION, "b", "{\"n\":2}"}, {STORE_SESSION, "a", "{\"n\":1}"},
        {STORE_ATTEMPT, "a", "{}"},        {STORE_ATTEMPT, "x'; DROP TABLE session; --", "{}"},
        {STORE_ATTEMPT, "é", "\"\n€\""},   {STORE_SESSION, "c", "{}"},
        {STORE_SESSION, "c", NULL},        {STORE_SESSION, "never", NULL},
    };
    store_sqlite.commit(s, changes, sizeof changes / sizeof *changes, on_done, "1");
    put(s, STORE_SESSION, "b", "{\"n\":3}");
    assert_int_equal(dones, 0);
    assert_true(spin(loop, &dones, 2, 5000));
    assert_int_equal(last_error.code, ERR_NONE);
    store_sqlite.close(s);

    s = open_ok();
    assert_string_equal(load_all(s, STORE_SESSION), "a={\"n\":1};b={\"n\":3};");
    assert_string_equal(load_all(s, STORE_ATTEMPT),
                        "a={};x'; DROP TABLE session; --={};é=\"\n€\";");
    store_sqlite.close(s);
    store_sqlite.close(NULL);
}

static void commits_are_done_in_their_order_and_may_be_empty(void **state)
{
    (void)state;
    struct store *s = open_ok();
    struct store_change change = {STORE_ATTEMPT, "k", "1"};
    store_sqlite.commit(s, &change, 1, on_done, "a");
    store_sqlite.commit(s, NULL, 0, on_done, "b");
    store_sqlite.commit(s, &change, 1, on_done, "c");
    assert_true(spin(loop, &dones, 3, 5000));
    assert_string_equal(order, "abc");
    store_sqlite.close(s);
}

static void what_is_in_flight_is_kept_but_not_reported_after_close(void **state)
{
    (void)state;
    struct store *s = open_ok();
    put(s, STORE_ATTEMPT, "k", "1");
    store_sqlite.close(s);
    spin_for(loop, 20);
    assert_int_equal(dones, 0);
    s = open_ok();
    assert_string_equal(load_all(s, STORE_ATTEMPT), "k=1;");
    store_sqlite.close(s);
}

static void close_in_done(void *arg, const struct error *e)
{
    assert_null(e);
    store_sqlite.close(arg);
    dones++;
}

static void it_may_be_closed_by_its_own_callback(void **state)
{
    (void)state;
    struct store *s = open_ok();
    struct store_change change = {STORE_ATTEMPT, "k", "1"};
    store_sqlite.commit(s, &change, 1, close_in_done, s);
    store_sqlite.commit(s, &change, 1, on_done, "never");
    assert_true(spin(loop, &dones, 1, 5000));
    spin_for(loop, 20);
    assert_int_equal(dones, 1);
}

static void files_and_directory_are_private(void **state)
{
    (void)state;
    struct stat st;
    struct error e;
    char *parent = mem_printf("%s/state", dir), *wal = mem_printf("%s-wal", path);
    assert_int_equal(dir_make(parent, 0755, &e), ERR_NONE);
    assert_int_equal(rmdir(parent), 0);
    struct store *s = open_ok();
    put(s, STORE_ATTEMPT, "k", "1");
    assert_int_equal(stat(parent, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    store_sqlite.close(s);
    free(parent);
    free(wal);
}

/* ---- atomicity */

enum { ROWS_PER_COMMIT = 50 };

static struct store *victim;
static int generation;

static void commit_generation(void *arg, const struct error *e)
{
    if (e)
        _exit(2);
    struct store_change changes[ROWS_PER_COMMIT];
    char keys[ROWS_PER_COMMIT][16], row[16];
    snprintf(row, sizeof row, "%d", ++generation);
    for (int i = 0; i < ROWS_PER_COMMIT; i++) {
        snprintf(keys[i], sizeof keys[i], "%03d", i);
        changes[i] = (struct store_change){STORE_SESSION, keys[i], row};
    }
    if (arg && generation > 3 && write(*(int *)arg, "x", 1) != 1) /* the previous one is done */
        _exit(3);
    store_sqlite.commit(victim, changes, ROWS_PER_COMMIT, commit_generation, arg);
}

static void commit_until_killed(int report)
{
    struct error e;
    struct loop *mine = loop_new(NULL);
    victim = store_sqlite.open(mine, path, STORE_NORMAL, &e);
    if (!victim)
        _exit(1);
    generation = 0;
    commit_generation(&report, NULL);
    loop_run(mine);
}

static void compare_rows(void *arg, const char *key, const char *row)
{
    char *first = arg;
    (void)key;
    if (rows++ == 0)
        mem_copy_string(first, 16, row);
    assert_string_equal(row, first);
}

static void a_kill_leaves_whole_commits(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        int fds[2], reported = 0;
        char chunk[64], first[16] = "";
        assert_int_equal(pipe(fds), 0);
        pid_t pid = fork();
        if (pid == 0)
            commit_until_killed(fds[1]);
        close(fds[1]);
        ssize_t got = read(fds[0], chunk, 1);
        usleep((useconds_t)(round * 700)); /* hits another place each time */
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status));
        for (; got > 0; got = read(fds[0], chunk, sizeof chunk))
            reported += (int)got;
        close(fds[0]);
        struct store *s = open_ok();
        struct error e;
        rows = 0;
        store_sqlite.load(s, STORE_SESSION, compare_rows, first, &e);
        assert_int_equal(rows, ROWS_PER_COMMIT);
        assert_true(atoi(first) >= reported + 2); /* what was done is there */
        store_sqlite.close(s);
    }
}

static int commit_to_a_full_disk(void)
{
    struct store *s = open_ok();
    put(s, STORE_ATTEMPT, "k", "old");
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){65536, 65536});
    char *large = mem_alloc(200001);
    memset(large, 'x', 200000);
    const struct store_change changes[] = {{STORE_ATTEMPT, "k", "new"},
                                           {STORE_ATTEMPT, "l", large}};
    store_sqlite.commit(s, changes, 2, on_done, "");
    if (!spin(loop, &dones, 2, 5000) || last_error.code != ERR_STORE)
        return 1;
    if (strcmp(load_all(s, STORE_ATTEMPT), "k=old;") != 0)
        return 2;
    put(s, STORE_ATTEMPT, "m", "small again");
    if (!spin(loop, &dones, 3, 5000) || last_error.code != ERR_NONE)
        return 3;
    return strcmp(load_all(s, STORE_ATTEMPT), "k=old;m=small again;") == 0 ? 0 : 4;
}

static void a_full_disk_fails_the_commit_as_a_whole(void **state)
{
    (void)state;
    in_own_process(commit_to_a_full_disk);
}

static void another_writer_fails_the_commit(void **state)
{
    (void)state;
    struct store *s = open_ok();
    /* somebody who does not know our lock file */
    struct other o = other_begin("INSERT INTO session VALUES(0, 0)");
    put(s, STORE_ATTEMPT, "k", "1");
    assert_true(spin(loop, &dones, 1, 5000));
    assert_int_equal(last_error.code, ERR_STORE);
    assert_non_null(strstr(last_error.message, "database is locked"));
    other_end(o);
    put(s, STORE_ATTEMPT, "k", "2");
    assert_true(spin(loop, &dones, 2, 5000));
    assert_int_equal(last_error.code, ERR_NONE);
    assert_string_equal(load_all(s, STORE_ATTEMPT), "k=2;");
    store_sqlite.close(s);
}

/* ---- what somebody else does to it */

static void a_failed_load_says_so(void **state)
{
    (void)state;
    struct store *s = open_ok();
    struct error e = {0};
    sql("DROP TABLE attempt");
    store_sqlite.load(s, STORE_ATTEMPT, load_one, NULL, &e);
    assert_int_equal(e.code, ERR_STORE);
    store_sqlite.close(s);
}

static void one_failed_change_fails_the_commit_as_a_whole(void **state)
{
    (void)state;
    struct store *s = open_ok();
    sql("DROP TABLE attempt");
    const struct store_change changes[] = {{STORE_SESSION, "k", "1"},
                                           {STORE_ATTEMPT, "k", "1"}};
    store_sqlite.commit(s, changes, 2, on_done, "");
    assert_true(spin(loop, &dones, 1, 5000));
    assert_int_equal(last_error.code, ERR_STORE);
    assert_string_equal(load_all(s, STORE_SESSION), "");
    put(s, STORE_SESSION, "l", "2");
    assert_true(spin(loop, &dones, 2, 5000));
    assert_int_equal(last_error.code, ERR_NONE);
    assert_string_equal(load_all(s, STORE_SESSION), "l=2;");
    store_sqlite.close(s);
}

static void commit_fails(struct store *s, const char *why)
{
    int before = dones;
    put(s, STORE_SESSION, "k", "lost");
    assert_true(spin(loop, &dones, before + 1, 5000));
    assert_int_equal(last_error.code, ERR_STORE);
    if (!strstr(last_error.message, why))
        fail_msg("%s", last_error.message);
}

/* SQLite would go on writing into what no name leads to any more. */
static void files_that_are_gone_fail_the_commit(void **state)
{
    (void)state;
    struct store *s = open_ok();
    char *aside = mem_printf("%s.aside", path), *wal = mem_printf("%s-wal", path);
    struct error e;
    put_ok(s, "a", "1");
    assert_int_equal(rename(path, aside), 0);
    commit_fails(s, "the file was removed");
    assert_int_equal(file_write(path, "another one", &e), ERR_NONE);
    commit_fails(s, "the file was replaced");
    assert_int_equal(rename(aside, path), 0);
    put_ok(s, "b", "2");
    assert_int_equal(rename(wal, aside), 0);
    commit_fails(s, "its -wal file was removed");
    assert_int_equal(rename(aside, wal), 0);
    put_ok(s, "c", "3");
    assert_string_equal(load_all(s, STORE_SESSION), "a=1;b=2;c=3;");
    store_sqlite.close(s);
    free(aside);
    free(wal);
}

/* ---- durability and checkpoints */

static atomic_int flushes;

/* In place of the C library's, for SQLite as well. */
int fdatasync(int fd)
{
    atomic_fetch_add(&flushes, 1);
    return (int)syscall(SYS_fdatasync, fd);
}

static int flushes_of_commits(enum store_durability durability)
{
    struct error e = {0};
    struct store *s = store_sqlite.open(loop, path, durability, &e);
    assert_non_null(s);
    put_ok(s, "first", "1"); /* begins the log */
    int before = atomic_load(&flushes);
    for (int i = 0; i < 20; i++)
        put_ok(s, "k", "1");
    int count = atomic_load(&flushes) - before;
    store_sqlite.close(s);
    return count;
}

static void full_durability_flushes_each_commit(void **state)
{
    (void)state;
    assert_int_equal(flushes_of_commits(STORE_NORMAL), 0);
    assert_true(flushes_of_commits(STORE_FULL) >= 20);
}

static struct store_status status_of(struct store *s)
{
    struct store_status st;
    store_sqlite.status(s, &st);
    return st;
}

/* Rows of 100 KB, each a key of its own. */
static void put_large(struct store *s, int from, int count)
{
    static char large[100001];
    char key[16];
    memset(large, 'x', 100000);
    for (int i = from; i < from + count; i++) {
        snprintf(key, sizeof key, "%06d", i);
        put(s, STORE_SESSION, key, large);
        assert_true(spin(loop, &dones, dones + 1, 10000));
        assert_string_equal(last_error.message, "");
    }
}

static void the_log_is_copied_while_commits_go_on(void **state)
{
    (void)state;
    enum { COMMITS = 400 };
    struct store *s = open_ok();
    struct stat st;
    int64_t largest = 0, all = COMMITS * 100000LL, until = loop_now_ms(loop) + 60000;
    put_large(s, 0, COMMITS);
    while (status_of(s).checkpoints < 2 && loop_now_ms(loop) < until)
        put_large(s, 0, 20);
    assert_true(status_of(s).checkpoints >= 2);
    do { /* it begins anew once all of it is copied */
        put_large(s, 0, 1);
        largest = status_of(s).log_bytes;
    } while (largest > all / 4 && loop_now_ms(loop) < until);
    assert_true(largest <= all / 4);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > all / 2);
    assert_string_equal(status_of(s).trouble, "");
    store_sqlite.close(s);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit r;
    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &r);
}

static bool wait_for_trouble(struct store *s, bool want)
{
    int64_t until = loop_now_ms(loop) + 30000;
    while (loop_now_ms(loop) < until && (*status_of(s).trouble != 0) != want)
        spin_for(loop, 20);
    return (*status_of(s).trouble != 0) == want;
}

/* The database may not grow, the log may: it has room below the database's size. */
static int outgrow_the_database(void)
{
    struct stat st;
    struct store *s = open_ok();
    put_large(s, 0, 160);
    store_sqlite.close(s);
    signal(SIGXFSZ, SIG_IGN);
    if (stat(path, &st) != 0)
        return 1;
    limit_files((rlim_t)st.st_size);
    s = open_ok();
    put_large(s, 1000, 100);
    if (!wait_for_trouble(s, true))
        return 2;
    uint64_t before = status_of(s).checkpoints;
    put_ok(s, "k", "small"); /* commits go on */
    limit_files(RLIM_INFINITY);
    if (!wait_for_trouble(s, false) || status_of(s).checkpoints == before)
        return 3;
    store_sqlite.close(s);
    return 0;
}

static void a_log_that_cannot_be_copied_is_told_of(void **state)
{
    (void)state;
    in_own_process(outgrow_the_database);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_dir(rows_are_kept_in_the_order_of_their_keys),
        in_dir(commits_are_done_in_their_order_and_may_be_empty),
        in_dir(what_is_in_flight_is_kept_but_not_reported_after_close),
        in_dir(it_may_be_closed_by_its_own_callback),
        in_dir(files_and_directory_are_private),
        in_dir(a_kill_leaves_whole_commits),
        in_dir(a_full_disk_fails_the_commit_as_a_whole),
        in_dir(another_writer_fails_the_commit),
        in_dir(a_failed_load_says_so),
        in_dir(one_failed_change_fails_the_commit_as_a_whole),
        in_dir(files_that_are_gone_fail_the_commit),
        in_dir(full_durability_flushes_each_commit),
        in_dir(the_log_is_copied_while_commits_go_on),
        in_dir(a_log_that_cannot_be_copied_is_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
