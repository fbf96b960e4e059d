/* The events there are, and what each tells its user: one table, shown in cleatd(8), EVENTS. */
#ifndef CLEAT_SESSION_EVENT_CODE_H
#define CLEAT_SESSION_EVENT_CODE_H

#include <stddef.h>

struct event_code {
    const char *name, *message;
};

extern const struct event_code event_codes[]; /* sorted by name */
extern const size_t event_code_count;

const struct event_code *event_code_find(const char *name); /* NULL: there is none */

#endif
