/* Identifiers and hexadecimal. */
#ifndef CLEAT_BASE_ID_H
#define CLEAT_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_SIZE 37 /* 36 characters and NUL */

/* UUIDv7 (RFC 9562 section 5.7): 48 bits of Unix time in ms, then random bits: sortable by
 * time. */
void id_make(char out[ID_SIZE], int64_t unix_ms, const uint8_t random[10]);
bool id_valid(const char *s); /* lower-case UUID of version 7 */
int64_t id_time_ms(const char *id); /* of a valid one: when it was made, Unix time */

void hex_encode(char *out, const void *data, size_t len); /* out has 2 * len + 1 bytes */
bool hex_decode(void *out, size_t len,
                const char *hex); /* exactly 2 * len digits, else false */

#endif
