#include "driver/store_schema.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

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

const char *schema_table(enum store_kind kind)
{
    return tables[kind].name;
}

bool schema_fail(sqlite3 *db, const char *path, struct error *e)
{
    error_set(e, ERR_STORE, "%s: %s", path, sqlite3_errmsg(db));
    return false;
}

bool schema_run(sqlite3 *db, const char *path, const char *sql, struct error *e)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK || schema_fail(db, path, e);
}

bool schema_damaged(const char *path, const char *why, struct error *e)
{
    int len = (int)strcspn(why, "\n");
    error_set(e, ERR_STORE,
              "%s: damaged: %.*s; restore it from a backup, or move it and its -wal away "
              "(cleatd(8), Lost journal)",
              path, len < 80 ? len : 80, why);
    return false;
}

static bool is_damage(int rc)
{
    return rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB;
}

/* The first row of a statement without a second one that we need. rc: SQLite's word. */
static sqlite3_stmt *ask(sqlite3 *db, const char *sql, int *rc)
{
    sqlite3_stmt *stmt = NULL;
    *rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (*rc == SQLITE_OK)
        *rc = sqlite3_step(stmt);
    return stmt;
}

/* Rather than quick_check, which leaves out whether all rows are in order and once: on a
 * database of 100,000 closed sessions it takes 1 s, quick_check 0.7 s. */
bool schema_check(sqlite3 *db, const char *path, struct error *e)
{
    int rc;
    sqlite3_stmt *stmt = ask(db, "PRAGMA integrity_check(1)", &rc);
    const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    bool ok = text && strcmp(text, "ok") == 0;
    if (!ok && text)
        schema_damaged(path,
                       strncmp(text, "*** in", 6) == 0 && strchr(text, '\n')
                           ? strchr(text, '\n') + 1
                           : text,
                       e);
    else if (!ok && is_damage(rc))
        schema_damaged(path, sqlite3_errmsg(db), e);
    else if (!ok)
        schema_fail(db, path, e);
    sqlite3_finalize(stmt);
    return ok;
}

static int user_version(sqlite3 *db)
{
    int rc;
    sqlite3_stmt *stmt = ask(db, "PRAGMA user_version", &rc);
    int version = rc == SQLITE_ROW ? sqlite3_column_int(stmt, 0) : -1;
    sqlite3_finalize(stmt);
    return version;
}

static bool make_tables(sqlite3 *db, const char *path, int version, struct error *e)
{
    bool ok = true;
    for (int kind = 0; ok && kind < STORE_KINDS; kind++) {
        if (tables[kind].since <= version)
            continue;
        char *sql = mem_printf("CREATE TABLE %s(key TEXT PRIMARY KEY, row TEXT NOT NULL) "
                               "WITHOUT ROWID",
                               tables[kind].name);
        ok = schema_run(db, path, sql, e);
        free(sql);
    }
    return ok;
}

bool schema_make(sqlite3 *db, const char *path, struct error *e)
{
    int version = user_version(db);
    if (version < 0)
        return schema_fail(db, path, e);
    if (version == SCHEMA_VERSION)
        return true;
    if (version > SCHEMA_VERSION) {
        error_set(e, ERR_STORE,
                  "%s: written by a newer release (schema %d, this one knows %d): start that "
                  "one, or restore a backup from before the upgrade",
                  path, version, SCHEMA_VERSION);
        return false;
    }
    if (!schema_run(db, path, "BEGIN IMMEDIATE", e) || !make_tables(db, path, version, e))
        return false;
    char *sql = mem_printf("PRAGMA user_version=%d; COMMIT", SCHEMA_VERSION);
    bool ok = schema_run(db, path, sql, e);
    free(sql);
    return ok;
}
