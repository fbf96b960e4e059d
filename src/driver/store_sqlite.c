/* The journal in SQLite. Commits append to its write-ahead log, on the loop; a thread copies
 * the log into the database. */

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "base/log.h"
#include "base/mem.h"
#include "driver/store.h"
#include "driver/store_checkpoint.h"
#include "driver/store_file.h"
#include "driver/store_schema.h"

#define OPEN_BUSY_MS 2000 /* at the start a short lock of somebody else's is waited for */
#define REMIND_MS 60000

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
    struct store_file file;
    sqlite3 *db;
    sqlite3_stmt *put[STORE_KINDS], *delete[STORE_KINDS];
    struct checkpoint *checkpoint;
    int64_t trouble_since, trouble_told; /* 0: there is none */
    TAILQ_HEAD(, answer) answers;
};

static bool fail(const struct store *s, struct error *e, const char *why)
{
    error_set(e, ERR_STORE, "%s: %s", s->file.path, why);
    return false;
}

static bool fail_sqlite(const struct store *s, struct error *e)
{
    return schema_fail(s->db, s->file.path, e);
}

static bool run(struct store *s, const char *sql, struct error *e)
{
    return schema_run(s->db, s->file.path, sql, e);
}

/* ---- open and close */

static bool prepare(struct store *s, struct error *e)
{
    for (int kind = 0; kind < STORE_KINDS; kind++) {
        const char *table = schema_table((enum store_kind)kind);
        char *put = mem_printf("REPLACE INTO %s(key, row) VALUES(?, ?)", table);
        char *delete = mem_printf("DELETE FROM %s WHERE key = ?", table);
        bool ok = sqlite3_prepare_v2(s->db, put, -1, &s->put[kind], NULL) == SQLITE_OK &&
                  sqlite3_prepare_v2(s->db, delete, -1, &s->delete[kind], NULL) == SQLITE_OK;
        free(put);
        free(delete);
        if (!ok) /* a table is missing */
            return schema_damaged(s->file.path, sqlite3_errmsg(s->db), e);
    }
    return true;
}

/* Better a start that is refused than one whose first commit fails. */
static bool check_writable(struct store *s, struct error *e)
{
    int rc = sqlite3_exec(s->db, "BEGIN IMMEDIATE; ROLLBACK", NULL, NULL, NULL);
    if (rc == SQLITE_BUSY)
        return fail(s, e, "locked by another process that has the database open");
    return rc == SQLITE_OK || fail_sqlite(s, e);
}

static int on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct store *s = arg;
    (void)db;
    (void)name;
    checkpoint_note_pages(s->checkpoint, pages);
    return SQLITE_OK;
}

static bool start_checkpoints(struct store *s, struct error *e)
{
    s->checkpoint = checkpoint_start(s->file.path, e);
    if (s->checkpoint)
        sqlite3_wal_hook(s->db, on_commit, s); /* in place of SQLite's own checkpoints */
    return s->checkpoint != NULL;
}

static bool open_database(struct store *s, enum store_durability durability, struct error *e)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(s->file.path, &s->db, flags, NULL) != SQLITE_OK)
        return fail_sqlite(s, e);
    sqlite3_busy_timeout(s->db, OPEN_BUSY_MS);
    bool ok =
        schema_check(s->db, s->file.path, e) && run(s, SCHEMA_PAGE_SIZE, e) &&
        run(s, "PRAGMA journal_mode=WAL", e) &&
        run(s,
            durability == STORE_FULL ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
            e) &&
        schema_make(s->db, s->file.path, e) && prepare(s, e) && check_writable(s, e) &&
        start_checkpoints(s, e);
    sqlite3_busy_timeout(s->db, 0); /* the loop waits for nobody */
    return ok;
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
    checkpoint_stop(s->checkpoint);
    sqlite3_close(s->db);
    store_file_close(&s->file);
    free(s);
}

static struct store *open_store(struct loop *loop, const char *path,
                                enum store_durability durability, struct error *e)
{
    struct store *s = mem_alloc(sizeof *s);
    s->loop = loop;
    TAILQ_INIT(&s->answers);
    if (store_file_open(&s->file, path, e) && open_database(s, durability, e))
        return s;
    close_store(s);
    return NULL;
}

/* ---- commit */

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
    const char *lost = store_file_lost(&s->file);
    if (lost)
        fail(s, e, lost);
    bool ok = !lost && run(s, "BEGIN IMMEDIATE", e);
    for (size_t i = 0; ok && i < count; i++)
        ok = apply(s, &changes[i]) || fail_sqlite(s, e);
    ok = ok && run(s, "COMMIT", e);
    /* some errors have rolled it back already, then this one does nothing */
    if (!ok && !sqlite3_get_autocommit(s->db))
        run(s, "ROLLBACK", NULL);
}

/* A log that only grows is told of: at first, each minute, and when it is over. */
static void tell_trouble(struct store *s)
{
    struct checkpoint_state state;
    int64_t now = loop_now_ms(s->loop);
    checkpoint_get(s->checkpoint, &state);
    bool begins = *state.trouble && s->trouble_since == 0;
    if (begins)
        s->trouble_since = now;
    if (*state.trouble && (begins || now - s->trouble_told >= REMIND_MS)) {
        s->trouble_told = now;
        log_error("journal.log_grows", KV("file", s->file.log), KI("bytes", state.bytes),
                  KI("for_ms", now - s->trouble_since), KV("error", state.trouble));
    } else if (!*state.trouble && s->trouble_since > 0) {
        log_info("journal.log_copied", KI("after_ms", now - s->trouble_since));
        s->trouble_since = 0;
    }
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
    checkpoint_enter_write(s->checkpoint);
    write_changes(s, changes, count, &a->error);
    checkpoint_leave_write(s->checkpoint);
    tell_trouble(s);
    TAILQ_INSERT_TAIL(&s->answers, a, entry);
    task_init(&a->task, s->loop, deliver, a);
    task_wake(&a->task);
}

/* ---- load and status */

static void load(struct store *s, enum store_kind kind, store_each_fn *each, void *arg,
                 struct error *e)
{
    char *sql = mem_printf("SELECT key, row FROM %s ORDER BY key", schema_table(kind));
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

static void status(struct store *s, struct store_status *out)
{
    struct checkpoint_state state;
    checkpoint_get(s->checkpoint, &state);
    *out = (struct store_status){.log_bytes = state.bytes, .checkpoints = state.passes};
    mem_copy_string(out->trouble, sizeof out->trouble, state.trouble);
}

const struct store_ops store_sqlite = {
    .open = open_store, .close = close_store, .commit = commit, .load = load, .status = status};
