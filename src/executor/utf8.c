#include "executor/utf8.h"

#include <stdbool.h>

#define REPLACEMENT "\xef\xbf\xbd"

/* Length of the valid sequence at s, 0: none (RFC 3629 section 4). */
static size_t sequence(const unsigned char *s, size_t len)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t size;
    if (s[0] >= 0x01 && s[0] <= 0x7f)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        size = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        size = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        size = 4;
    else
        return 0;
    if (s[0] == 0xe0)
        low = 0xa0; /* overlong */
    if (s[0] == 0xed)
        high = 0x9f; /* surrogates */
    if (s[0] == 0xf0)
        low = 0x90;
    if (s[0] == 0xf4)
        high = 0x8f; /* beyond U+10FFFF */
    if (len < size || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

static void add(struct buf *b, const void *data, size_t len, bool escape)
{
    const unsigned char *s = data, *end = s + len, *good = s;
    while (s < end) {
        size_t size = sequence(s, (size_t)(end - s));
        if (size) {
            s += size;
            continue;
        }
        buf_add(b, good, (size_t)(s - good));
        if (escape)
            buf_printf(b, "%%%02X", *s);
        else
            buf_puts(b, REPLACEMENT);
        good = ++s;
    }
    if (s > good)
        buf_add(b, good, (size_t)(s - good));
}

void utf8_add(struct buf *b, const void *data, size_t len)
{
    add(b, data, len, false);
}

void utf8_add_escaped(struct buf *b, const void *data, size_t len)
{
    add(b, data, len, true);
}
