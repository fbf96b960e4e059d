#include "cleat/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/mem.h"
#include "cleat/call.h"
#include "cleat/term.h"

#define REDRAW_MS 100

/* A line that is too long is cut: wrapped, it would be two to go up. */
#define NO_WRAP "\033[?7l"
#define WRAP "\033[?7h"

struct progress {
    struct cli *cli;
    char *const *ids;
    size_t count, drawn; /* drawn: lines of the last picture */
    struct timer timer;
    struct call call;
};

/* The attempt is over and the session was never ready: its last phase is what failed. */
static bool attempt_failed(const json_t *session)
{
    const char *state = json_string_value(json_object_get(session, "attempt_state"));
    return state && !json_is_integer(json_object_get(session, "ready_ms")) &&
           (strcmp(state, "ENDING") == 0 || strcmp(state, "SALVAGING") == 0 ||
            strcmp(state, "ENDED") == 0);
}

static void describe_phase(struct buf *line, const json_t *phase, bool failed)
{
    const json_t *end = json_object_get(phase, "end_ms");
    bool over = json_is_integer(end);
    int64_t ms =
        json_integer_value(end) - json_integer_value(json_object_get(phase, "start_ms"));
    enum colour colour = failed ? RED : over ? GREEN : YELLOW;
    char span[SPAN_SIZE];
    span_text(span, over ? ms : -1);
    buf_printf(line, "  %s%s %s%s", json_string_value(json_object_get(phase, "name")),
               colour_on(stderr, colour),
               failed ? "✗"
               : over ? "✓"
                      : "…",
               colour_off(stderr, colour));
    if (over)
        buf_printf(line, " %s", span);
}

/* Phases of the last attempt, each with its time: "queue ✓ 0.01s  launch ✓ 0.12s  start …". */
static void describe_phases(struct buf *line, const json_t *session)
{
    const json_t *phases = json_object_get(session, "phases");
    json_int_t attempt = json_integer_value(json_object_get(session, "attempt"));
    size_t i;
    json_t *p;
    json_array_foreach (phases, i, p) {
        json_int_t number = json_integer_value(json_object_get(p, "attempt"));
        bool last = i + 1 == json_array_size(phases);
        if (number == attempt || number == 0)
            describe_phase(line, p, last && number > 0 && attempt_failed(session));
    }
}

/* What it waits for out of the ordinary, or what its launch is at. */
static void describe_wait(struct buf *line, const json_t *session)
{
    const char *wait = json_string_value(json_object_get(session, "waiting_for"));
    const char *progress = json_string_value(json_object_get(session, "progress"));
    if (wait || progress)
        buf_printf(line, "  %s%s", wait ? "waiting for " : "", wait ? wait : progress);
}

static void draw_session(const char *id, const json_t *session)
{
    struct buf line = {0};
    const char *state = json_string_value(json_object_get(session, "state"));
    const json_t *ready = json_object_get(session, "ready_ms");
    json_int_t attempt = json_integer_value(json_object_get(session, "attempt"));
    enum colour colour = state_colour(state);
    char span[SPAN_SIZE] = "";
    if (json_is_integer(ready))
        span_text(span, json_integer_value(ready));
    buf_printf(&line, "%s  %s%-9s%s %6s", short_id(id), colour_on(stderr, colour),
               state ? state : "", colour_off(stderr, colour), span);
    if (attempt > 1)
        buf_printf(&line, "  attempt %d:", (int)attempt);
    describe_phases(&line, session);
    describe_wait(&line, session);
    fprintf(stderr, "\r\033[K%s\n", line.data);
    buf_free(&line);
}

static void draw_summary(const struct progress *p, size_t ready, size_t failed)
{
    fprintf(stderr, "\r\033[K%zu sessions: %s%zu ready%s, %zu opening", p->count,
            colour_on(stderr, GREEN), ready, colour_off(stderr, GREEN),
            p->count - ready - failed);
    if (failed > 0)
        fprintf(stderr, ", %s%zu ended%s", colour_on(stderr, RED), failed,
                colour_off(stderr, RED));
    fputc('\n', stderr);
}

static const json_t *find(const json_t *sessions, const char *id)
{
    size_t i;
    json_t *s;
    json_array_foreach (sessions, i, s) {
        const char *this = json_string_value(json_object_get(s, "session_id"));
        if (this && strcmp(this, id) == 0)
            return s;
    }
    return NULL;
}

static bool state_is(const json_t *session, const char *a, const char *b)
{
    const char *state = json_string_value(json_object_get(session, "state"));
    return state && (strcmp(state, a) == 0 || strcmp(state, b) == 0);
}

/* A line a session where the window has room for all, else one line in all. */
static void draw(struct progress *p, const json_t *sessions)
{
    bool whole = p->count < term_rows(stderr);
    size_t ready = 0, failed = 0;
    fputs(NO_WRAP, stderr);
    if (p->drawn > 0)
        fprintf(stderr, "\033[%zuA", p->drawn);
    for (size_t i = 0; i < p->count; i++) {
        const json_t *session = find(sessions, p->ids[i]);
        ready += state_is(session, "READY", "BUSY");
        failed +=
            state_is(session, "FAILED", "CLOSED") || state_is(session, "CLOSING", "CLOSING");
        if (whole)
            draw_session(p->ids[i], session);
    }
    if (!whole)
        draw_summary(p, ready, failed);
    fputs(WRAP, stderr);
    p->drawn = whole ? p->count : 1;
}

static void ask(struct progress *p)
{
    call_clear(&p->call);
    call_start(&p->call, p->cli, "GET", "/v1/sessions", NULL, CALL_TIMEOUT_MS);
}

static void on_timer(void *arg)
{
    struct progress *p = arg;
    if (!p->call.pending) {
        if (p->call.document)
            draw(p, json_object_get(p->call.document, "sessions"));
        ask(p);
    }
    timer_arm(&p->timer, REDRAW_MS);
}

struct progress *progress_new(struct cli *cli, char *const *ids, size_t count)
{
    struct progress *p = mem_alloc(sizeof *p);
    p->cli = cli;
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
        draw(p, json_object_get(p->call.document, "sessions"));
}

void progress_free(struct progress *p)
{
    timer_stop(&p->timer);
    call_clear(&p->call);
    free(p);
}
