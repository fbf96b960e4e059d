/* One line per event: key=value pairs, values quoted when they need it, empty ones left out.
 *     log_info("session.state", KV("session", s->id), KV("to", "READY"), KI("ms", 12));
 * Never pass a secret; a cookie only through KPREFIX, which keeps four characters. */
#ifndef CLEAT_BASE_LOG_H
#define CLEAT_BASE_LOG_H

#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log_field {
    const char *key;
    const char *text; /* NULL: number is the value */
    int64_t number;
    int prefix; /* > 0: show only that many characters, then an ellipsis */
};

static inline const char *log_text(const char *text)
{
    return text ? text : "";
}

#define KV(k, v) ((struct log_field){.key = (k), .text = log_text(v)})
#define KI(k, v) ((struct log_field){.key = (k), .number = (int64_t)(v)})
#define KPREFIX(k, v) ((struct log_field){.key = (k), .text = log_text(v), .prefix = 4})

#define log_at(level, event, ...)                                                              \
    log_write(level, event, (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}})
#define log_error(event, ...) log_at(LOG_LEVEL_ERROR, event, __VA_ARGS__)
#define log_warn(event, ...) log_at(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define log_info(event, ...) log_at(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_debug(event, ...) log_at(LOG_LEVEL_DEBUG, event, __VA_ARGS__)

/* line has neither time nor newline: the sink adds what its medium needs. */
typedef void log_sink_fn(void *arg, enum log_level level, const char *line);

void log_write(enum log_level level, const char *event, const struct log_field *fields);
void log_set_level(enum log_level level);      /* default INFO */
void log_set_sink(log_sink_fn *fn, void *arg); /* NULL: stderr with an RFC 3339 UTC time */

#endif
