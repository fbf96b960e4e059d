#include "cleatd/conftext.h"

#include <stdbool.h>
#include <string.h>

#define MAX_DEPTH 32
#define MAX_NAME 64

/* Past the closing quote, or at the text's end. A backslash escapes in double quotes only. */
static char *skip_string(char *p, int *line)
{
    char quote = *p++;
    for (; *p && *p != quote; p++) {
        if (*p == '\\' && quote == '"' && p[1])
            p++;
        if (*p == '\n')
            (*line)++;
    }
    return *p ? p + 1 : p;
}

static char *blank_line_comment(char *p)
{
    while (*p && *p != '\n')
        *p++ = ' ';
    return p;
}

static char *blank_block_comment(char *p, int *line)
{
    const char *end = strstr(p + 2, "*/");
    for (; *p && (!end || p < end + 2); p++) {
        if (*p == '\n')
            (*line)++;
        else
            *p = ' ';
    }
    return p;
}

/* A comment begins where a word could; inside one, # and / are ordinary: /var//lib. */
static bool starts_word(const char *text, const char *p)
{
    return p == text || strchr(" \t\r\n={}(),;+\"'", p[-1]) != NULL;
}

int conftext_prepare(char *text)
{
    int line = 1, depth = 0, opened[MAX_DEPTH] = {0};
    for (char *p = text; *p;) {
        bool word = starts_word(text, p);
        if (*p == '"' || *p == '\'') {
            p = skip_string(p, &line);
        } else if (word && (*p == '#' || (p[0] == '/' && p[1] == '/'))) {
            p = blank_line_comment(p);
        } else if (word && p[0] == '/' && p[1] == '*') {
            p = blank_block_comment(p, &line);
        } else {
            if (*p == '\n')
                line++;
            if (*p == '{' && depth < MAX_DEPTH)
                opened[depth++] = line;
            if (*p == '}' && depth > 0)
                depth--;
            p++;
        }
    }
    return depth > 0 ? opened[depth - 1] : 0;
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Levenshtein's distance: letters to insert, remove or replace. */
static size_t distance(const char *a, const char *b)
{
    size_t lb = strlen(b), row[MAX_NAME + 1];
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t above = row[j];
            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[lb];
}

const char *conftext_nearest(const char *word, const char *const *names)
{
    size_t length = strlen(word);
    size_t best = length / 3 + 2; /* as far as this is another word */
    const char *found = NULL;
    if (length > MAX_NAME)
        return NULL;
    for (; *names; names++) {
        size_t d = strlen(*names) > MAX_NAME ? best : distance(word, *names);
        if (d < best) {
            best = d;
            found = *names;
        }
    }
    return found;
}
