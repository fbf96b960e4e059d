/* What one HAProxy is told next about one server, so that it comes a step closer to what we
 * want:
 *
 *   wanted:  add → enable health → checks pass (they run in maintenance) → enable → rotating
 *   leaving: maintenance → no sessions, or cut off after a while → delete → not listed */
#ifndef CLEAT_DRIVER_HAPROXY_STEP_H
#define CLEAT_DRIVER_HAPROXY_STEP_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "driver/class.h"
#include "driver/haproxy_state.h"

enum haproxy_step {
    STEP_NONE,
    STEP_ADD,
    STEP_CHECK,
    STEP_ENABLE,
    STEP_MAINT,
    STEP_DELETE,
    STEP_SHUTDOWN
};

struct haproxy_wish {
    const char *id, *ip; /* words of a command, see haproxy_name_valid */
    uint16_t port;
    bool leaving;
    int64_t leaving_for_ms;
};

/* s: how the HAProxy lists it; NULL: not at all. */
enum haproxy_step haproxy_step_next(const struct class *, const struct haproxy_wish *,
                                    const struct haproxy_server *s);

/* Adds its commands, each ended by ';'. last_id: the largest number of a server there, counted
 * up by STEP_ADD. */
void haproxy_step_write(const struct class *, const struct haproxy_wish *, enum haproxy_step,
                        int64_t *last_id, struct buf *commands);

#endif
