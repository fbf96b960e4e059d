/* Text for JSON out of whatever a program wrote. */
#ifndef CLEAT_EXECUTOR_UTF8_H
#define CLEAT_EXECUTOR_UTF8_H

#include "base/buf.h"

/* Adds the bytes; each that is not part of valid UTF-8 (RFC 3629), and each NUL, becomes
 * U+FFFD. */
void utf8_add(struct buf *, const void *data, size_t len);

/* The same, but such a byte becomes %XX: different bytes stay different. */
void utf8_add_escaped(struct buf *, const void *data, size_t len);

#endif
