/* What a terminal shows: colours, widths, times, and text that cannot move its cursor. */
#ifndef CLEAT_CLEAT_TERM_H
#define CLEAT_CLEAT_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum colour { PLAIN, BOLD, DIM, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN, COLOURS };

/* Escape sequences, or "" when to is no terminal or NO_COLOR is set (no-color.org). */
const char *colour_on(FILE *to, enum colour);
const char *colour_off(FILE *to, enum colour);
enum colour state_colour(const char *state); /* of a session or a job */

/* Columns and rows of the terminal; 100 and 24 when there is none and $COLUMNS says nothing. */
unsigned term_columns(FILE *to);
unsigned term_rows(FILE *to);

/* The last group of the id, which find_id takes: UUIDv7s begin alike. */
const char *short_id(const char *id);
/* "0.42s", "12.3s", "5m03s", "2h05m", "3d04h"; out has room for SPAN_SIZE. Negative: "-". */
#define SPAN_SIZE 24
void span_text(char out[SPAN_SIZE], int64_t ms);
/* "812 B", "12 KiB", "3.4 MiB" */
void size_text(char out[SPAN_SIZE], int64_t bytes);
/* Unix time in ms of an RFC 3339 UTC time; -1: it is none. */
int64_t time_read(const char *text);

/* Columns that UTF-8 text takes, one a character. */
size_t text_width(const char *);

struct table;
struct table *table_new(size_t columns, const char *const *headings);
/* The next cell, rows fill up by themselves. NULL: "-". Control characters become '?'. */
void table_cell(struct table *, enum colour, const char *text);
void table_cell_number(struct table *, int64_t value); /* right-aligned */
void table_cell_span(struct table *, int64_t ms);      /* right-aligned */
void table_cell_size(struct table *, int64_t bytes);   /* right-aligned */
void table_print(const struct table *, FILE *to);
void table_free(struct table *);

#endif
