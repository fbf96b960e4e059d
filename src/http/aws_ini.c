#include "http/aws_ini.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/buf.h"
#include "base/mem.h"

/* A piece of the text, not NUL-ended. */
struct span {
    const char *start;
    size_t len;
};

static struct span trim(const char *start, size_t len)
{
    while (len > 0 && isspace((unsigned char)*start)) {
        start++;
        len--;
    }
    while (len > 0 && isspace((unsigned char)start[len - 1]))
        len--;
    return (struct span){start, len};
}

/* The next line without its end; false: no more. */
static bool next_line(const char **text, struct span *line)
{
    if (!**text)
        return false;
    *line = (struct span){*text, strcspn(*text, "\n")};
    *text += line->len;
    *text += **text == '\n';
    return true;
}

/* [profile "a b"] → profile a b; NULL: no section begins here. free() */
static char *section_name(struct span line)
{
    struct span l = trim(line.start, line.len);
    const char *end = l.len > 0 && *l.start == '[' ? memchr(l.start, ']', l.len) : NULL;
    if (!end)
        return NULL;
    struct buf name = {0};
    for (const char *c = l.start + 1; c < end; c++) {
        bool is_space = isspace((unsigned char)*c) != 0;
        if (*c == '"' || *c == '\'')
            continue;
        if (!is_space)
            buf_add(&name, c, 1);
        else if (name.len > 0 && name.data[name.len - 1] != ' ')
            buf_puts(&name, " ");
    }
    while (name.len > 0 && name.data[name.len - 1] == ' ')
        name.data[--name.len] = '\0';
    return buf_take(&name);
}

static bool is_section(struct span line, const char *section, bool *inside)
{
    char *name = section_name(line);
    if (!name)
        return false;
    *inside = strcmp(name, section) == 0;
    free(name);
    return true;
}

/* A comment within a line begins with a space and # or ;. */
static struct span value_of(const char *start, size_t len)
{
    for (size_t i = 1; i < len; i++)
        if ((start[i] == '#' || start[i] == ';') && isspace((unsigned char)start[i - 1]))
            len = i;
    return trim(start, len);
}

static bool is_assignment(struct span line, const char *key, struct span *value)
{
    const char *equals = line.len > 0 && !isspace((unsigned char)*line.start) &&
                                 *line.start != '#' && *line.start != ';'
                             ? memchr(line.start, '=', line.len)
                             : NULL;
    if (!equals)
        return false;
    struct span name = trim(line.start, (size_t)(equals - line.start));
    if (name.len != strlen(key) || strncasecmp(name.start, key, name.len) != 0)
        return false;
    *value = value_of(equals + 1, line.len - (size_t)(equals + 1 - line.start));
    return true;
}

char *aws_ini_value(const char *text, const char *section, const char *key)
{
    struct span line, value;
    bool inside = false;
    char *found = NULL;
    while (next_line(&text, &line)) {
        if (is_section(line, section, &inside) || !inside || !is_assignment(line, key, &value))
            continue;
        if (found)
            mem_wipe(found, strlen(found));
        free(found);
        found = value.len > 0 ? mem_strndup(value.start, value.len) : NULL;
    }
    return found;
}

bool aws_ini_has(const char *text, const char *section)
{
    struct span line;
    bool inside = false;
    while (!inside && next_line(&text, &line))
        is_section(line, section, &inside);
    return inside;
}
