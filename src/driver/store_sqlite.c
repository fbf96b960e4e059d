#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "driver/store.h"
#include "loop/child.h"

#define SCHEMA_VERSION 2

/* A table for each kind, and the version of the schema that brought it. */
static const struct {
    const char *name;
    int since;
} tables[STORE_KINDS] = {
    [STORE_SESSION] = {"session", 1},
    [STORE_ATTEMPT] = {"attempt", 1},
    [STORE_META] = {"meta", 2},
};

/* A commit whose done is yet to be called. */
struct answer {
    struct store *store;
    struct task task;
    struct error error;
    store_done_fn *done;
    void *arg;
    TAILQ_ENTRY(answer) entry;
};

struct store {
    struct loop *loop;
    char *path;
    int lock_fd;
    sqlite3 *db;
    sqlite3_stmt *put[STORE_KINDS], *delete[STORE_KINDS];
    TAILQ_HEAD(, answer) answers;
};

static bool fail(const struct store *s, struct error *e, const char *why)
{
    error_set(e, ERR_STORE, "%s: %s", s->path, why);
    return false;
}

static bool fail_sqlite(const struct store *s, struct error *e)
{
    return fail(s, e, sqlite3_errmsg(s->db));
}

/* ---- open */

static bool is_network(const struct statfs *fs)
{
    switch ((uint32_t)fs->f_type) {
    case NFS_SUPER_MAGIC:
    case SMB_SUPER_MAGIC:
    case CIFS_SUPER_MAGIC:
    case SMB2_SUPER_MAGIC:
    case CEPH_SUPER_MAGIC:
    case AFS_SUPER_MAGIC:
    case AFS_FS_MAGIC:
    case CODA_SUPER_MAGIC:
    case NCP_SUPER_MAGIC:
        return true;
    default:
        return false;
    }
}

static bool make_parent(struct store *s, struct error *e)
{
    const char *slash = strrchr(s->path, '/');
    if (!slash || slash == s->path)
        return true;
    char *parent = mem_strndup(s->path, (size_t)(slash - s->path));
    struct error why;
    bool ok = dir_make(parent, 0700, &why) == ERR_NONE;
    if (!ok)
        error_set(e, ERR_STORE, "%s", why.message);
    free(parent);
    return ok;
}

/* SQLite would create the file by the umask; its -wal and -shm take the mode of the file. */
static bool make_file(struct store *s, struct error *e)
{
    int fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(s, e, strerror(errno));
    struct statfs fs;
    bool ok = fstatfs(fd, &fs) == 0 && fchmod(fd, 0600) == 0;
    if (!ok)
        fail(s, e, strerror(errno));
    else if (is_network(&fs))
        ok = fail(s, e, "is on a network file system, whose locks cannot be relied upon");
    close(fd);
    return ok;
}

