#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "driver/store.h"
#include "loop/child.h"
#include "spin.h"

static struct loop *loop;
static char dir[64], path[96];
static int dones;
static char order[64];
static struct error last_error;

static int make_dir(void **state)
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

static int remove_dir(void **state)
{
    (void)state;
    int removed = 0;
    dir_remove(loop, dir, count_removal, &removed);
    bool ok = spin(loop, &removed, 1, 10000);
    loop_free(loop);
    return ok ? 0 : -1;
}

static struct store *open_ok(void)
{
    struct error e = {0};
    struct store *s = store_sqlite.open(loop, path, &e);
    assert_string_equal(e.message, "");
    assert_non_null(s);
    return s;
}

static void open_fails(const char *why)
{
    struct error e = {0};
    assert_null(store_sqlite.open(loop, path, &e));
    assert_int_equal(e.code, ERR_STORE);
    if (!strstr(e.message, why))
        fail_msg("%s", e.message);
}

static void on_done(void *arg, const struct error *e)
{
    strncat(order, arg, 8);
    last_error = e ? *e : (struct error){0};
    dones++;
}

static void put(struct store *s, enum store_kind kind, const char *key, const char *row)
{
    struct store_change change = {kind, key, row};
    store_sqlite.commit(s, &change, 1, on_done, "");
}

static char loaded[256];
static int rows;

static void load_one(void *arg, const char *key, const char *row)
{
    (void)arg;
    size_t len = strlen(loaded);
    snprintf(loaded + len, sizeof loaded - len, "%s=%s;", key, row);
    rows++;
}

static const char *load_all(struct store *s, enum store_kind kind)
{
    struct error e = {.code = ERR_INTERNAL};
    loaded[0] = '\0';
    rows = 0;
    store_sqlite.load(s, kind, load_one, NULL, &e);
    assert_int_equal(e.code, ERR_NONE);
    return loaded;
}

static void in_own_process(int (*fn)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

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
    victim = store_sqlite.open(mine, path, &e);
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
    char *locker = mem_printf("import sqlite3,sys;c=sqlite3.connect('%s',isolation_level=None);"
                              "c.execute('BEGIN IMMEDIATE');print('x',flush=True);"
                              "sys.stdin.read()",
                              path);
    int out[2], in[2];
    char c;
    assert_int_equal(pipe(out), 0);
    assert_int_equal(pipe(in), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        execl("/usr/bin/python3", "python3", "-c", locker, (char *)NULL);
        _exit(1);
    }
    close(in[0]);
    assert_int_equal(read(out[0], &c, 1), 1);
    put(s, STORE_ATTEMPT, "k", "1");
    assert_true(spin(loop, &dones, 1, 5000));
    assert_int_equal(last_error.code, ERR_STORE);
    assert_non_null(strstr(last_error.message, "database is locked"));
    close(in[1]);
    waitpid(pid, NULL, 0);
    put(s, STORE_ATTEMPT, "k", "2");
    assert_true(spin(loop, &dones, 2, 5000));
    assert_int_equal(last_error.code, ERR_NONE);
    assert_string_equal(load_all(s, STORE_ATTEMPT), "k=2;");
    store_sqlite.close(s);
    free(locker);
    close(out[0]);
    close(out[1]);
}

/* ---- what it refuses */

static int open_second(void)
{
    struct error e = {0};
    return !store_sqlite.open(loop, path, &e) && strstr(e.message, "in use by another process")
               ? 0
               : 1;
}

static void a_second_opener_is_refused(void **state)
{
    (void)state;
    struct store *s = open_ok();
    open_fails("in use by another process");
    in_own_process(open_second);
    put(s, STORE_ATTEMPT, "k", "1");
    assert_true(spin(loop, &dones, 1, 5000));
    assert_int_equal(last_error.code, ERR_NONE);
    store_sqlite.close(s);
    s = open_ok();
    store_sqlite.close(s);
}

static long fs_type;

int __real_fstatfs(int fd, struct statfs *out);
int __wrap_fstatfs(int fd, struct statfs *out);
int __wrap_fstatfs(int fd, struct statfs *out)
{
    int rc = __real_fstatfs(fd, out);
    if (fs_type != 0)
        out->f_type = fs_type;
    return rc;
}

static void network_file_systems_are_refused(void **state)
{
    (void)state;
    const long types[] = {NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC,
                          CEPH_SUPER_MAGIC};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        fs_type = types[i];
        open_fails("is on a network file system");
    }
    fs_type = EXT4_SUPER_MAGIC;
    store_sqlite.close(open_ok());
    fs_type = 0;
}

static int open_without_rights(void)
{
    if (chmod(dir, 0555) != 0 || (getuid() == 0 && setuid(65534) != 0))
        return 1;
    struct error e = {0};
    if (store_sqlite.open(loop, path, &e) || e.code != ERR_STORE)
        return 2;
    return strstr(e.message, "/state: Permission denied") ? 0 : 3;
}

static void a_read_only_directory_is_refused(void **state)
{
    (void)state;
    in_own_process(open_without_rights);
    assert_int_equal(chmod(dir, 0700), 0);
    struct error e;
    char *state_dir = mem_printf("%s/state", dir);
    assert_int_equal(file_write(state_dir, "", &e), ERR_NONE);
    open_fails("/state: File exists");
    free(state_dir);
}

static void what_is_no_database_is_refused(void **state)
{
    (void)state;
    struct error e;
    store_sqlite.close(open_ok());
    char *garbage = mem_alloc(8193);
    memset(garbage, 'g', 8192);
    assert_int_equal(file_write(path, garbage, &e), ERR_NONE);
    free(garbage);
    open_fails("file is not a database");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(dir_make(path, 0700, &e), ERR_NONE);
    open_fails("Is a directory");
}

static void sql(const char *text)
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

static void a_newer_schema_is_refused(void **state)
{
    (void)state;
    store_sqlite.close(open_ok());
    sql("PRAGMA user_version=3");
    open_fails("written by a newer release");
}

static void a_broken_schema_is_refused(void **state)
{
    (void)state;
    store_sqlite.close(open_ok());
    sql("DROP TABLE attempt");
    open_fails("no such table: attempt");
    sql("PRAGMA user_version=0");
    open_fails("table session already exists");
}

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

#define in_dir(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

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
        in_dir(a_second_opener_is_refused),
        in_dir(network_file_systems_are_refused),
        in_dir(a_read_only_directory_is_refused),
        in_dir(what_is_no_database_is_refused),
        in_dir(a_newer_schema_is_refused),
        in_dir(a_broken_schema_is_refused),
        in_dir(a_failed_load_says_so),
        in_dir(one_failed_change_fails_the_commit_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
