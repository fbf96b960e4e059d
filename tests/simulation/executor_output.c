/* The simulated container's output of both streams together: what a program says, line by line,
 * is known by its execution's id, so that whoever reads it can tell each byte. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/base64.h"
#include "container.h"
#include "job_life.h"
#include "world.h"

#define LOOK_MS 20
#define ANSWER_LINES 7 /* at most: offsets fall within lines and between them */

struct asker {
    struct container *container;
    struct sim_request *request;
    struct execution *execution;
    uint64_t offset;
    int64_t until_ms;
};

char *job_line(const char *id, unsigned number)
{
    return world_printf("%s says line %u%s\n", id, number, number % 5 == 3 ? " \xff\xfe" : "");
}

static int64_t end_of(const struct execution *e)
{
    return e->state == EXECUTION_DONE ? e->ends_ms : world.now_ms;
}

/* How many lines it has said by now: one each step from its beginning on, and all of them when
 * it ended by itself. */
static unsigned lines_said(const struct execution *e)
{
    bool whole = e->state == EXECUTION_DONE && !e->cancelled && !e->timed_out;
    int64_t step_ms = e->takes_ms / (e->lines + 1) + 1;
    int64_t said = (end_of(e) - e->started_ms) / step_ms;
    return whole || said > e->lines ? e->lines : (unsigned)said;
}

static void add_line(json_t *chunks, const struct execution *e, unsigned number,
                     const char *text, size_t len)
{
    char *data = base64_encode(text, len);
    json_array_append_new(chunks,
                          json_pack("{s:s, s:I, s:s}", "stream", number % 2 ? "stderr" : "stdout",
                                    "time_ms", (json_int_t)(WORLD_EPOCH_MS + e->started_ms),
                                    "data_base64", data));
    free(data);
}

/* *next is the offset behind what was added. */
static json_t *read_lines(const struct execution *e, uint64_t offset, uint64_t *next)
{
    json_t *chunks = json_array();
    unsigned said = lines_said(e), added = 0;
    uint64_t at = 0;
    *next = offset;
    for (unsigned i = 0; i < said && added < ANSWER_LINES; i++) {
        const char *line = job_line(e->id, i);
        size_t len = strlen(line), skip = offset > at ? (size_t)(offset - at) : 0;
        at += len;
        if (skip >= len)
            continue;
        add_line(chunks, e, i, line + skip, len - skip);
        *next = at;
        added++;
    }
    return chunks;
}

static bool is_all(const struct execution *e, uint64_t next)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < lines_said(e); i++)
        total += strlen(job_line(e->id, i));
    return next >= total;
}

static void look(void *arg)
{
    struct asker *a = arg;
    const struct execution *e = a->execution;
    uint64_t next;
    if (!a->container->alive) {
        a->request->answered(a->request, answer_new(0, ""));
        return;
    }
    if (a->container->hung) {
        world_at(1000, look, a);
        return;
    }
    json_t *chunks = read_lines(e, a->offset, &next);
    bool ended = e->state == EXECUTION_DONE && is_all(e, next);
    if (json_array_size(chunks) == 0 && !ended && world.now_ms < a->until_ms) {
        json_decref(chunks);
        world_at(LOOK_MS, look, a);
        return;
    }
    char *text = json_dumps(chunks, JSON_COMPACT);
    executor_answer(a->container, a->request, 200,
                    world_printf("{\"execution_id\":\"%s\",\"chunks\":%s,\"next\":%" PRIu64
                                 "%s%s}",
                                 e->id, text, next, ended ? ",\"record\":" : "",
                                 ended ? executor_record_of(a->container, e) : ""));
    free(text);
    json_decref(chunks);
}

static int64_t number_in(const char *query, const char *key)
{
    const char *at = strstr(query, key);
    return at ? strtoll(at + strlen(key), NULL, 10) : 0;
}

void executor_output(struct container *c, struct sim_request *r, struct execution *e,
                     const char *query)
{
    struct asker *a = world_alloc(sizeof *a);
    *a = (struct asker){.container = c,
                        .request = r,
                        .execution = e,
                        .offset = (uint64_t)number_in(query, "offset="),
                        .until_ms = world.now_ms + 1000 * number_in(query, "wait_s=")};
    look(a);
}
