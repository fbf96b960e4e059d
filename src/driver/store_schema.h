/* The tables of the journal's database, through its versions. */
#ifndef CLEAT_DRIVER_STORE_SCHEMA_H
#define CLEAT_DRIVER_STORE_SCHEMA_H

#include <sqlite3.h>
#include <stdbool.h>
#include "base/error.h"
#include "driver/store.h"

/* False: the file is damaged, no database, or of a newer release; *e says what to do. */
bool schema_check(sqlite3 *, const char *path, struct error *);
/* Brings an empty or older database to this release's version, whole or not at all. Its rows
 * are kept. */
bool schema_make(sqlite3 *, const char *path, struct error *);
const char *schema_table(enum store_kind);

/* Of a database that is made: a session's row, over 1 KB, is in one page then. SQLite keeps no
 * more than a quarter of a page of it together (sqlite.org/fileformat2, index b-trees). */
#define SCHEMA_PAGE_SIZE "PRAGMA page_size=8192"
bool schema_damaged(const char *path, const char *why, struct error *); /* returns false */

/* For all of the store: *e gets the path and SQLite's message. Returns false. */
bool schema_fail(sqlite3 *, const char *path, struct error *);
bool schema_run(sqlite3 *, const char *path, const char *sql, struct error *);

#endif
