/* Mishaps at named moments of a cleanup, where other scenarios leave them to chance. They are
 * set one after the other: each strikes once, at the first call of its kind after the one
 * before it has struck. */
#ifndef SIMULATION_TRAP_H
#define SIMULATION_TRAP_H

#include <stdbool.h>
#include <stddef.h>
#include "network.h"

enum moment {
    MOMENT_END, /* the session closes while an execution runs */
    MOMENT_COMPLETE,
    MOMENT_PROGRESS, /* asked for, or the plain contract's health */
    MOMENT_UPLOAD,   /* would be done now */
    MOMENT_DEREGISTER,
    MOMENT_DRAIN,   /* HAProxy is told to delete it, a target group is asked for it */
    MOMENT_STOP,    /* the engine's call, a host's release, or the signal */
    MOMENT_REMOVE,  /* the engine is to forget it */
    MOMENT_RELEASE, /* the attempt has ended */
    MOMENTS
};

enum mishap {
    MISHAP_NONE,
    MISHAP_ERROR,
    MISHAP_REFUSED,
    MISHAP_ANSWER_LOST, /* the effect happened; behind a balancer: 504 */
    MISHAP_LATE,        /* beyond every deadline of the step */
    /* These have happened when trap_strike returns. */
    MISHAP_DEATH,    /* of the container */
    MISHAP_BALANCER, /* restarts and has forgotten its servers */
    MISHAP_CRASH,    /* of the coordinator, in this turn */
    MISHAP_AWAY,     /* the engine of that step is, for a minute */
    MISHAPS
};

extern const char *const moment_names[MOMENTS], *const mishap_names[MISHAPS];

struct trap {
    enum moment moment;
    enum mishap mishap;
};

#define TRAP_LATE_MS 90000
#define TRAP_AWAY_MS 60000

void traps_begin(void); /* nothing strikes before the session closes */
void traps_set(const struct trap *, size_t count); /* kept, not copied */
size_t traps_struck(void);
int64_t traps_uploaded_ms(void);     /* when cleat knew; 0: never */
bool traps_killed_unconfirmed(void); /* before cleat knew that the upload was done */

/* At such a call: what is to become of it. */
enum mishap trap_strike(enum moment);
enum mishap trap_request(const struct sim_request *, bool at_service);
enum mishap trap_question(const char *question); /* at HAProxy's Runtime API */
void trap_core_line(const char *line);
bool trap_engine_is_away(void); /* AWS */

#endif
