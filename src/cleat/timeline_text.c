#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat/term.h"
#include "cleat/timeline.h"

#define LABEL 14 /* columns before the axis */

struct canvas {
    FILE *to;
    bool colours;
    unsigned width; /* of the axis */
    int64_t end_ms;
};

static unsigned column(const struct canvas *c, int64_t ms)
{
    int64_t at = ms * (int64_t)c->width / c->end_ms;
    return at >= (int64_t)c->width ? c->width - 1 : (unsigned)at;
}

/* At least one character, however short: what came later covers what came before. */
static void fill(const struct canvas *c, const struct kind **row, const struct bar *b)
{
    for (unsigned i = column(c, b->start_ms), end = column(c, b->end_ms); i <= end; i++)
        if (i < end || i == column(c, b->start_ms) || b->open)
            row[i] = b->kind;
}

static void print_row(const struct canvas *c, const struct kind *const *row)
{
    for (unsigned i = 0; i < c->width; i++) {
        if (!row[i])
            fputc(' ', c->to);
        else if (c->colours)
            fprintf(c->to, "\033[38;5;%dm%s\033[0m", row[i]->terminal, "█");
        else
            fputc(row[i]->letter, c->to);
    }
}

static void print_life(const struct canvas *c, const struct life *life)
{
    const struct kind **row = mem_array(c->width, sizeof(const struct kind *));
    char span[SPAN_SIZE];
    if (life->ready.kind)
        fill(c, row, &life->ready);
    for (size_t i = 0; i < life->phase_count; i++)
        fill(c, row, &life->phases[i]);
    for (size_t i = 0; i < life->cleanup_count; i++)
        fill(c, row, &life->cleanup[i]);
    fprintf(c->to, "%-*s", LABEL, short_id(life->id));
    print_row(c, row);
    span_text(span, life->ready_ms);
    fprintf(c->to, " %7s %s%s%s\n", span, colour_on(c->to, state_colour(life->state)),
            life->state ? life->state : "", colour_off(c->to, state_colour(life->state)));
    free(row);
}

static void print_kinds(const struct canvas *c, const struct kind *kinds)
{
    for (; kinds->name; kinds++) {
        if (c->colours)
            fprintf(c->to, "  \033[38;5;%dm█\033[0m %s", kinds->terminal, kinds->name);
        else
            fprintf(c->to, "  %c %s", kinds->letter, kinds->name);
    }
}

static void print_legend(const struct canvas *c)
{
    const struct kind ready[] = {ready_kind, {NULL, NULL, 0, 0}};
    fprintf(c->to, "%-*s", LABEL - 2, "");
    print_kinds(c, phase_kinds);
    print_kinds(c, ready);
    fprintf(c->to, "\n%-*s", LABEL - 2, "");
    print_kinds(c, cleanup_kinds);
    fputc('\n', c->to);
}

static void print_axis(const struct canvas *c)
{
    char span[SPAN_SIZE];
    span_text(span, c->end_ms);
    fprintf(c->to, "%-*s0", LABEL, "");
    for (unsigned i = 1; i + (unsigned)strlen(span) < c->width; i++)
        fputs("·", c->to);
    fprintf(c->to, "%s   ready\n", span);
}

void timeline_print(const struct timeline *t, FILE *to)
{
    unsigned columns = term_columns(to);
    struct canvas c = {
        .to = to, .colours = colour_on(to, GREEN)[0] != '\0', .end_ms = t->end_ms};
    c.width = columns > LABEL + 40 ? columns - LABEL - 18 : 40;
    print_axis(&c);
    for (size_t i = 0; i < t->count; i++)
        print_life(&c, &t->lives[i]);
    print_legend(&c);
}
