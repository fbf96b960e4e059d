#include "job_life.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/base64.h"
#include "books.h"
#include "container.h"
#include "scenario.h"
#include "world.h"

#define WAIT_MS 120000
#define FOLLOW_MS 30000
#define RETRY_MS 500

static void follow(void *life);
static void wait_ended(void *life);

const char *job_life_request(const struct life *life)
{
    const struct planned_job *j = &life->plan.job;
    return world_printf("{\"request_id\":\"%s\",\"tenant\":\"%s\",\"name\":\"%s\",\"code\":"
                        "\"%s ms=%" PRId64 " lines=%u%s%s\",\"timeout_s\":%" PRId64 "%s%s}",
                        life->request_id, life->plan.tenant, life->name, life->name,
                        j->takes_ms, j->lines, j->fails ? " fail" : "",
                        j->artifact ? " artifact" : "", j->timeout_s,
                        j->input ? ",\"stdin\":\"some input\"" : "",
                        life->plan.env ? ",\"env\":{\"NAME\":\"value\"}" : "");
}

/* ---- the log ---- */

/* What it says from its beginning to its end. */
static const char *whole_log(const struct life *life)
{
    const char *whole = "";
    for (unsigned i = 0; i < life->plan.job.lines; i++)
        whole = world_printf("%s%s", whole, job_line(life->session, i));
    return whole;
}

static void take_chunk(struct life *life, const json_t *chunk)
{
    struct job_facts *facts = &life->job;
    const char *text = json_string_value(json_object_get(chunk, "data"));
    const char *encoded = json_string_value(json_object_get(chunk, "data_base64"));
    char *bytes = NULL;
    size_t len = text ? strlen(text) : 0;
    if (encoded && base64_decode(encoded, &bytes, &len))
        text = bytes;
    const char *whole = whole_log(life);
    uint64_t offset = (uint64_t)json_integer_value(json_object_get(chunk, "offset"));
    if (!text || offset != facts->offset)
        world_violate("JOB", "the log of %s goes on at %" PRIu64 " in place of %" PRIu64,
                      life->name, offset, facts->offset);
    else if (facts->offset + len > strlen(whole) ||
             memcmp(whole + facts->offset, text, len) != 0)
        world_violate("JOB", "the log of %s says at %" PRIu64 " what its program never said",
                      life->name, facts->offset);
    facts->offset += len;
    free(bytes);
}

static void followed(void *arg, const struct cleat_error *error, const char *document)
{
    struct life *life = arg;
    struct job_facts *facts = &life->job;
    if (error) {
        if (strcmp(error->code, "not_found") != 0)
            world_violate("JOB", "the log of %s is refused: %s", life->name, error->code);
        return;
    }
    json_t *o = json_loads(document, 0, NULL), *chunk;
    size_t i;
    json_array_foreach (json_object_get(o, "chunks"), i, chunk)
        take_chunk(life, chunk);
    facts->truncated = json_is_true(json_object_get(o, "truncated"));
    facts->log_ended = json_is_true(json_object_get(o, "ended"));
    if ((uint64_t)json_integer_value(json_object_get(o, "next")) != facts->offset)
        world_violate("JOB", "the log of %s goes on elsewhere: %.200s", life->name, document);
    json_decref(o);
    if (!facts->log_ended)
        follow(life);
}

static void follow(void *arg)
{
    struct life *life = arg;
    if (life->job.log_ended || !coordinator)
        return; /* the next one asks again */
    struct call *call = call_new("follow", FOLLOW_MS + 5000, followed, life);
    struct cleat_log_query query = {.after = life->job.offset, .follow_ms = FOLLOW_MS};
    call_keep(call, cleat_job_logs(coordinator, life->plan.tenant, life->session, &query,
                                   call_done, call));
}

/* ---- the outcome ---- */

