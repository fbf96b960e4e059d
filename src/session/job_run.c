/* What a job runs: one execution under the job's id, whose output is collected while it runs.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/base64.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/attempt.h"
#include "session/execution.h"
#include "session/job.h"
#include "session/job_files.h"
#include "session/job_mark.h"
#include "session/message.h"
#include "session/session.h"

#define WAIT_S 20
#define ANSWER_MARGIN_MS 15000
#define CONNECT_TIMEOUT_MS 5000
#define MAX_ANSWER (1024 * 1024)
#define MAX_OUTPUT (64 * 1024 * 1024) /* of a stream, in the container */
#define MAX_CHUNKS 4096
#define BEYOND (UINT64_C(1) << 53) /* no output is there: only the end is waited for */
#define LITTLE_MS 50
#define LITTLES_MAX 8
#define LOG_RETRY_MS 1000
#define LOG_PATIENCE_MS 60000

static uint64_t log_limit(const struct session *s)
{
    return (uint64_t)s->group->class->job_log_limit_kb * 1024;
}

static bool is_plain(const struct session *s)
{
    return s->group->class->proof == PROOF_NONE;
}

/* ---- begin ---- */

/* The body for the container. NULL: it is not there any more. */
static json_t *make_request(const struct session *s)
{
    json_t *o = job_files_command(s);
    if (!o)
        return NULL;
    json_object_set_new(o, "execution_id", json_string(s->id));
    if (!is_plain(s))
        json_object_set_new(o, "collect", json_true());
    return o;
}

static int64_t output_limit(const struct session *s)
{
    uint64_t limit = log_limit(s);
    if (is_plain(s))
        return s->group->class->output_limit_kb * 1024;
    return (int64_t)(limit < MAX_OUTPUT ? limit : MAX_OUTPUT);
}

static void lost_command(struct session *s)
{
    struct error e;
    error_set(&e, ERR_LOST, "the job's command is not on the disk any more");
    session_close(s, error_name(ERR_LOST), &e);
}

/* A command that is gone may still be under way: its container knows. */
static void run(struct session *s)
{
    struct job *j = s->job;
    json_t *request = make_request(s);
    bool may_run = !request && (j->sent || s->adopted) && !is_plain(s);
    if (!request && !may_run) {
        lost_command(s);
        return;
    }
    if (!request)
        request = json_pack("{s:s}", "execution_id", s->id);
    struct execution *e = execution_new(s, request, true, j->timeout_s, output_limit(s), NULL);
    json_decref(request);
    e->of_job = true;
    if (may_run)
        e->ran = RAN_YES;
}

void job_step(struct session *s)
{
    struct job *j = s->job;
    if (!j || job_has_ended(s))
        return;
    if (j->cancelling && (!s->running || !session_not_before(s, j->cancel_by))) {
        session_close(s, "cancelled", NULL);
        return;
    }
    if (TAILQ_EMPTY(&s->executions) && s->replacing == 0 && !session_not_before(s, j->retry_at))
        run(s);
}

bool job_may_begin(struct session *s)
{
    if (!s->job->sent) { /* intent before effect */
        s->job->sent = true;
        session_dirty(s);
    }
    return session_durable(s);
}

void job_begun(struct execution *e, const json_t *answer)
{
    struct session *s = e->session;
    struct job *j = s->job;
    json_t *ms = json_object_get(answer, "execution_time_ms");
    int64_t now = core_now(s->core), ran = json_is_integer(ms) ? json_integer_value(ms) : 0;
    if (!is_plain(s)) { /* it may be long, and is not sent again */
        json_decref(e->request);
        e->request = NULL;
    }
    if (j->started > 0)
        return;
    j->started = ran >= 0 && ran < now - s->opened ? now - ran : now;
    session_dirty(s);
}

/* ---- ask ---- */

