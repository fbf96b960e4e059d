#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat/overlap.h"
#include "cleat/term.h"

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

/* At most LABEL - 2 columns of it; no control character reaches the terminal. */
static void print_label(const struct canvas *c, const char *label)
{
    unsigned columns = 0;
    for (; label && *label; label++) {
        bool begins = ((unsigned char)*label & 0xc0) != 0x80;
        if (begins && columns == LABEL - 2)
            break;
        columns += begins;
        fputc((unsigned char)*label < 0x20 || *label == 0x7f ? '?' : *label, c->to);
    }
    fprintf(c->to, "%*s", (int)(LABEL - columns), "");
}

static void print_life(const struct canvas *c, const struct life *life)
{
    const struct kind **row = mem_array(c->width, sizeof(const struct kind *));
    char span[SPAN_SIZE];
    if (life->use.kind)
        fill(c, row, &life->use);
    for (size_t i = 0; i < life->phase_count; i++)
        fill(c, row, &life->phases[i]);
    for (size_t i = 0; i < life->cleanup_count; i++)
        fill(c, row, &life->cleanup[i]);
    print_label(c, life->label);
    print_row(c, row);
    span_text(span, life->took_ms);
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

static void print_legend(const struct canvas *c, const struct theme *theme)
{
    fprintf(c->to, "%-*s", LABEL - 2, "");
    print_kinds(c, theme->legend[0].kinds);
    print_kinds(c, theme->legend[1].kinds);
    if (theme->legend[2].kinds) {
        fprintf(c->to, "\n%-*s", LABEL - 2, "");
        print_kinds(c, theme->legend[2].kinds);
    }
    fputc('\n', c->to);
}

/* ---- how many at once ---- */

/* The most of each column. */
static unsigned *overlap_row(const struct canvas *c, const struct overlap *o)
{
    unsigned *row = mem_array(c->width, sizeof *row);
    for (size_t i = 0; i + 1 < o->step_count; i++) {
        unsigned from = column(c, o->steps[i].at_ms), to = column(c, o->steps[i + 1].at_ms);
        for (unsigned k = from; k < to || k == from; k++)
            row[k] = row[k] > o->steps[i].count ? row[k] : o->steps[i].count;
    }
    return row;
}

static void print_count(const struct canvas *c, unsigned count, unsigned most)
{
    static const char *const heights[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    if (count == 0)
        fputc(' ', c->to);
    else if (c->colours)
        fputs(heights[(count * 8 + most - 1) / most - 1], c->to);
    else
        fputc(count < 10 ? (int)('0' + count) : '+', c->to);
}

static void print_overlap(const struct canvas *c, const struct overlap *o)
{
    struct buf text = {0};
    unsigned *row = overlap_row(c, o);
    overlap_describe(o, &text);
    print_label(c, "at once");
    fputs(colour_on(c->to, CYAN), c->to);
    for (unsigned i = 0; i < c->width; i++)
        print_count(c, row[i], o->most);
    fprintf(c->to, "%s %s\n", colour_off(c->to, CYAN), text.data);
    buf_free(&text);
    free(row);
}

static void print_axis(const struct canvas *c, const struct theme *theme)
{
    char span[SPAN_SIZE];
    span_text(span, c->end_ms);
    fprintf(c->to, "%-*s0", LABEL, "");
    for (unsigned i = 1; i + (unsigned)strlen(span) < c->width; i++)
        fputs("·", c->to);
    fprintf(c->to, "%s   %s\n", span, theme->took_short);
}

void timeline_print(const struct timeline *t, FILE *to)
{
    unsigned columns = term_columns(to);
    struct canvas c = {
        .to = to, .colours = colour_on(to, GREEN)[0] != '\0', .end_ms = t->end_ms};
    c.width = columns > LABEL + 40 ? columns - LABEL - 18 : 40;
    print_axis(&c, t->theme);
    for (size_t i = 0; i < t->count; i++)
        print_life(&c, &t->lives[i]);
    if (t->overlap.most > 0)
        print_overlap(&c, &t->overlap);
    print_legend(&c, t->theme);
}
