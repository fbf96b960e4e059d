/* SVG 1.1, self-contained: no script, no style sheet, fonts that every system has. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cleat/term.h"
#include "cleat/timeline_svg.h"

#define LANES 5.0
#define MIN_TICK_PIXELS 72.0
#define LABEL_SIZE 96
#define LABEL_CHARACTERS 15

double svg_x(const struct drawing *d, int64_t ms)
{
    return AXIS_LEFT + (AXIS_RIGHT - AXIS_LEFT) * (double)ms / (double)d->t->end_ms;
}

/* Control characters, which XML 1.0 forbids (section 2.2), become '?'. */
static void add_escaped(struct buf *out, const char *text)
{
    for (; text && *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '&')
            buf_puts(out, "&amp;");
        else if (c == '<')
            buf_puts(out, "&lt;");
        else if (c == '>')
            buf_puts(out, "&gt;");
        else if (c == '"')
            buf_puts(out, "&quot;");
        else if (c < 0x20 || c == 0x7f)
            buf_puts(out, "?");
        else
            buf_add(out, text, 1);
    }
}

/* Leaves the element open. */
static void start_text(struct drawing *d, double x, double y, double size, const char *fill,
                       const char *more)
{
    buf_printf(&d->out, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.1f\" fill=\"%s\"%s%s>", x, y,
               size, fill, *more ? " " : "", more);
}

void svg_text(struct drawing *d, double x, double y, double size, const char *fill,
              const char *more, const char *content)
{
    start_text(d, x, y, size, fill, more);
    add_escaped(&d->out, content);
    buf_puts(&d->out, "</text>\n");
}

/* ---- axis */

/* The shortest step between ticks that leaves room for their labels. */
static int64_t tick_step(const struct drawing *d)
{
    static const int64_t steps[] = {
        1,      2,       5,       10,      20,       50,       100,     200,    500,
        1000,   2000,    5000,    10000,   15000,    30000,    60000,   120000, 300000,
        600000, 1800000, 3600000, 7200000, 21600000, 43200000, 86400000};
    int64_t least =
        (int64_t)((double)d->t->end_ms * MIN_TICK_PIXELS / (AXIS_RIGHT - AXIS_LEFT));
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (steps[i] > least)
            return steps[i];
    return (least / 86400000 + 1) * 86400000;
}

static void tick_label(char *out, size_t size, int64_t ms, int64_t step)
{
    int64_t s = ms / 1000;
    if (ms == 0)
        snprintf(out, size, "0");
    else if (step < 1000)
        snprintf(out, size, "%g s", (double)ms / 1000);
    else if (step < 3600000 && s < 60)
        snprintf(out, size, "%" PRId64 " s", s);
    else if (s < 3600)
        snprintf(out, size, "%" PRId64 ":%02" PRId64 " min", s / 60, s % 60);
    else
        snprintf(out, size, "%" PRId64 ":%02" PRId64 " h", s / 3600, s / 60 % 60);
}

static void draw_axis(struct drawing *d)
{
    int64_t step = tick_step(d);
    for (int64_t ms = 0; ms <= d->t->end_ms; ms += step) {
        char label[32];
        double x = svg_x(d, ms);
        tick_label(label, sizeof label, ms, step);
        buf_printf(&d->out,
                   "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"" PALE
                   "\"/>\n",
                   x, ROWS_TOP - 8, x, d->bottom + 6);
        svg_text(d, x, ROWS_TOP - 15, 11, GREY, "text-anchor=\"middle\"", label);
        svg_text(d, x, d->bottom + 20, 11, GREY, "text-anchor=\"middle\"", label);
    }
}

/* ---- bars */

static void title_start(struct drawing *d, const struct bar *b)
{
    buf_puts(&d->out, "<title>");
    add_escaped(&d->out, b->kind->name);
    buf_printf(&d->out, " %.3f\xe2\x80\x93%.3f s", (double)b->start_ms / 1000,
               (double)b->end_ms / 1000);
    if (b->attempt > 1)
        buf_printf(&d->out, ", attempt %d", b->attempt);
    if (b->result) {
        buf_puts(&d->out, ", ");
        add_escaped(&d->out, b->result);
    }
    buf_printf(&d->out, "%s</title>", b->open ? ", going on" : "");
}

static void draw_bar(struct drawing *d, const struct bar *b, double y, double height,
                     const char *more)
{
    double x = svg_x(d, b->start_ms), width = svg_x(d, b->end_ms) - x;
    double least = height < 8 ? 2 : 1; /* what took no time is seen all the same */
    buf_printf(&d->out,
               "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" rx=\"%.1f\" "
               "fill=\"%s\"%s%s>",
               x, y, width < least ? least : width, height,
               width < 4    ? 0.0
               : height < 8 ? 1.0
                            : 2.0,
               b->kind->colour, *more ? " " : "", more);
    title_start(d, b);
    buf_puts(&d->out, "</rect>\n");
}

/* Executions of a session, the time that a job ran. */
static void use_label(const struct drawing *d, const struct life *life, char label[LABEL_SIZE])
{
    *label = '\0';
    if (d->t->theme == &job_theme)
        span_text(label,
                  life->took_ms >= 0 ? life->took_ms : life->use.end_ms - life->use.start_ms);
    else if (life->executions > 0)
        snprintf(label, LABEL_SIZE, "%" PRId64 " execution%s", life->executions,
                 life->executions == 1 ? "" : "s");
}

