/* Between the files that draw the SVG. */
#ifndef CLEAT_CLEAT_TIMELINE_SVG_H
#define CLEAT_CLEAT_TIMELINE_SVG_H

#include "base/buf.h"
#include "cleat/timeline.h"

#define WIDTH 1280.0
#define MARGIN 28.0
#define AXIS_LEFT 138.0
#define AXIS_RIGHT (WIDTH - 226.0)
#define ROWS_TOP 148.0

#define SANS "Inter,'Segoe UI','Helvetica Neue','DejaVu Sans',Arial,sans-serif"
#define MONO "'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace"
#define INK "#1f2933"
#define GREY "#6b7785"
#define PALE "#e4e8ed"
#define GREEN_INK "#2f7d46"
#define RED_INK "#c02637"

struct drawing {
    const struct timeline *t;
    struct buf out;
    double row; /* height of a row */
    double bottom;
};

double svg_x(const struct drawing *, int64_t ms);
/* more: further attributes. */
void svg_text(struct drawing *, double x, double y, double size, const char *fill,
              const char *more, const char *content);

void svg_head(struct drawing *);
/* Below the rows: how many ran at once; of jobs, else of height 0. */
void svg_overlap(struct drawing *);
double svg_overlap_height(const struct drawing *);

#endif
