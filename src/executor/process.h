/* Processes below one of ours, found in proc(5): also those that left its group and session. */
#ifndef CLEAT_EXECUTOR_PROCESS_H
#define CLEAT_EXECUTOR_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct process {
    pid_t pid, parent;
    bool zombie;
    bool marked; /* below the one that is asked about */
};

/* Splits a line of /proc/PID/stat; false when it is none. The name in it may hold anything. */
bool process_parse(const char *stat, struct process *out);

/* Ends what was left behind by a child of ours that is gone (we are its subreaper): SIGKILL to
 * every descendant except the kept children and theirs, and reaps those that became our
 * children. True when nothing is left. */
bool process_sweep(const pid_t *keep, size_t keeps);

/* Sends the signal to pid and all below it. spare_init is for bubblewrap: leaves out pid and
 * its child, which are its own two processes, not the user's. False: there was nobody. */
bool process_signal(pid_t pid, int signo, bool spare_init);

#endif
