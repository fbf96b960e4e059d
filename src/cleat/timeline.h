/* The phases of sessions, or the runs of jobs, on one time axis, drawn as text or as SVG. */
#ifndef CLEAT_CLEAT_TIMELINE_H
#define CLEAT_CLEAT_TIMELINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "base/error.h"

struct kind {
    const char *name, *colour; /* of the SVG */
    char letter;               /* of the text */
    int terminal;              /* its colour there, of 256 */
};
/* All end with a NULL name. */
extern const struct kind phase_kinds[], ready_kinds[], cleanup_kinds[], run_kinds[];

/* The words and colours of a picture. */
struct theme {
    const char *noun, *took, *took_short; /* "session", "ready in", "ready" */
    struct {
        const char *heading;
        const struct kind *kinds;
    } legend[3]; /* before it is used, in use, after that; kinds NULL: no such part */
};
extern const struct theme session_theme, job_theme;

struct bar {
    const struct kind *kind;
    int64_t start_ms, end_ms; /* on the timeline's axis */
    bool open;                /* still going on */
    unsigned lane;            /* of a cleanup step */
    int attempt;              /* of a phase */
    const char *result; /* of a cleanup step, NULL for phases; borrowed from the document */
};

struct life {
    const char *id, *label, *state, *reason; /* borrowed from the document */
    int64_t created_ms;                      /* on the axis */
    int64_t took_ms, closed_ms; /* to become ready, or what a job ran; when it ended, since
                                   created_ms; -1: not */
    int64_t executions, failed; /* of a session */
    struct bar use;             /* ready or running; kind NULL: never was */
    struct bar *phases, *cleanup;
    size_t phase_count, cleanup_count;
};

/* How many are in use at a time. */
struct overlap {
    struct step {
        int64_t at_ms; /* from here on */
        unsigned count;
    } * steps;
    size_t step_count;
    unsigned most;
    int64_t most_ms; /* for how long, in all */
};

struct timeline {
    const struct theme *theme;
    struct overlap overlap; /* of jobs */
    int64_t origin_ms;      /* Unix time of the axis's 0 */
    int64_t end_ms;         /* the axis's end, > 0 */
    struct life *lives;     /* in the order of their creation */
    size_t count;
};

/* sessions: as the API lists them; borrowed and must outlive the timeline. ids: whole ids to
 * draw, NULL: all. now_ms: Unix time to which what has not ended is drawn. */
struct timeline *timeline_new(const json_t *sessions, char *const *ids, size_t id_count,
                              int64_t now_ms);
/* The same of jobs. */
struct timeline *timeline_of_jobs(const json_t *jobs, char *const *ids, size_t id_count,
                                  int64_t now_ms);
void timeline_free(struct timeline *);

void timeline_print(const struct timeline *, FILE *to);
/* The whole picture; free(). */
char *timeline_svg(const struct timeline *);

#endif