static void draw_use(struct drawing *d, const struct life *life, double y, double height)
{
    const struct bar *b = &life->use;
    double width = svg_x(d, b->end_ms) - svg_x(d, b->start_ms);
    char label[LABEL_SIZE];
    draw_bar(d, b, y, height, b->open ? "fill-opacity=\"0.55\"" : "");
    use_label(d, life, label);
    if (*label && width > 7.0 * (double)strlen(label)) {
        start_text(d, svg_x(d, b->start_ms) + width / 2, y + height / 2 + 3.6, 10.5,
                   b->kind == ready_kinds ? GREEN_INK : INK, "text-anchor=\"middle\"");
        buf_puts(&d->out, label);
        if (life->failed > 0 && width > 7.0 * (double)(strlen(label) + 12))
            buf_printf(&d->out, "<tspan fill=\"" RED_INK "\">, %" PRId64 " failed</tspan>",
                       life->failed);
        buf_puts(&d->out, "</text>\n");
    }
}

static const char *cleanup_look(const struct bar *b)
{
    if (!b->result || b->open)
        return b->open ? "fill-opacity=\"0.6\"" : "";
    if (strcmp(b->result, "lost") == 0 || strcmp(b->result, "failed") == 0)
        return "stroke=\"" RED_INK "\" stroke-width=\"1\" stroke-dasharray=\"3 2\"";
    return strcmp(b->result, "skipped") == 0 ? "fill-opacity=\"0.35\"" : "";
}

/* Steps run at the same time: each kind has a lane of its own, so that overlap is seen. */
static void draw_cleanup(struct drawing *d, const struct life *life, double top)
{
    double lane = (d->row - 3) / LANES;
    for (size_t i = 0; i < life->cleanup_count; i++) {
        const struct bar *b = &life->cleanup[i];
        draw_bar(d, b, top + 1.5 + lane * b->lane + 0.25, lane - 0.5, cleanup_look(b));
    }
}

/* ---- rows */

static void draw_stripes(struct drawing *d)
{
    for (size_t i = 0; i < d->t->count; i += 2)
        buf_printf(
            &d->out,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"#f5f7f9\"/>\n",
            MARGIN - 8, ROWS_TOP + d->row * (double)i, WIDTH - 2 * MARGIN + 16, d->row);
}

static void draw_columns(struct drawing *d, const struct life *life, double baseline)
{
    char span[SPAN_SIZE];
    bool ended = life->closed_ms >= 0;
    bool failed = state_colour(life->state) == RED;
    span_text(span, life->took_ms);
    svg_text(d, AXIS_RIGHT + 64, baseline, 11, INK, "text-anchor=\"end\"", span);
    span_text(span, life->closed_ms);
    if (ended)
        svg_text(d, AXIS_RIGHT + 122, baseline, 11, INK, "text-anchor=\"end\"", span);
    svg_text(d, AXIS_RIGHT + 134, baseline, 10, failed ? RED_INK : GREY, "",
             ended && life->reason ? life->reason : life->state);
}

/* Where nothing is drawn on it, the session waits between two attempts. */
static void draw_thread(struct drawing *d, const struct life *life, double y)
{
    const struct bar *last = life->phase_count ? &life->phases[life->phase_count - 1] : NULL;
    if (last)
        buf_printf(&d->out,
                   "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#9aa5b1\" "
                   "stroke-dasharray=\"2 3\"/>\n",
                   svg_x(d, life->created_ms), y, svg_x(d, last->end_ms), y);
}

/* Ids are all of one length; the name of a job is cut. */
static void draw_label(struct drawing *d, const struct life *life, double baseline)
{
    bool is_id = life->label != NULL && strlen(life->label) <= LABEL_CHARACTERS;
    struct buf label = {0};
    size_t characters = 0;
    for (const char *c = life->label; c && *c; c++) {
        characters += ((unsigned char)*c & 0xc0) != 0x80;
        if (characters > LABEL_CHARACTERS)
            break;
        buf_add(&label, c, 1);
    }
    if (!is_id)
        buf_puts(&label, "…");
    svg_text(d, MARGIN, baseline, 11, INK, "font-family=\"" MONO "\"", label.data);
    buf_free(&label);
}

static void draw_life(struct drawing *d, const struct life *life, size_t index)
{
    double top = ROWS_TOP + d->row * (double)index, height = d->row * 0.64;
    double y = top + (d->row - height) / 2, baseline = top + d->row / 2 + 3.8;
    draw_label(d, life, baseline);
    draw_columns(d, life, baseline);
    draw_thread(d, life, top + d->row / 2);
    if (life->use.kind)
        draw_use(d, life, y, height);
    for (size_t i = 0; i < life->phase_count; i++)
        draw_bar(d, &life->phases[i], y, height,
                 life->phases[i].open ? "fill-opacity=\"0.6\"" : "");
    draw_cleanup(d, life, top);
}

char *timeline_svg(const struct timeline *t)
{
    struct drawing d = {.t = t, .row = t->count <= 8 ? 42 : t->count <= 24 ? 30 : 20};
    d.bottom = ROWS_TOP + d.row * (double)t->count;
    double height = d.bottom + 36 + svg_overlap_height(&d);
    buf_printf(&d.out,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
               "viewBox=\"0 0 %.0f %.0f\" font-family=\"" SANS "\">\n"
               "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
               WIDTH, height, WIDTH, height);
    svg_head(&d);
    draw_stripes(&d);
    draw_axis(&d);
    for (size_t i = 0; i < t->count; i++)
        draw_life(&d, &t->lives[i], i);
    svg_overlap(&d);
    buf_puts(&d.out, "</svg>\n");
    return buf_take(&d.out);
}
