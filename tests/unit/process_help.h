/* What the tests of the runtime `process` share: a runtime with a shell script in the
 * executor's place. */
#ifndef CLEAT_TESTS_PROCESS_HELP_H
#define CLEAT_TESTS_PROCESS_HELP_H

#include <stdbool.h>
#include <stddef.h>
#include "driver/runtime.h"
#include "driver_help.h"

#define SECRET "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

/* What it does is said by its session id: exits, dies, deaf; any other waits for SIGTERM. It
 * listens nowhere, so the addresses 127.65.8.1 to .6 of the class are only names. */
extern const char executor_script[];

struct bench {
    struct loop *loop;
    struct class *class;
    struct runtime *rt; /* NULL: not open */
    char *dir;
    char *executor;
    int exits;
    char exited[128], cause[64]; /* of the last one */
    bool in_order;
};

/* With an open runtime. */
int set_up(void **state);
/* Stops what is left. */
int tear_down(void **state);

struct runtime *open_with(struct bench *, const char *state_dir, struct error *);
void open_runtime(struct bench *);
void close_runtime(struct bench *);

struct launched {
    struct answer answer;
    struct container container;
};

struct list {
    struct answer answer;
    size_t count, alive;
    char keys[8][KEY_SIZE];
    char labels[8][32]; /* "(none)": it has none */
    struct container containers[8];
};

/* Each runs the loop until the answer is there; launch() and list() give what it held. */
struct launched launch(struct bench *, const char *key, const char *session);
enum error_code stop(struct bench *, const struct container *, bool keep);
struct list list(struct bench *);

char *path_of(const struct bench *, const char *key,
              const char *name); /* in its workspace; free() */
bool exists(const struct bench *, const char *key, const char *name);
bool path_exists(void *path); /* for run_until() */

/* Each fails the test when it does not come. */
void until_ready(struct bench *, const char *key);
void until_exit(struct bench *, const char *id); /* the first and only one */

#endif
