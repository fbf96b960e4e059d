/* What the tests of children share: a loop, a directory with a lock and an output file, and
 * shells as children. */
#ifndef CLEAT_TESTS_CHILD_HELP_H
#define CLEAT_TESTS_CHILD_HELP_H

#include <stdbool.h>
#include <sys/types.h>
#include "loop/child.h"
#include "spin.h"

/* Made anew for each test. */
extern struct loop *loop;
extern char dir[64], lock[96], output[96];
extern int exits, exit_status; /* how often on_exit_status() was called, and its last status */

int make_loop(void **state);
int free_loop(void **state);
#define with_loop(test) cmocka_unit_test_setup_teardown(test, make_loop, free_loop)

void on_exit_status(void *arg, int status);
/* With the output and the lock above, or with what spec says. */
struct child *shell(const char *script);
struct child *shell_with(const char *script, struct child_spec spec);
/* Until the first exit is reported; fails the test when it does not come or comes twice. */
void wait_exit(void);
/* Until the file has a line. free() */
char *wait_line(const char *path);

bool process_lives(pid_t); /* a zombie does not */
bool dies(pid_t);          /* soon */

#endif
