/* The process between the executor and a program without sandbox, as bubblewrap is for one with
 * it: what the program starts stays below it, also what made itself a daemon, and ends with the
 * program and with the executor, however either ends. It has the container's lock open until
 * then, so that address and user id are given to nobody before. */
#ifndef CLEAT_EXECUTOR_WARDEN_H
#define CLEAT_EXECUTOR_WARDEN_H

#include <sys/types.h>

/* Returns in the process that is to become the program, a child of the warden; the warden never
 * returns: it ends as the program did. parent: whose end it watches for; it has one thread.
 * own_user: as of process_sweep. -1: errno, there is no warden. */
int warden_stand(pid_t parent, uid_t own_user);

#endif
