#include <stdio.h>
#include <string.h>
#include "cleat/progress.h"
#include "cleat/queue.h"
#include "cleat/term.h"

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

static void describe(struct buf *line, const char *id, const json_t *session, int64_t now)
{
    const char *state = json_string_value(json_object_get(session, "state"));
    const json_t *queue = json_object_get(session, "queue");
    const json_t *ready = json_object_get(session, "ready_ms");
    json_int_t attempt = json_integer_value(json_object_get(session, "attempt"));
    enum colour colour = state_colour(state);
    char span[SPAN_SIZE] = "";
    if (json_is_integer(ready))
        span_text(span, json_integer_value(ready));
    buf_printf(line, "%s  %s%-9s%s %6s", short_id(id), colour_on(stderr, colour),
               state ? state : "", colour_off(stderr, colour), span);
    if (attempt > 1)
        buf_printf(line, "  attempt %d:", (int)attempt);
    describe_phases(line, session);
    if (json_is_object(queue)) {
        buf_puts(line, "  ");
        queue_describe(line, queue, now);
    } else {
        describe_wait(line, session);
    }
}

static bool state_is(const json_t *session, const char *a, const char *b)
{
    const char *state = json_string_value(json_object_get(session, "state"));
    return state && (strcmp(state, a) == 0 || strcmp(state, b) == 0);
}

static enum outcome outcome_of(const json_t *session)
{
    if (state_is(session, "READY", "BUSY"))
        return GOOD;
    return state_is(session, "FAILED", "CLOSED") || state_is(session, "CLOSING", "CLOSING")
               ? BAD
               : GOING;
}

const struct progress_kind session_progress = {&session_ids, describe,  outcome_of,
                                               "ready",      "opening", "ended"};
