/* What stands above the rows of an SVG, and below them. */
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "cleat/overlap.h"
#include "cleat/term.h"
#include "cleat/timeline_svg.h"

#define OVERLAP_HEIGHT 64.0
#define OVERLAP_TOP 34.0 /* below the rows */

static double draw_kinds(struct drawing *d, double x, double y, const char *heading,
                         const struct kind *kinds)
{
    svg_text(d, x, y, 11, GREY, "", heading);
    x += 7.0 * (double)strlen(heading) + 4;
    for (; kinds->name; kinds++) {
        buf_printf(
            &d->out,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" rx=\"2\" fill=\"%s\"/>\n",
            x, y - 10, kinds->colour);
        svg_text(d, x + 17, y, 12, INK, "", kinds->name);
        x += 30 + 7.2 * (double)strlen(kinds->name);
    }
    return x + 14;
}

static void draw_legend(struct drawing *d)
{
    const struct theme *theme = d->t->theme;
    double x = MARGIN;
    for (size_t i = 0; i < sizeof theme->legend / sizeof theme->legend[0]; i++)
        if (theme->legend[i].kinds)
            x = draw_kinds(d, x, 92, theme->legend[i].heading, theme->legend[i].kinds);
}

static void describe_sessions(const struct timeline *t, struct buf *out)
{
    size_t ready = 0, closed = 0;
    int64_t slowest = 0, executions = 0, failed = 0;
    char span[SPAN_SIZE];
    for (size_t i = 0; i < t->count; i++) {
        const struct life *l = &t->lives[i];
        ready += l->took_ms >= 0;
        closed += l->closed_ms >= 0;
        slowest = l->took_ms > slowest ? l->took_ms : slowest;
        executions += l->executions > 0 ? l->executions : 0;
        failed += l->failed > 0 ? l->failed : 0;
    }
    span_text(span, slowest);
    buf_printf(out, "%zu of %zu became ready", ready, t->count);
    if (ready > 0)
        buf_printf(out, ", the slowest in %s", span);
    buf_printf(out, "  \xc2\xb7  %" PRId64 " execution%s", executions,
               executions == 1 ? "" : "s");
    if (failed > 0)
        buf_printf(out, ", %" PRId64 " failed", failed);
    buf_printf(out, "  \xc2\xb7  %zu closed", closed);
}

static void describe_jobs(const struct timeline *t, struct buf *out)
{
    size_t ended = 0, succeeded = 0;
    int64_t longest = 0;
    char span[SPAN_SIZE];
    for (size_t i = 0; i < t->count; i++) {
        const struct life *l = &t->lives[i];
        ended += l->closed_ms >= 0;
        succeeded += l->state && strcmp(l->state, "succeeded") == 0;
        longest = l->took_ms > longest ? l->took_ms : longest;
    }
    span_text(span, longest);
    buf_printf(out, "%zu of %zu ended, %zu succeeded", ended, t->count, succeeded);
    if (longest > 0)
        buf_printf(out, ", the longest ran %s", span);
    if (t->overlap.most > 0) {
        buf_puts(out, "  \xc2\xb7  ");
        overlap_describe(&t->overlap, out);
    }
}

static void describe(const struct timeline *t, struct buf *out)
{
    time_t origin = (time_t)(t->origin_ms / 1000);
    struct tm tm;
    char when[40];
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&origin, &tm));
    buf_printf(out, "from %s  \xc2\xb7  ", when);
    if (t->theme == &job_theme)
        describe_jobs(t, out);
    else
        describe_sessions(t, out);
}

void svg_head(struct drawing *d)
{
    const struct theme *theme = d->t->theme;
    struct buf summary = {0}, heading = {0};
    buf_printf(&heading, "%zu %s%s", d->t->count, theme->noun, d->t->count == 1 ? "" : "s");
    describe(d->t, &summary);
    svg_text(d, MARGIN, 40, 22, INK, "font-weight=\"600\"", heading.data);
    svg_text(d, MARGIN, 62, 12.5, GREY, "", summary.data);
    draw_legend(d);
    svg_text(d, MARGIN, ROWS_TOP - 15, 11, GREY, "", theme->noun);
    svg_text(d, AXIS_RIGHT + 64, ROWS_TOP - 15, 11, GREY, "text-anchor=\"end\"", theme->took);
    svg_text(d, AXIS_RIGHT + 122, ROWS_TOP - 15, 11, GREY, "text-anchor=\"end\"", "ended");
    svg_text(d, AXIS_RIGHT + 134, ROWS_TOP - 15, 11, GREY, "", "why");
    buf_free(&heading);
    buf_free(&summary);
}

/* ---- how many at once ---- */

double svg_overlap_height(const struct drawing *d)
{
    return d->t->overlap.most > 0 ? OVERLAP_TOP + OVERLAP_HEIGHT : 0;
}

static void draw_step(struct drawing *d, double floor, const struct step *step, int64_t end_ms)
{
    unsigned most = d->t->overlap.most;
    double height = OVERLAP_HEIGHT * step->count / most;
    char span[SPAN_SIZE];
    span_text(span, end_ms - step->at_ms);
    buf_printf(&d->out,
               "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\">"
               "<title>%u at once for %s</title></rect>\n",
               svg_x(d, step->at_ms), floor - height, svg_x(d, end_ms) - svg_x(d, step->at_ms),
               height, step->count == most ? "#2f6db5" : "#a8c6e6", step->count, span);
}

/* The number over the longest time that the most ran together. */
static void draw_most(struct drawing *d, double floor)
{
    const struct overlap *o = &d->t->overlap;
    const struct step *longest = NULL;
    int64_t length = -1;
    char label[16];
    for (size_t i = 0; i + 1 < o->step_count; i++) {
        int64_t this = o->steps[i + 1].at_ms - o->steps[i].at_ms;
        if (o->steps[i].count == o->most && this > length) {
            longest = &o->steps[i];
            length = this;
        }
    }
    if (!longest)
        return;
    double x = (svg_x(d, longest->at_ms) + svg_x(d, longest->at_ms + length)) / 2;
    snprintf(label, sizeof label, "%u", o->most);
    svg_text(d, x, floor - OVERLAP_HEIGHT / 2 + 4, 13, "#ffffff",
             "text-anchor=\"middle\" font-weight=\"600\"", label);
}

void svg_overlap(struct drawing *d)
{
    const struct overlap *o = &d->t->overlap;
    double floor = d->bottom + OVERLAP_TOP + OVERLAP_HEIGHT;
    struct buf text = {0};
    if (o->most == 0)
        return;
    for (size_t i = 0; i + 1 < o->step_count; i++)
        if (o->steps[i].count > 0)
            draw_step(d, floor, &o->steps[i], o->steps[i + 1].at_ms);
    draw_most(d, floor);
    overlap_describe(o, &text);
    svg_text(d, MARGIN, floor - OVERLAP_HEIGHT / 2 + 4, 11, GREY, "", "at once");
    svg_text(d, AXIS_RIGHT + 14, floor - OVERLAP_HEIGHT / 2 + 4, 11, INK, "", text.data);
    buf_free(&text);
}
