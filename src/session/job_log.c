#include "session/job_log.h"

#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/json.h"
#include "loop/datafile.h"
#include "session/document.h"

#define CHUNKS_AT_ONCE 1024 /* examined for one answer */
#define MARK JOB_STREAMS    /* in place of a stream: what came after was cut */
#define PIECE 65536

const char *const job_stream_names[JOB_STREAMS] = {"stdout", "stderr"};

/* Of this machine: a log is not moved to another one. */
struct entry {
    uint64_t start;
    int64_t time_ms;
    uint32_t len, stream;
    uint32_t data_sum, own_sum;
};

/* ---- paths and sums ---- */

static char *data_path(const struct job_log *log)
{
    return mem_printf("%s.log", log->path);
}

static char *index_path(const struct job_log *log)
{
    return mem_printf("%s.index", log->path);
}

#define SUM_BEGIN 2166136261u /* FNV-1a: finds what a crash tore, not what somebody forged */

static uint32_t sum_of(uint32_t sum, const void *data, size_t len)
{
    const unsigned char *byte = data;
    for (size_t i = 0; i < len; i++)
        sum = (sum ^ byte[i]) * 16777619u;
    return sum;
}

static uint32_t own_sum(const struct entry *e)
{
    return sum_of(SUM_BEGIN, e, offsetof(struct entry, own_sum));
}

/* ---- opening ---- */

static bool read_entry(const char *index, uint64_t number, struct entry *out)
{
    return datafile_read(index, number * sizeof(*out), out, sizeof(*out)) == sizeof(*out) &&
           out->own_sum == own_sum(out);
}

static bool data_is_there(const char *data, const struct entry *e)
{
    char *piece = mem_alloc(PIECE);
    uint32_t sum = SUM_BEGIN;
    size_t left = e->len, got = 1;
    for (uint64_t at = e->start; left > 0 && got > 0; left -= got, at += got) {
        got = datafile_read(data, at, piece, left < PIECE ? left : PIECE);
        sum = sum_of(sum, piece, got);
    }
    free(piece);
    return left == 0 && sum == e->data_sum;
}

/* The newest entry that is whole, with its bytes, ends the log. */
static void find_end(struct job_log *log, const char *data, const char *index)
{
    int64_t size = datafile_size(index);
    uint64_t count = size > 0 ? (uint64_t)size / sizeof(struct entry) : 0;
    struct entry e;
    while (count > 0 && !(read_entry(index, count - 1, &e) && data_is_there(data, &e)))
        count--;
    log->entries = count;
    log->bytes = count > 0 ? e.start + e.len : 0;
    log->truncated = count > 0 && e.stream == MARK;
    if (size > 0 && (uint64_t)size != count * sizeof(e))
        datafile_cut(index, count * sizeof(e));
}

void job_log_open(struct job_log *log, const char *state_dir, const char *id)
{
    if (log->path)
        return;
    log->path = mem_printf("%s/jobs/%s", state_dir, id);
    char *data = data_path(log), *index = index_path(log);
    find_end(log, data, index);
    free(index);
    free(data);
}

void job_log_close(struct job_log *log)
{
    free(log->path);
    *log = (struct job_log){0};
}

/* ---- adding ---- */

struct addition {
    struct buf data, index;
    uint64_t bytes, entries;
    unsigned streams;
    bool truncated;
};

static void add_entry(struct addition *a, uint32_t stream, int64_t time_ms, const char *data,
                      size_t len)
{
    struct entry e = {.start = a->bytes,
                      .time_ms = time_ms,
                      .len = (uint32_t)len,
                      .stream = stream,
                      .data_sum = sum_of(SUM_BEGIN, data, len)};
    e.own_sum = own_sum(&e);
    if (len > 0)
        buf_add(&a->data, data, len);
    buf_add(&a->index, &e, sizeof(e));
    a->bytes += len;
    a->entries++;
    if (len > 0)
        a->streams |= 1u << stream;
}

static void add_chunk(struct addition *a, const struct job_chunk *c, uint64_t limit)
{
    uint64_t room = limit > a->bytes ? limit - a->bytes : 0;
    if (a->truncated)
        return;
    if (c->len > 0 && room > 0)
        add_entry(a, c->stream, c->time_ms, c->data, c->len < room ? c->len : (size_t)room);
    if (c->len > room) {
        add_entry(a, MARK, c->time_ms, "", 0);
        a->truncated = true;
    }
}

static enum error_code write_addition(const struct job_log *log, const struct addition *a,
                                      struct error *e)
{
    char *data = data_path(log), *index = index_path(log);
    *e = (struct error){0};
    if (a->data.len > 0)
        datafile_write(data, log->bytes, a->data.data, a->data.len, e);
    if (e->code == ERR_NONE && a->index.len > 0)
        datafile_write(index, log->entries * sizeof(struct entry), a->index.data, a->index.len,
                       e);
    if (e->code != ERR_NONE) /* a part of an entry is not taken for one later */
        datafile_cut(index, log->entries * sizeof(struct entry));
    free(index);
    free(data);
    return e->code;
}

