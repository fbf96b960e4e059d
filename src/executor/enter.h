/* The way into an execution: a process of our own program that opens what only we may open,
 * sets the limits, gives its rights away and becomes bubblewrap or the user's program. */
#ifndef CLEAT_EXECUTOR_ENTER_H
#define CLEAT_EXECUTOR_ENTER_H

#include <stdbool.h>
#include <sys/types.h>
#include "executor/config.h"

#define ENTER_FLAG "--enter"
#define ENTER_HOME "/workspace"  /* home as user code in bubblewrap sees it */
#define ENTER_CODE "/run/cleat/" /* and its code */
#define ENTER_FAILED 126         /* exit code when we could not start the program */

/* Environment of the program: variables of ours with this prefix, which means nothing to any
 * loader. */
#define ENTER_PREFIX "+"

struct enter_spec {
    pid_t parent; /* of the --enter process, which ends with it; enter_command sets it */
    enum sandbox sandbox;
    enum network network;
    uid_t user, own_user; /* config_user, config_own_user */
    int64_t memory_mb, cpu_s, open_files, file_size_mb, processes;
    const char *home;
    const char *code, *code_name; /* file, and its name below ENTER_CODE; "": none */
    char *const *argv;
};

/* Command line for child_spawn: NULL-ended, free what it points to and itself with enter_free.
 */
char **enter_command(const struct enter_spec *);
void enter_free(char **);

/* The --enter process. Never returns. */
_Noreturn void enter_main(int argc, char **argv);

#endif
