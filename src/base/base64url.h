/* base64url without padding (RFC 4648 section 5): bytes as [A-Za-z0-9_-]. */
#ifndef CLEAT_BASE_BASE64URL_H
#define CLEAT_BASE_BASE64URL_H

#include <stdbool.h>
#include <stddef.h>

char *base64url_encode(const void *data, size_t len); /* free() */
/* False: not what base64url_encode gives. Else *out, followed by a NUL, and its length; free()
 * it. */
bool base64url_decode(const char *text, char **out, size_t *len);

#endif
