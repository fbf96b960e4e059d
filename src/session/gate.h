/* The breakers of a class: every call of a driver passes here before it starts. */
#ifndef CLEAT_SESSION_GATE_H
#define CLEAT_SESSION_GATE_H

#include "session/core.h"

extern const char *const driver_call_names[DRIVER_CALLS];

/* True: start it now, and tell gate_done its end. False: the engine is left alone for a while;
 * its session runs again then. */
bool gate_pass(struct attempt *, enum driver_call, struct op *);
/* Of a done op. */
void gate_done(struct attempt *, enum driver_call, const struct op *);

/* For calls of nobody's: when is the time to ask again. */
bool gate_admits(struct group *, enum driver_call, bool *trial, int64_t *when);
void gate_note(struct group *, enum driver_call, bool trial, const struct error *);

/* Whether nothing of that kind is started at the moment. */
bool gate_is_shut(const struct group *, enum driver_call);
json_t *gate_status(const struct group *); /* new reference */

#endif
