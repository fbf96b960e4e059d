/* GET /executions/ID/output: one stream as bytes, or both in the order in which they came. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base64.h"
#include "base/mem.h"
#include "executor/executor.h"

#define OUTPUT_CHUNK (256 << 10)
#define RUNS_MAX 1024 /* in one answer */

static bool answer_stream(struct waiter *w, bool expired)
{
    const struct output *o = w->of_stderr ? &w->execution->err : &w->execution->out;
    bool ended = !w->execution->running;
    if (o->kept <= w->offset && !ended && !expired)
        return false;
    struct buf bytes = {0};
    struct error e = {0};
    if (o->path && output_read(o, w->offset, OUTPUT_CHUNK, &bytes, &e)) {
        contract_refuse(w->executor, w->request, &e);
    } else {
        char next[24];
        snprintf(next, sizeof next, "%" PRIu64, w->offset + bytes.len);
        server_add_header(w->request, "X-Cleat-Offset", next);
        server_add_header(w->request, "X-Cleat-End",
                          ended && w->offset + bytes.len >= o->kept ? "true" : "false");
        contract_answer_bytes(w->executor, w->request, bytes.data, bytes.len);
    }
    buf_free(&bytes);
    return true;
}

/* ---- both streams */

/* One chunk from offset on, at most max bytes. NULL: there is none, or *e. */
static json_t *read_chunk(const struct execution *x, uint64_t offset, size_t max, size_t *len,
                          struct error *e)
{
    struct order_run run;
    struct buf bytes = {0};
    uint64_t has;
    if (!order_find(&x->order, offset, &run, &has))
        return NULL;
    const struct output *o = run.is_err ? &x->err : &x->out;
    uint64_t skip = offset - run.start, left = has - skip;
    if (output_read(o, run.within + skip, left < max ? (size_t)left : max, &bytes, e)) {
        buf_free(&bytes);
        return NULL;
    }
    char *text = base64_encode(bytes.data ? bytes.data : "", bytes.len);
    *len = bytes.len;
    buf_free(&bytes);
    json_t *chunk = json_pack("{s:s, s:I, s:s}", "stream", run.is_err ? "stderr" : "stdout",
                              "time_ms", (json_int_t)run.time_ms, "data_base64", text);
    free(text);
    return chunk;
}

static json_t *read_chunks(const struct execution *x, uint64_t *offset, struct error *e)
{
    json_t *chunks = json_array(), *chunk;
    size_t room = OUTPUT_CHUNK, len = 0;
    while (room > 0 && json_array_size(chunks) < RUNS_MAX &&
           (chunk = read_chunk(x, *offset, room, &len, e))) {
        json_array_append_new(chunks, chunk);
        *offset += len;
        room -= len;
    }
    return chunks;
}

static bool answer_both(struct waiter *w, bool expired)
{
    const struct execution *x = w->execution;
    uint64_t next = w->offset;
    struct error e = {0};
    if (x->order.total <= w->offset && x->running && !expired)
        return false;
    json_t *chunks = read_chunks(x, &next, &e);
    if (e.code) {
        contract_refuse(w->executor, w->request, &e);
        json_decref(chunks);
        return true;
    }
    json_t *o = json_pack("{s:s, s:o, s:I}", "execution_id", x->id, "chunks", chunks, "next",
                          (json_int_t)next);
    if (!x->running && next >= x->order.total)
        json_object_set_new(o, "record", execution_document(x, true));
    contract_answer(w->executor, w->request, 200, o);
    return true;
}

/* ---- the route */

static bool read_number(struct server_request *r, const char *name, int64_t max, int64_t *out)
{
    const char *text = server_query(r, name);
    if (!text)
        return true;
    size_t len = strlen(text);
    if (len == 0 || len > 18 || strspn(text, "0123456789") != len)
        return false;
    *out = strtoll(text, NULL, 10);
    return *out <= max;
}

static enum error_code check_stream(const char *stream, const struct execution *x,
                                    struct error *e)
{
    if (strcmp(stream, "stdout") == 0 || strcmp(stream, "stderr") == 0)
        return ERR_NONE;
    if (strcmp(stream, "both") != 0)
        return error_set(e, ERR_INVALID, "stream is stdout, stderr or both");
    if (!x->collected || (x->order.file < 0 && !x->error))
        return error_set(e, ERR_NOT_FOUND, "the order of its output is not kept");
    return ERR_NONE;
}

void route_output(struct executor *x, struct server_request *r, const char *id)
{
    struct error e = {0};
    int64_t offset = 0, wait_s = 0;
    const char *stream = server_query(r, "stream");
    struct execution *execution = route_find_execution(x, r, id);
    if (!execution)
        return;
    check_stream(stream ? stream : "", execution, &e);
    if (!e.code && (!read_number(r, "offset", INT64_MAX, &offset) ||
                    !read_number(r, "wait_s", WAIT_MAX_S, &wait_s)))
        error_set(&e, ERR_INVALID, "offset is a number, wait_s 0 to %d", WAIT_MAX_S);
    if (e.code) {
        contract_refuse(x, r, &e);
        return;
    }
    bool both = strcmp(stream, "both") == 0;
    struct waiter w = {.offset = (uint64_t)offset, .of_stderr = strcmp(stream, "stderr") == 0};
    route_wait(x, r, execution, both ? answer_both : answer_stream, &w, wait_s);
}
