/* Bytes as text (RFC 4648): base64 with padding (section 4), base64url without (section 5). */
#ifndef CLEAT_BASE_BASE64_H
#define CLEAT_BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>

char *base64_encode(const void *data, size_t len); /* free() */
/* False: not what the encoder gives. Else *out, followed by a NUL, and its length; free() it.
 */
bool base64_decode(const char *text, char **out, size_t *len);

char *base64url_encode(const void *data, size_t len);
bool base64url_decode(const char *text, char **out, size_t *len);

#endif
