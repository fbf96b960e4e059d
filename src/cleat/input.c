#include "cleat/input.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "cleat/cli.h"

static char *read_whole(FILE *f, const char *name, size_t max, size_t *len)
{
    struct buf text = {0};
    char part[65536];
    size_t n;
    while ((n = fread(part, 1, sizeof part, f)) > 0 && text.len <= max)
        buf_add(&text, part, n);
    if (ferror(f))
        usage_error("%s: %s", name, strerror(errno));
    else if (text.len > max)
        usage_error("%s: more than %zu MiB", name, max >> 20);
    if (ferror(f) || text.len > max) {
        buf_free(&text);
        return NULL;
    }
    *len = text.len;
    return buf_take(&text);
}

char *input_read(const char *path, size_t max, size_t *len)
{
    if (strcmp(path, "-") == 0)
        return read_whole(stdin, "standard input", max, len);
    FILE *f = fopen(path, "re");
    if (!f) {
        usage_error("%s: %s", path, strerror(errno));
        return NULL;
    }
    char *text = read_whole(f, path, max, len);
    fclose(f);
    return text;
}
