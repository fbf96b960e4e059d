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
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "loop/child.h"
#include "own_process.h"
#include "store_help.h"

/* ---- what it refuses */

static int open_second(void)
{
    struct error e = {0};
    return !store_sqlite.open(loop, path, STORE_NORMAL, &e) &&
                   strstr(e.message, "in use by another process")
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
    const long types[] = {NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,  CIFS_SUPER_MAGIC,
                          SMB2_SUPER_MAGIC, CEPH_SUPER_MAGIC, V9FS_MAGIC};
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
    if (store_sqlite.open(loop, path, STORE_NORMAL, &e) || e.code != ERR_STORE)
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

/* ---- damage */

#define PAGE 8192

static char *read_database(size_t *size)
{
    FILE *f = fopen(path, "rb");
    char *bytes = mem_alloc(1 << 20);
    assert_non_null(f);
    *size = fread(bytes, 1, 1 << 20, f);
    fclose(f);
    return bytes;
}

static void write_database(const char *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
}

static void make_rows(void)
{
    char key[16];
    struct store *s = open_ok();
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "%04d", i);
        put_ok(s, key, "{\"some\":\"rather long row so that the tree has several pages\"}");
    }
    store_sqlite.close(s);
}

/* What is wrong, what to do; and it is left as it was. */
static void refuses_damage(const char *bytes, size_t size)
{
    size_t left;
    write_database(bytes, size);
    open_fails("damaged: ");
    open_fails("restore it from a backup, or move it and its -wal away");
    char *now = read_database(&left);
    assert_int_equal(left, size);
    assert_memory_equal(now, bytes, size);
    free(now);
}

static void a_damaged_file_is_refused_and_left_alone(void **state)
{
    (void)state;
    size_t size;
    make_rows();
    char *whole = read_database(&size);
    assert_true(size > 5 * PAGE);
    refuses_damage(whole, size / 2);
    refuses_damage(whole, size - PAGE);
    refuses_damage(whole, 100);
    char *flipped = mem_alloc(size);
    for (size_t page = 1; page < size / PAGE; page++) {
        memcpy(flipped, whole, size);
        memset(flipped + page * PAGE, 0xff, 64);
        refuses_damage(flipped, size);
    }
    write_database(whole, size);
    store_sqlite.close(open_ok());
    free(flipped);
    free(whole);
}

static void a_file_that_somebody_locks_is_refused(void **state)
{
    (void)state;
    store_sqlite.close(open_ok());
    struct other o = other_begin("INSERT INTO session VALUES(0, 0)");
    open_fails("locked by another process");
    other_end(o);
    o = other_begin("SELECT * FROM session"); /* a reader, as a backup is */
    store_sqlite.close(open_ok());
    other_end(o);
    store_sqlite.close(open_ok());
}

/* ---- versions */

static void make_version_1(void)
{
    struct error e;
    char *parent = mem_printf("%s/state", dir);
    assert_int_equal(dir_make(parent, 0700, &e), ERR_NONE);
    free(parent);
    sql("PRAGMA journal_mode=WAL");
    sql("CREATE TABLE session(key TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID");
    sql("CREATE TABLE attempt(key TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID");
    sql("INSERT INTO session VALUES(\"s\", \"1\"), (\"t\", \"2\")");
    sql("INSERT INTO attempt VALUES(\"s.1\", \"3\")");
    sql("PRAGMA user_version=1");
}

static void has_rows_of_version_1(struct store *s)
{
    assert_string_equal(load_all(s, STORE_SESSION), "s=1;t=2;");
    assert_string_equal(load_all(s, STORE_ATTEMPT), "s.1=3;");
    assert_string_equal(load_all(s, STORE_META), "");
}

static void an_older_schema_is_brought_up_to_date(void **state)
{
    (void)state;
    make_version_1();
    struct store *s = open_ok();
    has_rows_of_version_1(s);
    put(s, STORE_META, "journal", "{}");
    put_ok(s, "u", "4");
    store_sqlite.close(s);
    s = open_ok();
    assert_string_equal(load_all(s, STORE_SESSION), "s=1;t=2;u=4;");
    assert_string_equal(load_all(s, STORE_META), "journal={};");
    store_sqlite.close(s);
}

static int writes_until_death; /* 0: it lives */

/* In place of the C library's: SQLite writes its files by it. */
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at);
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
    if (writes_until_death > 0 && --writes_until_death == 0)
        kill(getpid(), SIGKILL);
    return syscall(SYS_pwrite64, fd, bytes, count, at);
}

/* True: it was killed on the way. */
static bool open_and_die(int at_write)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        writes_until_death = at_write;
        struct error e;
        _exit(store_sqlite.open(loop, path, STORE_NORMAL, &e) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static void a_kill_at_any_write_of_the_migration_is_harmless(void **state)
{
    (void)state;
    int write = 1, kills = 0;
    size_t size;
    make_version_1();
    char *old = read_database(&size);
    for (bool died = true; died; write++) {
        write_database(old, size);
        died = open_and_die(write);
        kills += died;
        struct store *s = open_ok();
        has_rows_of_version_1(s);
        store_sqlite.close(s);
        assert_int_equal(unlink(path), 0);
    }
    assert_true(kills >= 4);
    free(old);
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
    open_fails("damaged: no such table: attempt");
    sql("PRAGMA user_version=0");
    open_fails("table session already exists");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_dir(a_second_opener_is_refused),
        in_dir(network_file_systems_are_refused),
        in_dir(a_read_only_directory_is_refused),
        in_dir(what_is_no_database_is_refused),
        in_dir(a_damaged_file_is_refused_and_left_alone),
        in_dir(a_file_that_somebody_locks_is_refused),
        in_dir(an_older_schema_is_brought_up_to_date),
        in_dir(a_kill_at_any_write_of_the_migration_is_harmless),
        in_dir(a_newer_schema_is_refused),
        in_dir(a_broken_schema_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
