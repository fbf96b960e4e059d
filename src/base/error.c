#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int status;
    bool retryable;
} table[ERR_COUNT] = {
    [ERR_NONE] = {"none", 200, false},
    [ERR_INVALID] = {"invalid_request", 400, false},
    [ERR_NO_CLASS] = {"no_class_fits", 400, false},
    [ERR_FORBIDDEN] = {"forbidden", 403, false},
    [ERR_NOT_FOUND] = {"not_found", 404, false},
    [ERR_CONFLICT] = {"conflict", 409, false},
    [ERR_CLOSED] = {"session_closed", 409, false},
    [ERR_NOT_READY] = {"not_ready", 409, true},
    [ERR_BLOCKED] = {"request_id_closed", 410, false},
    [ERR_TOO_LARGE] = {"too_large", 413, false},
    [ERR_FULL] = {"full", 429, true},
    [ERR_DRAINING] = {"draining", 503, true},
    [ERR_QUEUE_TIMEOUT] = {"queue_timeout", 503, true},
    [ERR_CREATE_TIMEOUT] = {"create_timeout", 504, true},
    [ERR_WAIT_TIMEOUT] = {"wait_timeout", 504, true},
    [ERR_LAUNCH] = {"launch_failed", 502, true},
    [ERR_CAPACITY] = {"no_capacity", 503, true},
    [ERR_DIED] = {"container_died", 502, false},
    [ERR_UNHEALTHY] = {"never_healthy", 504, true},
    [ERR_REGISTER] = {"register_failed", 502, true},
    [ERR_MISROUTE] = {"misroute", 502, true},
    [ERR_EXEC_TIMEOUT] = {"exec_timeout", 504, false},
    [ERR_INPUT] = {"input_failed", 502, true},
    [ERR_CANCELLED] = {"cancelled", 409, false},
    [ERR_LOST] = {"journal_lost", 500, false},
    [ERR_CONNECT] = {"connect_failed", 502, true},
    [ERR_TIMEOUT] = {"timeout", 504, true},
    [ERR_RESET] = {"connection_lost", 502, true},
    [ERR_PROTOCOL] = {"protocol_error", 502, false},
    [ERR_STORE] = {"store_failed", 503, true},
    [ERR_CONFIG] = {"bad_configuration", 500, false},
    [ERR_PERMANENT] = {"permanent", 502, false},
    [ERR_INTERNAL] = {"internal", 500, false},
};

static enum error_code known(enum error_code code)
{
    return (unsigned)code < ERR_COUNT ? code : ERR_INTERNAL;
}

const char *error_name(enum error_code code)
{
    return table[known(code)].name;
}

enum error_code error_find(const char *name)
{
    for (int i = 0; name && i < ERR_COUNT; i++)
        if (strcmp(table[i].name, name) == 0)
            return (enum error_code)i;
    return ERR_NONE;
}

int error_http_status(enum error_code code)
{
    return table[known(code)].status;
}

bool error_retryable(enum error_code code)
{
    return table[known(code)].retryable;
}

/* Length of the well-formed UTF-8 character at s (Unicode 15 table 3-7), 0: none. */
static size_t utf8_length(const unsigned char *s)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t len;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        len = 2;
    } else if ((s[0] & 0xf0) == 0xe0) {
        len = 3;
        low = s[0] == 0xe0 ? 0xa0 : low;
        high = s[0] == 0xed ? 0x9f : high;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        len = 4;
        low = s[0] == 0xf0 ? 0x90 : low;
        high = s[0] == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

/* Messages quote what peers said and end up in JSON and in log lines. */
void error_make_printable(char *text)
{
    for (unsigned char *s = (unsigned char *)text; *s;) {
        size_t len = utf8_length(s);
        if (len == 0 || *s < 0x20 || *s == 0x7f)
            *s = '?';
        s += len > 0 ? len : 1;
    }
}

enum error_code error_of_errno(int number, enum error_code otherwise)
{
    bool exhausted =
        number == EMFILE || number == ENFILE || number == EAGAIN || number == ENOMEM;
    return exhausted ? ERR_CAPACITY : otherwise;
}

enum error_code error_set(struct error *e, enum error_code code, const char *fmt, ...)
{
    if (!e)
        return code;
    char message[sizeof e->message] = {0}; /* the arguments may point into *e */
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    error_make_printable(message);
    e->code = code;
    e->of_engine = false;
    e->reason = NULL;
    e->retry_after_s = 0;
    memcpy(e->message, message, sizeof message);
    return code;
}
