#include "cleat/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "cleat/call.h"
#include "cleat/member.h"
#include "cleat/term.h"

#define REDRAW_MS 100

/* A line that is too long is cut: wrapped, it would be two to go up. */
#define NO_WRAP "\033[?7l"
#define WRAP "\033[?7h"

struct progress {
    struct cli *cli;
    const struct progress_kind *kind;
    char *const *ids;
    size_t count, drawn; /* drawn: lines of the last picture */
    struct timer timer;
    struct call call;
};

static void draw_one(const struct progress *p, const char *id, const json_t *document)
{
    struct buf line = {0};
    p->kind->describe(&line, id, document, loop_wall_ms(p->cli->loop));
    fprintf(stderr, "\r\033[K%s\n", line.data);
    buf_free(&line);
}

static void draw_summary(const struct progress *p, size_t good, size_t bad)
{
    const struct progress_kind *kind = p->kind;
    fprintf(stderr, "\r\033[K%zu %s: %s%zu %s%s, %zu %s", p->count, kind->ids->list,
            colour_on(stderr, GREEN), good, kind->good, colour_off(stderr, GREEN),
            p->count - good - bad, kind->going);
    if (bad > 0)
        fprintf(stderr, ", %s%zu %s%s", colour_on(stderr, RED), bad, kind->bad,
                colour_off(stderr, RED));
    fputc('\n', stderr);
}

static const json_t *find(const struct progress *p, const json_t *listed, const char *id)
{
    size_t i;
    json_t *o;
    json_array_foreach (listed, i, o) {
        const char *this = member_text(o, p->kind->ids->key);
        if (this && strcmp(this, id) == 0)
            return o;
    }
    return NULL;
}

/* A line each where the window has room for all, else one line in all. */
static void draw(struct progress *p)
{
    const json_t *listed = json_object_get(p->call.document, p->kind->ids->list);
    bool whole = p->count < term_rows(stderr);
    size_t good = 0, bad = 0;
    fputs(NO_WRAP, stderr);
    if (p->drawn > 0)
        fprintf(stderr, "\033[%zuA", p->drawn);
    for (size_t i = 0; i < p->count; i++) {
        const json_t *document = find(p, listed, p->ids[i]);
        enum outcome outcome = document ? p->kind->outcome(document) : GOING;
        good += outcome == GOOD;
        bad += outcome == BAD;
        if (whole)
            draw_one(p, p->ids[i], document);
    }
    if (!whole)
        draw_summary(p, good, bad);
    fputs(WRAP, stderr);
    p->drawn = whole ? p->count : 1;
}

static void ask(struct progress *p)
{
    call_clear(&p->call);
    call_start(&p->call, p->cli, "GET", p->kind->ids->path, NULL, CALL_TIMEOUT_MS);
}

static void on_timer(void *arg)
{
    struct progress *p = arg;
    if (!p->call.pending) {
        if (p->call.document)
            draw(p);
        ask(p);
    }
    timer_arm(&p->timer, REDRAW_MS);
}

struct progress *progress_new(struct cli *cli, const struct progress_kind *kind,
                              char *const *ids, size_t count)
{
    struct progress *p = mem_alloc(sizeof *p);
    p->cli = cli;
    p->kind = kind;
    p->ids = ids;
    p->count = isatty(STDERR_FILENO) ? count : 0;
    timer_init(&p->timer, cli->loop, on_timer, p);
    if (p->count > 0)
        timer_arm(&p->timer, 0);
    return p;
}

void progress_finish(struct progress *p)
{
    if (p->count == 0)
        return;
    timer_stop(&p->timer);
    call_clear(&p->call);
    ask(p);
    call_run_all(p->cli);
    if (p->call.document)
        draw(p);
}

void progress_free(struct progress *p)
{
    timer_stop(&p->timer);
    call_clear(&p->call);
    free(p);
}
