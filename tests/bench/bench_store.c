/* What a commit costs on the loop: through the store, whose checkpoints run on a thread, and
 * with SQLite's own checkpoints in the same run on the same disk. Each commit puts 100 rows of
 * 600 bytes. bench-store [commits [directory]] */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/mem.h"
#include "driver/store.h"
#include "loop/child.h"

#define ROWS 100
#define KEYS 20000
#define ROW_BYTES 600

static struct loop *loop;
static char keys[KEYS][40], row[ROW_BYTES + 1];
static size_t failed;

static void must(int right, const char *what)
{
    if (right)
        return;
    fprintf(stderr, "bench-store: %s\n", what);
    exit(1);
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

struct cost {
    double p50, p99, p999, longest, total_s;
};

static struct cost cost_of(const char *what, double *us, size_t count)
{
    struct cost c = {0};
    for (size_t i = 0; i < count; i++)
        c.total_s += us[i] / 1e6;
    qsort(us, count, sizeof *us, by_value);
    c.p50 = us[count / 2];
    c.p99 = us[count * 99 / 100];
    c.p999 = us[count * 999 / 1000];
    c.longest = us[count - 1];
    printf("%-26s p50 %6.0f us  p99 %6.0f us  p99.9 %6.0f us  longest %7.0f us  all %5.1f s\n",
           what, c.p50, c.p99, c.p999, c.longest, c.total_s);
    return c;
}

static size_t key_of(size_t commit, size_t i)
{
    return (commit * 7919 + i * 197) % KEYS;
}

/* ---- through the store */

static size_t done;

static void on_done(void *arg, const struct error *e)
{
    (void)arg;
    done++;
    failed += e != NULL;
    loop_stop(loop);
}

static struct cost run_store(const char *what, const char *dir,
                             enum store_durability durability, size_t commits, double *us)
{
    struct error e = {0};
    char *path = mem_printf("%s/store%d.db", dir, (int)durability);
    struct store_change changes[ROWS];
    struct store *s = store_sqlite.open(loop, path, durability, &e);
    must(s != NULL, e.message);
    for (size_t i = 0; i < commits; i++) {
        for (size_t k = 0; k < ROWS; k++)
            changes[k] = (struct store_change){STORE_SESSION, keys[key_of(i, k)], row};
        double from = now_us();
        store_sqlite.commit(s, changes, ROWS, on_done, NULL);
        us[i] = now_us() - from;
        loop_run(loop);
    }
    struct store_status status;
    store_sqlite.status(s, &status);
    must(failed == 0 && done == commits, "commits failed");
    done = 0;
    struct cost c = cost_of(what, us, commits);
    printf("  checkpoints %llu, log %.1f MB at the end\n",
           (unsigned long long)status.checkpoints, (double)status.log_bytes / 1e6);
    store_sqlite.close(s);
    unlink(path);
    free(path);
    return c;
}

/* ---- with SQLite's own checkpoints */

static void sql(sqlite3 *db, const char *text)
{
    must(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK, sqlite3_errmsg(db));
}

static struct cost run_plain(const char *what, const char *dir, const char *synchronous,
                             size_t commits, double *us)
{
    sqlite3 *db;
    sqlite3_stmt *put;
    char *path = mem_printf("%s/plain.db", dir);
    must(sqlite3_open(path, &db) == SQLITE_OK, path);
    sql(db, "PRAGMA journal_mode=WAL");
    sql(db, synchronous);
    sql(db, "CREATE TABLE session(key TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID");
    must(sqlite3_prepare_v2(db, "REPLACE INTO session(key, row) VALUES(?, ?)", -1, &put,
                            NULL) == SQLITE_OK,
         "prepare");
    for (size_t i = 0; i < commits; i++) {
        double from = now_us();
        sql(db, "BEGIN IMMEDIATE");
        for (size_t k = 0; k < ROWS; k++) {
            sqlite3_bind_text(put, 1, keys[key_of(i, k)], -1, SQLITE_STATIC);
            sqlite3_bind_text(put, 2, row, -1, SQLITE_STATIC);
            must(sqlite3_step(put) == SQLITE_DONE, "put");
            sqlite3_reset(put);
        }
        sql(db, "COMMIT");
        us[i] = now_us() - from;
    }
    sqlite3_finalize(put);
    sqlite3_close(db);
    unlink(path);
    free(path);
    return cost_of(what, us, commits);
}

int main(int argc, char **argv)
{
    size_t commits = argc > 1 ? strtoul(argv[1], NULL, 10) : 5000;
    char own[] = "bench-store.XXXXXX";
    const char *dir = argc > 2 ? argv[2] : mkdtemp(own);
    must(commits >= 1000 && dir, "at least 1000 commits, and a directory");
    double *us = mem_array(commits, sizeof *us);
    for (size_t i = 0; i < KEYS; i++)
        snprintf(keys[i], sizeof keys[i], "0190%08zx-7000-8000-%012zx", i * 40503 % KEYS, i);
    memset(row, 'r', ROW_BYTES);
    loop = loop_new(NULL);
    printf("%zu commits of %d rows of %d bytes\n", commits, ROWS, ROW_BYTES);
    struct cost plain =
        run_plain("SQLite's own, NORMAL", dir, "PRAGMA synchronous=NORMAL", commits, us);
    struct cost normal = run_store("the store, normal", dir, STORE_NORMAL, commits, us);
    struct cost full = run_store("the store, full", dir, STORE_FULL, commits, us);
    printf("store : SQLite's own = %.2f p50, %.2f p99; full : normal = %.2f p50\n",
           normal.p50 / plain.p50, normal.p99 / plain.p99, full.p50 / normal.p50);
    loop_free(loop);
    free(us);
    if (argc <= 2)
        rmdir(own);
    return 0;
}
