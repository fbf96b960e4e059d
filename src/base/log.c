#include "base/log.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/buf.h"

static enum log_level max_level = LOG_LEVEL_INFO;
static log_sink_fn *sink;
static void *sink_arg;

static const char *level_name(enum log_level level)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    return names[level];
}

void log_set_level(enum log_level level)
{
    max_level = level;
}

void log_set_sink(log_sink_fn *fn, void *arg)
{
    sink = fn;
    sink_arg = arg;
}

static void write_stderr(enum log_level level, const char *line)
{
    (void)level;
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    char stamp[32];
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    fprintf(stderr, "%s.%03dZ %s\n", stamp, (int)(now.tv_nsec / 1000000), line);
}

static bool is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7f;
}

static bool needs_quotes(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (strchr(" \"=", text[i]) || is_control((unsigned char)text[i]))
            return true;
    return len == 0;
}

static void add_quoted(struct buf *line, const char *text, size_t len)
{
    buf_puts(line, "\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            buf_printf(line, "\\%c", c);
        else if (c == '\n')
            buf_puts(line, "\\n");
        else if (is_control(c))
            buf_printf(line, "\\x%02x", c);
        else
            buf_add(line, text + i, 1);
    }
    buf_puts(line, "\"");
}

static void add_text(struct buf *line, const struct log_field *f)
{
    size_t len = strlen(f->text);
    bool cut = f->prefix > 0 && len > (size_t)f->prefix;
    if (cut)
        len = (size_t)f->prefix;
    if (needs_quotes(f->text, len))
        add_quoted(line, f->text, len);
    else
        buf_add(line, f->text, len);
    if (cut)
        buf_puts(line, "…");
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    if (level > max_level)
        return;
    struct buf line = {0};
    buf_printf(&line, "level=%s event=%s", level_name(level), event);
    for (const struct log_field *f = fields; f->key; f++) {
        if (f->text && !*f->text)
            continue;
        buf_printf(&line, " %s=", f->key);
        if (f->text)
            add_text(&line, f);
        else
            buf_printf(&line, "%" PRId64, f->number);
    }
    if (sink)
        sink(sink_arg, level, line.data);
    else
        write_stderr(level, line.data);
    buf_free(&line);
}
