/* Which class a request for resources gets. */
#ifndef CLEAT_SESSION_CHOICE_H
#define CLEAT_SESSION_CHOICE_H

#include "session/config.h"

/* What a container must have; 0 and NULL: whatever it has. */
struct resources {
    bool given;
    int64_t cpu_milli, memory_mb, gpu;
    json_t *labels; /* object of strings, borrowed */
};

/* From the member "resources" of a request. */
void resources_read(const json_t *request, struct resources *, struct error *e);

/* A class without a limit of CPU or memory has enough of it. False and *e (ERR_NO_CLASS), which
 * says what it lacks. */
bool choice_fits(const struct class *, const struct resources *, struct error *e);
/* Of the classes that fit the one with the least GPUs, then memory, then CPU, the first of
 * several; no limit is the most. NULL and *e: none fits. */
const struct class *choice_pick(const struct cleat_config *, const struct resources *,
                                struct error *e);

#endif
