#include "cleat/queue.h"

#include <inttypes.h>
#include "cleat/member.h"
#include "cleat/term.h"

void queue_describe(struct buf *out, const json_t *queue, int64_t now)
{
    int64_t position = member_number(queue, "position");
    int64_t start = time_read(member_text(queue, "estimated_start_at"));
    const char *reason = member_text(queue, "reason");
    char span[SPAN_SIZE];
    buf_puts(out, "in the queue");
    if (position > 0)
        buf_printf(out, ", place %" PRId64, position);
    if (start >= 0) {
        span_text(span, start > now ? start - now : 0);
        buf_printf(out, ", starts in about %s", span);
    }
    if (reason)
        buf_printf(out, " (%s)", reason);
}