static void ask_for_end(struct execution *e)
{
    char *path = mem_printf("/executions/%s/cancel", e->id);
    e->asks = ASKS_FOR_END;
    message_send(&e->message, e->session->attempt,
                 &(struct message_options){.method = "POST",
                                           .path = path,
                                           .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                           .timeout_ms = ANSWER_MARGIN_MS,
                                           .max_answer = MAX_ANSWER});
    free(path);
}

static void ask_for_output(struct execution *e)
{
    struct session *s = e->session;
    struct job *j = s->job;
    job_log_open(&j->log, s->core->settings->state_dir, s->id);
    job_mark_left(s);
    uint64_t offset = j->log.truncated || j->log_lost ? BEYOND : j->log.bytes;
    char *path = mem_printf("/executions/%s/output?stream=both&offset=%" PRIu64 "&wait_s=%d",
                            e->id, offset, WAIT_S);
    e->asks = ASKS_FOR_OUTPUT;
    e->begun = core_now(s->core);
    message_send(&e->message, s->attempt,
                 &(struct message_options){.method = "GET",
                                           .path = path,
                                           .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                           .timeout_ms = WAIT_S * 1000 + ANSWER_MARGIN_MS,
                                           .max_answer = MAX_ANSWER});
    free(path);
}

bool job_ask(struct execution *e)
{
    e->asks = ASKS_FOR_RECORD;
    if (!e->of_job || e->ran != RAN_YES || is_plain(e->session))
        return false;
    if (e->session->job->cancelling && !e->cancel_told && session_durable(e->session))
        ask_for_end(e); /* intent before effect */
    else
        ask_for_output(e);
    return true;
}

void job_hurry_cancel(struct execution *e)
{
    if (e->of_job && e->session->job->cancelling && !e->cancel_told &&
        session_durable(e->session) && e->asks == ASKS_FOR_OUTPUT &&
        e->message.state == OP_RUNNING)
        message_reset(&e->message);
}

/* ---- take ---- */

static enum job_stream stream_of(const json_t *chunk)
{
    const char *name = json_string_value(json_object_get(chunk, "stream"));
    return name && strcmp(name, "stderr") == 0 ? JOB_STDERR : JOB_STDOUT;
}

/* Its chunks; their data is owned. False: they make no sense. */
static bool read_chunks(const json_t *list, struct job_chunk *chunks, size_t *count)
{
    size_t i;
    json_t *o;
    if (!json_is_array(list) || json_array_size(list) > MAX_CHUNKS)
        return false;
    json_array_foreach (list, i, o) {
        struct job_chunk *c = &chunks[*count];
        char *data = NULL;
        const char *text = json_string_value(json_object_get(o, "data_base64"));
        if (!text || !base64_decode(text, &data, &c->len))
            return false;
        c->data = data;
        c->stream = stream_of(o);
        c->time_ms = json_integer_value(json_object_get(o, "time_ms"));
        ++*count;
    }
    return true;
}

/* The container keeps what it has, and the disk may have room again: there is time until the
 * command has ended, and a while after that. */
static bool is_hopeless(const struct execution *e)
{
    const struct job *j = e->session->job;
    int64_t now = core_now(e->session->core), patience = now - LOG_PATIENCE_MS;
    bool ended = json_object_get(e->message.body, "record") != NULL ||
                 patience >= j->started + j->timeout_s * 1000;
    return ended && patience >= j->log_failing;
}

static void wait_for_log(struct execution *e, const struct error *why)
{
    struct session *s = e->session;
    struct job *j = s->job;
    int64_t now = core_now(s->core);
    if (j->log_failing == 0) {
        j->log_failing = now;
        log_error("job.log_failing", KV("session", s->id), KV("error", why->message));
        session_waits_for(s, "the job's log: it cannot be written");
    }
    if (is_hopeless(e)) {
        log_error("job.log_lost", KV("session", s->id), KI("kept", j->log.bytes));
        j->log_lost = true;
        job_log_mark_truncated(&j->log);
        return;
    }
    e->retry_at = now + LOG_RETRY_MS;
    e->deadline = now + 2 * LOG_PATIENCE_MS;
}

