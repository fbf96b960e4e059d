#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat/term.h"

struct cell {
    char *text;
    enum colour colour;
    bool right;
};

struct table {
    size_t columns, count;
    struct cell *cells; /* the first row is the headings */
};

static void add(struct table *t, enum colour colour, bool right, const char *text)
{
    char *copy = mem_strdup(text ? text : "-");
    for (unsigned char *p = (unsigned char *)copy; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
    t->cells = mem_grow(t->cells, (t->count + 1) * sizeof *t->cells);
    t->cells[t->count++] = (struct cell){copy, colour, right};
}

struct table *table_new(size_t columns, const char *const *headings)
{
    struct table *t = mem_alloc(sizeof *t);
    t->columns = columns;
    for (size_t i = 0; i < columns; i++)
        add(t, BOLD, false, headings[i]);
    return t;
}

void table_cell(struct table *t, enum colour colour, const char *text)
{
    add(t, colour, false, text);
}

/* A number's heading goes to the right with it. */
static void add_right(struct table *t, const char *text)
{
    t->cells[t->count % t->columns].right = true;
    add(t, PLAIN, true, text);
}

void table_cell_number(struct table *t, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    add_right(t, text);
}

void table_cell_span(struct table *t, int64_t ms)
{
    char text[SPAN_SIZE];
    span_text(text, ms);
    add_right(t, text);
}

void table_cell_size(struct table *t, int64_t bytes)
{
    char text[SPAN_SIZE];
    size_text(text, bytes);
    add_right(t, text);
}

static void pad(FILE *to, size_t count)
{
    for (; count > 0; count--)
        fputc(' ', to);
}

static void print_cell(const struct cell *c, size_t width, bool last, FILE *to)
{
    size_t space = width - text_width(c->text);
    if (c->right)
        pad(to, space);
    fprintf(to, "%s%s%s", colour_on(to, c->colour), c->text, colour_off(to, c->colour));
    if (!c->right && !last)
        pad(to, space);
    fputs(last ? "\n" : "  ", to);
}

void table_print(const struct table *t, FILE *to)
{
    size_t *widths = mem_array(t->columns, sizeof *widths);
    for (size_t i = 0; i < t->count; i++) {
        size_t width = text_width(t->cells[i].text), column = i % t->columns;
        if (width > widths[column])
            widths[column] = width;
    }
    for (size_t i = 0; i < t->count; i++)
        print_cell(&t->cells[i], widths[i % t->columns], i % t->columns == t->columns - 1, to);
    free(widths);
}

void table_free(struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->cells[i].text);
    free(t->cells);
    free(t);
}
