#include "base/base64url.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

char *base64url_encode(const void *data, size_t len)
{
    const uint8_t *bytes = data;
    char *text = mem_alloc(len / 3 * 4 + 5), *to = text;
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | bytes[i];
        for (count += 8; count >= 6; count -= 6)
            *to++ = digits[bits >> (count - 6) & 63];
    }
    if (count > 0)
        *to = digits[bits << (6 - count) & 63];
    return text;
}

bool base64url_decode(const char *text, char **out, size_t *len)
{
    char *bytes = mem_alloc(strlen(text) / 4 * 3 + 4), *to = bytes;
    uint32_t bits = 0;
    unsigned count = 0;
    const char *digit = NULL;
    for (; *text && (digit = strchr(digits, *text)); text++) {
        bits = bits << 6 | (uint32_t)(digit - digits);
        count += 6;
        if (count >= 8) {
            count -= 8;
            *to++ = (char)(bits >> count & 255);
        }
    }
    if (*text || count == 6 || (bits & ((1u << count) - 1)) != 0) {
        free(bytes);
        return false;
    }
    *out = bytes;
    *len = (size_t)(to - bytes);
    return true;
}