static void check_outcome(struct life *life, const char *state, bool has_error)
{
    const struct planned_job *j = &life->plan.job;
    unsigned runs = books_runs(life->session, life->session);
    bool succeeded = strcmp(state, "succeeded") == 0;
    if (succeeded && (runs != 1 || j->fails || j->takes_ms > j->timeout_s * 1000))
        world_violate("JOB", "%s succeeded, and ran %u times%s", life->name, runs,
                      j->fails ? " to fail" : "");
    const struct session_facts *facts = books_session(life->session);
    bool was_ended = facts && facts->ended;
    if (strcmp(state, "failed") == 0 && !has_error && !j->fails && !was_ended)
        world_violate("JOB", "%s failed, and nothing was wrong with it", life->name);
    if (strcmp(state, "failed") == 0 && has_error && runs > 0)
        world_violate("JOB", "%s failed for want of a container, and ran", life->name);
    if (strcmp(state, "cancelled") == 0 && !life->job.cancel_asked && life->plan.close_ms < 0)
        world_violate("JOB", "%s is cancelled, and nobody asked for it", life->name);
}

static void ended(void *arg, const struct cleat_error *error, const char *document)
{
    struct life *life = arg;
    if (error && strcmp(error->code, "wait_timeout") == 0) {
        wait_ended(life);
        return;
    }
    if (error) {
        world_violate("JOB", "waiting for the end of %s: %s", life->name, error->code);
        return;
    }
    json_t *o = json_loads(document, 0, NULL);
    const char *state = json_string_value(json_object_get(o, "state"));
    bool has_error = json_is_object(json_object_get(o, "error"));
    if (life->job.state && strcmp(life->job.state, state) != 0)
        world_violate("JOB", "%s was %s, and is %s now", life->name, life->job.state, state);
    if (!life->job.state)
        life->job.ended_ms = world.now_ms;
    life->job.state = world_strdup(state);
    world_log("%s is %s", life->name, state);
    check_outcome(life, state, has_error);
    json_decref(o);
    life_closes_by_itself(life);
}

static void wait_ended(void *arg)
{
    struct life *life = arg;
    if (life->job.state || !coordinator)
        return;
    struct call *call = call_new("wait ended", WAIT_MS + 5000, ended, life);
    call_keep(call, cleat_job_wait(coordinator, life->plan.tenant, life->session, WAIT_MS,
                                   call_done, call));
}

/* ---- cancel ---- */

static void cancel(void *life);

static void cancelled(void *arg, const struct cleat_error *error, const char *document)
{
    struct life *life = arg;
    (void)document;
    if (error && error->retryable)
        world_at(RETRY_MS, cancel, life);
}

static void cancel(void *arg)
{
    struct life *life = arg;
    if (life->job.state)
        return;
    if (!coordinator) {
        world_at(RETRY_MS, cancel, life);
        return;
    }
    life->job.cancel_asked = true;
    struct call *call = call_new("cancel", 90000, cancelled, life);
    call_keep(call,
              cleat_job_cancel(coordinator, life->plan.tenant, life->session, call_done, call));
}

/* ---- its course ---- */

void job_life_begin(struct life *life)
{
    if (life->plan.job.cancel_ms >= 0)
        world_at(life->plan.job.cancel_ms, cancel, life);
    job_life_resume(life);
}

void job_life_resume(struct life *life)
{
    wait_ended(life);
    follow(life);
}

void job_life_check_end(const struct life *life)
{
    const struct job_facts *facts = &life->job;
    if (!facts->state) {
        world_violate("JOB", "nobody knows how %s ended", life->name);
        return;
    }
    bool by_itself =
        strcmp(facts->state, "succeeded") == 0 ||
        (strcmp(facts->state, "failed") == 0 && books_runs(life->session, life->session) > 0);
    if (!facts->log_ended)
        world_violate("JOB", "the log of %s never ended", life->name);
    else if (by_itself && !facts->truncated && facts->offset != strlen(whole_log(life)))
        world_violate("JOB", "the log of %s ends after %" PRIu64 " of %zu bytes", life->name,
                      facts->offset, strlen(whole_log(life)));
    else if (facts->truncated && settings.faults.file_fails == 0)
        world_violate("JOB", "the log of %s is cut, and the disk was fine", life->name);
}
