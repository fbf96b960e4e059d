/* The loopback addresses of one range, shared by all runtimes of this process that name it: one
 * holder each, the longest free is given first. */
#ifndef CLEAT_DRIVER_ADDRESSES_H
#define CLEAT_DRIVER_ADDRESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

#define ADDRESS_SIZE 16

struct addresses;

/* text: "127.64.0.0/16" within 127.0.0.0/8, /8 to /30. ERR_CONFIG: malformed, or it overlaps
 * another open range. The same range again is the same object. */
struct addresses *addresses_open(const char *text, struct error *e);
void addresses_close(struct addresses *); /* the last close forgets who held what */

/* False: none is free. holder is copied. */
bool addresses_take(struct addresses *, const char *holder, char ip[ADDRESS_SIZE]);
/* True when it now is, or already was, holder's; false: somebody else's, or not of this range.
 */
bool addresses_reserve(struct addresses *, const char *ip, const char *holder);
/* Nothing happens unless holder holds it. */
void addresses_release(struct addresses *, const char *ip, const char *holder);

uint32_t addresses_index(const struct addresses *,
                         const char *ip); /* host number, 0: not of the range */
size_t addresses_free_count(const struct addresses *);

#endif
