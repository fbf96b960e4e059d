#include "base/base64.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define NO_DIGIT 255
#define COMMON "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
static const char plain[] = COMMON "+/", url[] = COMMON "-_";

static char *encode(const char *digits, const void *data, size_t len)
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
        *to++ = digits[bits << (6 - count) & 63];
    while (digits == plain && (to - text) % 4 != 0)
        *to++ = '=';
    return text;
}

static bool decode(const char *digits, const char *text, size_t text_len, char **out,
                   size_t *len)
{
    char *bytes = mem_alloc(text_len / 4 * 3 + 4), *to = bytes;
    uint32_t bits = 0;
    unsigned count = 0;
    size_t i = 0;
    uint8_t values[256]; /* megabytes pass here within a turn of a loop */
    memset(values, NO_DIGIT, sizeof(values));
    for (uint8_t n = 0; n < 64; n++)
        values[(uint8_t)digits[n]] = n;
    for (; i < text_len && values[(uint8_t)text[i]] != NO_DIGIT; i++) {
        bits = bits << 6 | values[(uint8_t)text[i]];
        count += 6;
        if (count >= 8) {
            count -= 8;
            *to++ = (char)(bits >> count & 255);
        }
    }
    if (i < text_len || count == 6 || (bits & ((1u << count) - 1)) != 0) {
        free(bytes);
        return false;
    }
    *out = bytes;
    *len = (size_t)(to - bytes);
    return true;
}

char *base64_encode(const void *data, size_t len)
{
    return encode(plain, data, len);
}

bool base64_decode(const char *text, char **out, size_t *len)
{
    size_t text_len = strlen(text), padding = 0;
    while (padding < 2 && padding < text_len && text[text_len - 1 - padding] == '=')
        padding++;
    return text_len % 4 == 0 && decode(plain, text, text_len - padding, out, len);
}

char *base64url_encode(const void *data, size_t len)
{
    return encode(url, data, len);
}

bool base64url_decode(const char *text, char **out, size_t *len)
{
    return decode(url, text, strlen(text), out, len);
}