static void log_works(struct session *s)
{
    if (s->job->log_failing > 0)
        session_waits_for(s, "");
    s->job->log_failing = 0;
}

/* A program that says little at a time is not asked for each word. */
static void pace(struct execution *e, size_t chunks)
{
    struct job *j = e->session->job;
    int64_t now = core_now(e->session->core);
    bool little = chunks > 0 && now - e->begun < LITTLE_MS;
    j->hurried = little ? j->hurried + 1 : 0;
    if (j->hurried > LITTLES_MAX)
        e->retry_at = now + LITTLE_MS;
}

static bool keep(struct execution *e, const struct job_chunk *chunks, size_t count)
{
    struct session *s = e->session;
    struct error why;
    if (count == 0 ||
        job_log_add(&s->job->log, chunks, count, log_limit(s), &why) == ERR_NONE) {
        log_works(s);
        if (count > 0)
            job_mark_soon(s);
        return true;
    }
    wait_for_log(e, &why);
    return s->job->log_lost;
}

static void take_end(struct execution *e, json_t *record)
{
    struct session *s = e->session;
    const json_t *cut = json_object_get(record, "truncated");
    if (json_is_true(json_object_get(cut, "stdout")) ||
        json_is_true(json_object_get(cut, "stderr")))
        job_log_mark_truncated(&s->job->log);
    if (s->core->settings->durability == STORE_FULL && s->job->log.bytes > 0)
        job_log_sync(&s->job->log);
    execution_ended(e, NULL, record);
}

static void take_output(struct execution *e)
{
    const json_t *body = e->message.body;
    json_t *record = json_object_get(body, "record");
    const json_t *list = json_object_get(body, "chunks");
    struct job_chunk *chunks = mem_array(json_array_size(list), sizeof(*chunks));
    size_t count = 0;
    bool sense = read_chunks(list, chunks, &count);
    bool kept = sense && keep(e, chunks, count);
    for (size_t i = 0; i < count; i++)
        free((char *)chunks[i].data);
    free(chunks);
    e->tries = 0;
    if (kept && json_is_object(record)) {
        take_end(e, record);
        return;
    }
    if (kept)
        pace(e, count);
    else if (!sense)
        e->retry_at = core_now(e->session->core) + LOG_RETRY_MS;
    message_reset(&e->message);
}

bool job_take(struct execution *e)
{
    const struct message *m = &e->message;
    if (!e->of_job || m->verdict != VERDICT_PROVEN || e->asks == ASKS_FOR_RECORD)
        return false;
    if (e->asks == ASKS_FOR_END) { /* what became of it its output tells */
        e->cancel_told = true;
        message_reset(&e->message);
        return true;
    }
    if (m->status != 200 || !m->body)
        return false;
    take_output(e);
    return true;
}

/* ---- plain containers: all of the output comes with the record ---- */

void job_take_plain(struct session *s, const json_t *record)
{
    static const char *const keys[] = {"stdout", "stderr"};
    struct job *j = s->job;
    struct job_chunk chunks[JOB_STREAMS];
    size_t count = 0;
    struct error why;
    for (int i = 0; i < JOB_STREAMS; i++) {
        const json_t *text = json_object_get(record, keys[i]);
        if (json_string_length(text) > 0)
            chunks[count++] = (struct job_chunk){.stream = (enum job_stream)i,
                                                 .time_ms = loop_wall_ms(s->core->loop),
                                                 .data = json_string_value(text),
                                                 .len = json_string_length(text)};
    }
    job_log_open(&j->log, s->core->settings->state_dir, s->id);
    if (count > 0 && job_log_add(&j->log, chunks, count, log_limit(s), &why) != ERR_NONE) {
        log_error("job.log_lost", KV("session", s->id), KV("error", why.message));
        job_log_mark_truncated(&j->log);
    }
}
