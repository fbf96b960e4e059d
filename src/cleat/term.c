#include "cleat/term.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static bool has_colours(FILE *to)
{
    const char *no = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return isatty(fileno(to)) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

const char *colour_on(FILE *to, enum colour c)
{
    static const char *const codes[COLOURS] = {
        [PLAIN] = "",        [BOLD] = "\033[1m",     [DIM] = "\033[2m",
        [RED] = "\033[31m",  [GREEN] = "\033[32m",   [YELLOW] = "\033[33m",
        [BLUE] = "\033[34m", [MAGENTA] = "\033[35m", [CYAN] = "\033[36m",
    };
    return has_colours(to) ? codes[c] : "";
}

const char *colour_off(FILE *to, enum colour c)
{
    return c != PLAIN && has_colours(to) ? "\033[0m" : "";
}

enum colour state_colour(const char *state)
{
    static const struct {
        const char *state;
        enum colour colour;
    } colours[] = {
        {"QUEUED", YELLOW},   {"OPENING", YELLOW}, {"READY", GREEN},
        {"BUSY", CYAN},       {"CLOSING", BLUE},   {"REROUTING", MAGENTA},
        {"CLOSED", DIM},      {"FAILED", RED},     {"queued", YELLOW},
        {"starting", YELLOW}, {"running", CYAN},   {"succeeded", GREEN},
        {"failed", RED},      {"timed_out", RED},  {"cancelled", MAGENTA},
        {"lost", RED},
    };
    for (size_t i = 0; state && i < sizeof colours / sizeof colours[0]; i++)
        if (strcmp(colours[i].state, state) == 0)
            return colours[i].colour;
    return PLAIN;
}

static struct winsize window(FILE *to)
{
    struct winsize w = {0};
    if (ioctl(fileno(to), TIOCGWINSZ, &w) != 0)
        w = (struct winsize){0};
    return w;
}

unsigned term_columns(FILE *to)
{
    const char *columns = getenv("COLUMNS");
    long given = columns ? strtol(columns, NULL, 10) : 0;
    unsigned real = window(to).ws_col;
    if (given >= 20 && given <= 1000)
        return (unsigned)given;
    return real > 0 ? real : 100;
}

unsigned term_rows(FILE *to)
{
    unsigned real = window(to).ws_row;
    return real > 0 ? real : 24;
}

const char *short_id(const char *id)
{
    const char *dash = id ? strrchr(id, '-') : NULL;
    return dash ? dash + 1 : id;
}

void span_text(char out[SPAN_SIZE], int64_t ms)
{
    int64_t s = ms / 1000;
    if (ms < 0)
        snprintf(out, SPAN_SIZE, "-");
    else if (ms < 9995)
        snprintf(out, SPAN_SIZE, "%.2fs", (double)ms / 1000);
    else if (ms < 60 * 1000)
        snprintf(out, SPAN_SIZE, "%.1fs", (double)ms / 1000);
    else if (s < 3600)
        snprintf(out, SPAN_SIZE, "%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, SPAN_SIZE, "%" PRId64 "h%02" PRId64 "m", s / 3600, s / 60 % 60);
    else
        snprintf(out, SPAN_SIZE, "%" PRId64 "d%02" PRId64 "h", s / 86400, s / 3600 % 24);
}

void size_text(char out[SPAN_SIZE], int64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double amount = (double)bytes;
    size_t unit = 0;
    for (; amount >= 1024 && unit + 1 < sizeof units / sizeof units[0]; unit++)
        amount /= 1024;
    if (bytes < 0)
        snprintf(out, SPAN_SIZE, "-");
    else
        snprintf(out, SPAN_SIZE, unit > 0 && amount < 9.95 ? "%.1f %s" : "%.0f %s", amount,
                 units[unit]);
}

int64_t time_read(const char *text)
{
    struct tm tm = {0};
    int ms = 0, end = 0;
    if (!text)
        return -1;
    int n = sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n.%3d%n", &tm.tm_year, &tm.tm_mon,
                   &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &end, &ms, &end);
    if (n < 6 || strcmp(text + end, "Z") != 0)
        return -1;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return (int64_t)timegm(&tm) * 1000 + ms;
}

size_t text_width(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}
