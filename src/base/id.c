#include "base/id.h"

#include <string.h>

static const char digits[] = "0123456789abcdef";

void hex_encode(char *out, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(void *out, size_t len, const char *hex)
{
    uint8_t *bytes = out;
    if (strlen(hex) != 2 * len)
        return false;
    for (size_t i = 0; i < len; i++) {
        int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

void id_make(char out[ID_SIZE], int64_t unix_ms, const uint8_t random[10])
{
    uint8_t b[16];
    for (int i = 0; i < 6; i++)
        b[i] = (uint8_t)((uint64_t)unix_ms >> (40 - 8 * i));
    memcpy(b + 6, random, 10);
    b[6] = (uint8_t)(0x70 | (b[6] & 0x0f));
    b[8] = (uint8_t)(0x80 | (b[8] & 0x3f));
    for (size_t i = 0; i < sizeof b; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        hex_encode(out, b + i, 1);
        out += 2;
    }
}

bool id_valid(const char *s)
{
    if (!s)
        return false;
    for (int i = 0; i < ID_SIZE - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (s[i] == '\0' || (dash ? s[i] != '-' : !strchr(digits, s[i])))
            return false;
    }
    return s[ID_SIZE - 1] == '\0' && s[14] == '7' && strchr("89ab", s[19]);
}

int64_t id_time_ms(const char *id)
{
    int64_t ms = 0;
    for (int digits_left = 12; digits_left > 0; id++) {
        if (*id == '-')
            continue;
        ms = ms << 4 | hex_value(*id);
        digits_left--;
    }
    return ms;
}
