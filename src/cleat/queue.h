/* The place of a session in the queue. */
#ifndef CLEAT_CLEAT_QUEUE_H
#define CLEAT_CLEAT_QUEUE_H

#include <jansson.h>
#include <stdint.h>
#include "base/buf.h"

/* "in the queue, place 3, starts in about 12.0s (max_parallel)" of a document's "queue".
 * now_ms: Unix time. */
void queue_describe(struct buf *, const json_t *queue, int64_t now_ms);

#endif
