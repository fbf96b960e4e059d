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
 * children. True when nothing is left; what had ended when it was met is no proof, since what
 * forks faster than proc(5) is read is met only so. Such a chain surely ends with own_user
 * (config_own_user), the uid whose processes are all ours to end; 0: there is none. */
bool process_sweep(const pid_t *keep, size_t keeps, uid_t own_user);

/* Needs root. SIGKILL to all that may be killed as that user, at once, which no fork escapes
 * (kill(2), pid -1); then calls also as that user, NULL: nothing. */
void process_kill_user(uid_t, void (*also)(void));

/* Sends the signal to pid and all below it. spare_init is for bubblewrap: leaves out pid and
 * its child, which are its own two processes, not the user's. False: there was nobody. */
bool process_signal(pid_t pid, int signo, bool spare_init);

#endif