enum error_code job_log_add(struct job_log *log, const struct job_chunk *chunks, size_t count,
                            uint64_t limit, struct error *e)
{
    struct addition a = {
        .bytes = log->bytes, .entries = log->entries, .truncated = log->truncated};
    for (size_t i = 0; i < count; i++)
        add_chunk(&a, &chunks[i], limit);
    if (write_addition(log, &a, e) == ERR_NONE) {
        log->bytes = a.bytes;
        log->entries = a.entries;
        log->fresh |= a.streams;
        log->truncated = a.truncated;
    }
    buf_free(&a.data);
    buf_free(&a.index);
    return e->code;
}

void job_log_mark_truncated(struct job_log *log)
{
    struct error e;
    struct addition a = {.bytes = log->bytes, .entries = log->entries};
    if (log->truncated)
        return;
    add_entry(&a, MARK, 0, "", 0);
    if (write_addition(log, &a, &e) == ERR_NONE)
        log->entries = a.entries;
    log->truncated = true;
    buf_free(&a.index);
}

void job_log_sync(const struct job_log *log)
{
    struct error e = {0};
    char *data = data_path(log), *index = index_path(log);
    if (datafile_sync(data, &e) != ERR_NONE || datafile_sync(index, &e) != ERR_NONE)
        log_error("job.log_sync", KV("error", e.message));
    free(index);
    free(data);
}

/* ---- reading ---- */

/* The number of the entry with the byte at that offset, or of the first one behind. */
static uint64_t find_entry(const struct job_log *log, const char *index, uint64_t offset)
{
    uint64_t low = 0, high = log->entries;
    struct entry e;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (!read_entry(index, middle, &e) || e.start + e.len > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

unsigned job_log_streams(const struct job_log *log, uint64_t from)
{
    char *index = index_path(log);
    struct entry *entries = mem_array(CHUNKS_AT_ONCE, sizeof(*entries));
    unsigned streams = 0, all = (1u << JOB_STREAMS) - 1;
    size_t count = 1;
    for (uint64_t at = find_entry(log, index, from); count > 0 && streams != all; at += count) {
        count = datafile_read(index, at * sizeof(*entries), entries,
                              CHUNKS_AT_ONCE * sizeof(*entries)) /
                sizeof(*entries);
        for (size_t i = 0; i < count && at + i < log->entries; i++)
            if (entries[i].len > 0 && entries[i].stream < JOB_STREAMS)
                streams |= 1u << entries[i].stream;
    }
    free(entries);
    free(index);
    return streams;
}

static json_t *chunk_document(const struct entry *e, uint64_t offset, const char *data,
                              size_t len)
{
    json_t *o = json_pack("{s:I, s:o, s:s}", "offset", (json_int_t)offset, "time",
                          document_time(e->time_ms), "stream", job_stream_names[e->stream]);
    js_set_bytes(o, "data", data, len);
    return o;
}

/* Those of the entries whose bytes lie within [*next, end); bytes is what lies at *next. */
static void take_chunks(const struct entry *entries, size_t count, const char *bytes,
                        uint64_t end, int stream, json_t *chunks, uint64_t *next)
{
    uint64_t begin = *next;
    for (const struct entry *e = entries; e < entries + count; e++) {
        uint64_t from = *next > e->start ? *next : e->start, to = e->start + e->len;
        if (e->own_sum != own_sum(e))
            return;
        if (to > end)
            to = end;
        if (to <= from)
            continue;
        if (e->stream < JOB_STREAMS && (stream < 0 || e->stream == (uint32_t)stream))
            json_array_append_new(
                chunks, chunk_document(e, from, bytes + (from - begin), (size_t)(to - from)));
        *next = to;
    }
}

static void read_chunks(const struct job_log *log, const char *data, const char *index,
                        int stream, json_t *chunks, uint64_t *next)
{
    uint64_t number = find_entry(log, index, *next), left = log->entries - number;
    size_t want = left < CHUNKS_AT_ONCE ? (size_t)left : CHUNKS_AT_ONCE;
    struct entry *entries = mem_array(want + 1, sizeof(*entries));
    uint64_t rest = log->bytes - *next;
    size_t size = rest < JOB_LOG_CHUNK ? (size_t)rest : JOB_LOG_CHUNK;
    char *bytes = mem_alloc(size);
    size_t count =
        datafile_read(index, number * sizeof(*entries), entries, want * sizeof(*entries)) /
        sizeof(*entries);
    uint64_t end = *next + datafile_read(data, *next, bytes, size);
    take_chunks(entries, count, bytes, end, stream, chunks, next);
    free(bytes);
    free(entries);
}

json_t *job_log_read(struct job_log *log, uint64_t after, int stream, uint64_t *next)
{
    json_t *chunks = json_array();
    *next = after;
    if (after >= log->bytes)
        return chunks;
    char *data = data_path(log), *index = index_path(log);
    read_chunks(log, data, index, stream, chunks, next);
    if (*next == after) { /* somebody else changed the files: nobody waits for what is gone */
        *next = log->bytes;
        log->truncated = true;
    }
    free(index);
    free(data);
    return chunks;
}
