#include "driver/docker_lines.h"
#include <string.h>

#define LINE_MAX_BYTES (1u << 20)

bool docker_split(struct buf *pending, const char *data, size_t len, docker_line_fn *fn,
                  void *arg)
{
    size_t begin = 0;
    const char *end;
    bool good = true;
    buf_add(pending, data, len);
    while (good && pending->len > begin &&
           (end = memchr(pending->data + begin, '\n', pending->len - begin)) != NULL) {
        size_t line = (size_t)(end - pending->data) - begin;
        if (line > 0 && pending->data[begin + line - 1] == '\r')
            line--;
        good = line == 0 || fn(arg, pending->data + begin, line);
        begin = (size_t)(end - pending->data) + 1;
    }
    if (begin > 0)
        buf_drop(pending, begin);
    return good && pending->len <= LINE_MAX_BYTES;
}
