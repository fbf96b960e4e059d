#include "http/sse.h"

#include <string.h>

static const char *text_of(const struct buf *b)
{
    return b->data ? b->data : "";
}

static void set(struct buf *b, const char *text, size_t len)
{
    b->len = 0;
    buf_add(b, text, len);
}

static bool is_named(const struct buf *line, size_t name, const char *field)
{
    return name == strlen(field) && memcmp(line->data, field, name) == 0;
}

/* An event without data is none, but its id counts. */
static void dispatch(struct sse *s, sse_event_fn *fn, void *arg)
{
    bool moved = strcmp(text_of(&s->id), text_of(&s->last_id)) != 0;
    set(&s->last_id, text_of(&s->id), s->id.len);
    if (s->data.len > 0) {
        s->data.data[--s->data.len] = '\0'; /* the newest line's end */
        fn(arg, &(struct sse_event){.id = text_of(&s->last_id),
                                    .event = s->event.len ? s->event.data : "message",
                                    .data = s->data.data});
    } else if (moved) {
        fn(arg, &(struct sse_event){.id = text_of(&s->last_id)});
    }
    s->data.len = s->event.len = 0;
}

static bool take_field(struct sse *s)
{
    const struct buf *line = &s->line;
    const char *colon = memchr(line->data, ':', line->len);
    size_t name = colon ? (size_t)(colon - line->data) : line->len;
    size_t value = colon ? name + 1 : name;
    if (value < line->len && line->data[value] == ' ')
        value++;
    const char *text = line->data + value;
    size_t len = line->len - value;
    if (is_named(line, name, "data")) {
        if (s->data.len + len + 1 > SSE_MAX_EVENT)
            return false;
        buf_add(&s->data, text, len);
        buf_add(&s->data, "\n", 1);
    } else if (is_named(line, name, "event")) {
        set(&s->event, text, len);
    } else if (is_named(line, name, "id")) {
        set(&s->id, text, len);
    }
    return true;
}

static bool take_line(struct sse *s, sse_event_fn *fn, void *arg)
{
    bool fine = true;
    if (s->line.len == 0)
        dispatch(s, fn, arg);
    else if (s->line.data[0] != ':') /* a comment */
        fine = !memchr(s->line.data, '\0', s->line.len) && take_field(s);
    s->line.len = 0;
    return fine;
}

/* A mark of the order of bytes may come first. */
static void drop_mark(struct sse *s)
{
    static const char mark[] = "\xef\xbb\xbf";
    if (s->begun)
        return;
    s->begun = true;
    if (s->line.len >= 3 && memcmp(s->line.data, mark, 3) == 0)
        buf_drop(&s->line, 3);
}

bool sse_feed(struct sse *s, const char *bytes, size_t len, sse_event_fn *fn, void *arg)
{
    for (const char *at = bytes, *end = bytes + len; at < end;) {
        if (s->after_cr && *at == '\n') /* the second half of one line's end */
            at++;
        s->after_cr = false;
        const char *stop = at;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        if (s->line.len + (size_t)(stop - at) > SSE_MAX_EVENT)
            return false;
        buf_add(&s->line, at, (size_t)(stop - at));
        if (stop == end)
            return true;
        s->after_cr = *stop == '\r';
        at = stop + 1;
        drop_mark(s);
        if (!take_line(s, fn, arg))
            return false;
    }
    return true;
}

void sse_free(struct sse *s)
{
    buf_free(&s->line);
    buf_free(&s->event);
    buf_free(&s->data);
    buf_free(&s->id);
    buf_free(&s->last_id);
    *s = (struct sse){0};
}

bool sse_id_parse(const char *text, int64_t *out)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 18 || text[digits] || (*text == '0' && digits > 1))
        return false;
    *out = 0;
    for (; *text; text++)
        *out = 10 * *out + (*text - '0');
    return true;
}