static bool take_lock(struct store *s, struct error *e)
{
    char *path = mem_printf("%s.lock", s->path);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    free(path);
    if (s->lock_fd >= 0 && flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    return fail(s, e, errno == EWOULDBLOCK ? "in use by another process" : strerror(errno));
}

static bool run(struct store *s, const char *sql, struct error *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK || fail_sqlite(s, e);
}

static int user_version(struct store *s)
{
    sqlite3_stmt *stmt;
    int version = -1;
    if (sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        version = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    return version;
}

static bool make_schema(struct store *s, struct error *e)
{
    int version = user_version(s);
    if (version < 0)
        return fail_sqlite(s, e);
    if (version == SCHEMA_VERSION)
        return true;
    if (version > SCHEMA_VERSION)
        return fail(s, e, "written by a newer release");
    if (!run(s, "BEGIN IMMEDIATE", e))
        return false;
    for (int kind = 0; kind < STORE_KINDS; kind++) {
        if (tables[kind].since <= version)
            continue;
        char *sql = mem_printf("CREATE TABLE %s(key TEXT PRIMARY KEY, row TEXT NOT NULL) "
                               "WITHOUT ROWID",
                               tables[kind].name);
        bool ok = run(s, sql, e);
        free(sql);
        if (!ok)
            return false;
    }
    char *sql = mem_printf("PRAGMA user_version=%d; COMMIT", SCHEMA_VERSION);
    bool ok = run(s, sql, e);
    free(sql);
    return ok;
}

static bool prepare(struct store *s, struct error *e)
{
    for (int kind = 0; kind < STORE_KINDS; kind++) {
        char *put = mem_printf("REPLACE INTO %s(key, row) VALUES(?, ?)", tables[kind].name);
        char *delete = mem_printf("DELETE FROM %s WHERE key = ?", tables[kind].name);
        bool ok = sqlite3_prepare_v2(s->db, put, -1, &s->put[kind], NULL) == SQLITE_OK &&
                  sqlite3_prepare_v2(s->db, delete, -1, &s->delete[kind], NULL) == SQLITE_OK;
        free(put);
        free(delete);
        if (!ok)
            return fail_sqlite(s, e);
    }
    return true;
}

static bool open_database(struct store *s, struct error *e)
{
    if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        return fail_sqlite(s, e);
    return run(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL", e) &&
           make_schema(s, e) && prepare(s, e);
}

static void close_store(struct store *s)
{
    if (!s)
        return;
    struct answer *a;
    while ((a = TAILQ_FIRST(&s->answers))) {
        TAILQ_REMOVE(&s->answers, a, entry);
        task_stop(&a->task);
        free(a);
    }
    for (int kind = 0; kind < STORE_KINDS; kind++) {
        sqlite3_finalize(s->put[kind]);
        sqlite3_finalize(s->delete[kind]);
    }
    sqlite3_close(s->db);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s->path);
    free(s);
}

static struct store *open_store(struct loop *loop, const char *path, struct error *e)
{
    struct store *s = mem_alloc(sizeof *s);
    *s = (struct store){.loop = loop, .path = mem_strdup(path), .lock_fd = -1};
    TAILQ_INIT(&s->answers);
    if (make_parent(s, e) && take_lock(s, e) && make_file(s, e) && open_database(s, e))
        return s;
    close_store(s);
    return NULL;
}

/* ---- commit and load */

static bool apply(struct store *s, const struct store_change *change)
{
    sqlite3_stmt *stmt = change->row ? s->put[change->kind] : s->delete[change->kind];
    sqlite3_bind_text(stmt, 1, change->key, -1, SQLITE_STATIC);
    if (change->row)
        sqlite3_bind_text(stmt, 2, change->row, -1, SQLITE_STATIC);
    bool ok = sqlite3_step(stmt) == SQLITE_DONE;
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return ok;
}

static void write_changes(struct store *s, const struct store_change *changes, size_t count,
                          struct error *e)
{
    bool ok = run(s, "BEGIN IMMEDIATE", e);
    if (!ok)
        return;
    for (size_t i = 0; ok && i < count; i++)
        ok = apply(s, &changes[i]) || fail_sqlite(s, e);
    ok = ok && run(s, "COMMIT", e);
    /* some errors have rolled it back already, then this one does nothing */
    if (!ok && !sqlite3_get_autocommit(s->db))
        run(s, "ROLLBACK", NULL);
}

static void deliver(void *arg)
{
    struct answer a = *(struct answer *)arg;
    TAILQ_REMOVE(&a.store->answers, (struct answer *)arg, entry);
    free(arg);
    a.done(a.arg, a.error.code ? &a.error : NULL);
}

static void commit(struct store *s, const struct store_change *changes, size_t count,
                   store_done_fn *done, void *arg)
{
    struct answer *a = mem_alloc(sizeof *a);
    *a = (struct answer){.store = s, .done = done, .arg = arg};
    write_changes(s, changes, count, &a->error);
    if (a->error.code)
        log_error("store.failed", KV("error", a->error.message));
    TAILQ_INSERT_TAIL(&s->answers, a, entry);
    task_init(&a->task, s->loop, deliver, a);
    task_wake(&a->task);
}

static void load(struct store *s, enum store_kind kind, store_each_fn *each, void *arg,
                 struct error *e)
{
    char *sql = mem_printf("SELECT key, row FROM %s ORDER BY key", tables[kind].name);
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL);
    free(sql);
    if (rc == SQLITE_OK)
        while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
            each(arg, (const char *)sqlite3_column_text(stmt, 0),
                 (const char *)sqlite3_column_text(stmt, 1));
    if (rc != SQLITE_DONE)
        fail_sqlite(s, e);
    else
        *e = (struct error){0};
    sqlite3_finalize(stmt);
}

const struct store_ops store_sqlite = {
    .open = open_store, .close = close_store, .commit = commit, .load = load};
