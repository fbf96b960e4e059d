/* Files whose content goes into a request. */
#ifndef CLEAT_CLEAT_INPUT_H
#define CLEAT_CLEAT_INPUT_H

#include <stddef.h>

/* The whole file, followed by a NUL; "-": the standard input to its end. free() it. NULL: it
 * cannot be read or is longer than max bytes, said. */
char *input_read(const char *path, size_t max, size_t *len);

#endif
