/* The phases of sessions on one time axis, drawn as text or as SVG. */
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
extern const struct kind phase_kinds[], cleanup_kinds[], ready_kind; /* end with a NULL name */

struct bar {
    const struct kind *kind;
    int64_t start_ms, end_ms; /* on the timeline's axis */
    bool open;                /* still going on */
    unsigned lane;            /* of a cleanup step */
    int attempt;              /* of a phase */
    const char *result; /* of a cleanup step, NULL for phases; borrowed from the document */
};

struct life {
    const char *id, *state, *reason; /* borrowed from the document */
    int64_t created_ms;              /* on the axis */
    int64_t ready_ms, closed_ms;     /* since created_ms; -1: not */
    int64_t executions, failed;
    struct bar ready; /* kind NULL: never was */
    struct bar *phases, *cleanup;
    size_t phase_count, cleanup_count;
};

struct timeline {
    int64_t origin_ms;  /* Unix time of the axis's 0 */
    int64_t end_ms;     /* the axis's end, > 0 */
    struct life *lives; /* in the order of their creation */
    size_t count;
};

/* sessions: as the API lists them; borrowed and must outlive the timeline. ids: whole ids to
 * draw, NULL: all. now_ms: Unix time to which what has not ended is drawn. */
struct timeline *timeline_new(const json_t *sessions, char *const *ids, size_t id_count,
                              int64_t now_ms);
void timeline_free(struct timeline *);

void timeline_print(const struct timeline *, FILE *to);
/* The whole picture; free(). */
char *timeline_svg(const struct timeline *);

#endif
