/* cleatd at work: its coordinator, its socket and its signals. */
#ifndef CLEAT_CLEATD_SERVICE_H
#define CLEAT_CLEATD_SERVICE_H

#include "cleatd/config.h"

struct service_hooks {
    /* Reads the configuration anew into one that is initialised: file, then command line, then
     * the check of the whole. NULL, or what is wrong, free(). */
    char *(*reread)(void *arg, struct configuration *);
    void (*reloaded)(void *arg, const struct configuration *); /* it may have changed */
    void *arg;
};

/* From here on SIGHUP, which ends a program by default, waits for service_run to follow it. */
void service_hold_reload(void);

/* Runs until a signal ends it; an exit status. Problems of the start are on stderr. */
int service_run(struct configuration *, const struct service_hooks *);

#endif
