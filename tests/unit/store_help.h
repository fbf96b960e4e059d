/* A store in a directory of its own, and what its commits and loads said. */
#ifndef CLEAT_TESTS_STORE_HELP_H
#define CLEAT_TESTS_STORE_HELP_H

#include "driver/store.h"
#include "spin.h"

extern struct loop *loop;
extern char dir[64], path[96];  /* path: of the database, in dir/state */
extern int dones;               /* commits that are done */
extern char order[64];          /* their arguments of on_done, in order */
extern struct error last_error; /* of the newest; ERR_NONE: it worked */
extern int rows;                /* of the newest load_all */

void load_one(void *arg, const char *key, const char *row); /* appends to what load_all gives */
int make_dir(void **state);                                 /* cmocka's setup and teardown */
int remove_dir(void **state);
#define in_dir(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

struct store *open_ok(void);
void open_fails(const char *why); /* with ERR_STORE and these words */
void on_done(void *arg, const struct error *e);
void put(struct store *s, enum store_kind kind, const char *key, const char *row);
void put_ok(struct store *s, const char *key, const char *row); /* a session; waits for it */
const char *load_all(struct store *s, enum store_kind kind);    /* "key=row;key=row;" */
void sql(const char *text); /* by another process; no single quotes */

/* Another process that runs this statement and stays in its transaction. */
struct other {
    int pid, in;
};
struct other other_begin(const char *statement);
void other_end(struct other);

#endif
