/* The upload of what a container holds: told to it, then watched until it says that all is
 * there. */
#include "session/upload.h"

#include <string.h>
#include "base/backoff.h"
#include "base/log.h"
#include "http/json.h"
#include "session/attempt.h"
#include "session/cleanup.h"
#include "session/event.h"
#include "session/grants.h"
#include "session/message.h"
#include "session/orphan.h"
#include "session/route.h"
#include "session/session.h"

#define POLL_MS 100
#define LOST_POLL_MS 1000
#define DOUBT_MS 10000
#define RETRY_CAP_MS 60000
#define COMPLETE_TIMEOUT_MS 15000
#define MAX_ANSWER 65536

static void end_upload(struct attempt *a, enum step_result result, const char *why)
{
    if (result == STEP_LOST) {
        log_error("artifacts.lost", KV("session", a->session->id), KI("attempt", a->number),
                  KV("container", a->container.id), KV("cause", why));
        event_emit(a->session, "artifacts.lost", KI("attempt", a->number), KV("cause", why));
    }
    cleanup_end(a, &a->cleanup.upload, "upload", result);
    session_dirty(a->session); /* its document says so after a crash as well */
    attempt_quiet(a);          /* last: why may be a text of its answer */
}

static bool is_plain(const struct attempt *a)
{
    return a->session->group->class->proof == PROOF_NONE;
}

static void ask_again(struct attempt *a, int64_t in_ms)
{
    message_reset(&a->cleanup.message);
    a->cleanup.upload_retry_at = core_now(a->session->core) + in_ms;
}

static int64_t upload_patience(const struct attempt *a)
{
    return a->session->group->class->upload_timeout_s * 1000;
}

/* The container and its path stay until it works, or until the salvage limit. */
static void upload_failed(struct attempt *a, const char *why)
{
    struct cleanup *c = &a->cleanup;
    int64_t now = core_now(a->session->core);
    if (now >= c->salvage_until) {
        end_upload(a, STEP_LOST, why);
        return;
    }
    c->polling = false;
    c->upload_tries++;
    c->upload_retry_at = now + backoff_ms(a->session->group->class->backoff_base_ms,
                                          c->upload_tries, RETRY_CAP_MS);
    if (c->upload_retry_at > c->salvage_until)
        c->upload_retry_at = c->salvage_until;
    c->upload_deadline = c->upload_retry_at + upload_patience(a);
    log_warn("upload.retry", KV("session", a->session->id), KI("attempt", a->number),
             KI("try", c->upload_tries), KI("wait_ms", c->upload_retry_at - now),
             KV("error", why));
    event_emit(a->session, "retry", KI("attempt", a->number), KV("step", "upload"),
               KI("try", c->upload_tries), KI("wait_ms", c->upload_retry_at - now),
               KV("error", why));
    message_reset(&c->message);
    attempt_go(a, ATTEMPT_SALVAGING);
    a->session->again = true; /* also when it was there already */
}

static const char *error_text(const struct message *m)
{
    const json_t *error = json_object_get(m->body, "error");
    const char *text = json_string_value(error);
    if (!text)
        text = json_string_value(json_object_get(error, "message"));
    return text ? text : "the container did not say why";
}

/* Progress of an upload that the container does on its own. */
static void take_progress(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    const char *state = json_string_value(json_object_get(c->message.body, "state"));
    int64_t now = core_now(a->session->core);
    if (state && strcmp(state, "done") == 0) {
        end_upload(a, STEP_OK, NULL);
    } else if (state && strcmp(state, "failed") == 0) {
        upload_failed(a, error_text(&c->message));
    } else if (state && strcmp(state, "running") == 0) {
        int64_t progress = 0, files = 0;
        struct error e = {0};
        js_int(c->message.body, "bytes_done", false, 0, INT64_MAX / 2, &progress, &e);
        js_int(c->message.body, "files_done", false, 0, INT64_MAX / 2, &files, &e);
        progress += files;
        if (progress != c->progress)
            c->upload_deadline = now + upload_patience(a);
        c->progress = progress;
        ask_again(a, POLL_MS);
    } else {
        upload_failed(a, "the container knows of no upload");
    }
}

/* A plain container's health is 503 once it has uploaded. The balancer marks it down for that:
 * then its own address still tells. */
static void take_health(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    if (c->message.verdict == VERDICT_PROVEN && c->message.status == 503)
        end_upload(a, STEP_OK, NULL);
    else
        ask_again(a, LOST_POLL_MS);
}

/* Where it is not known whether complete arrived. A 503 without a name is a balancer's that had
 * nobody to pass it to. */
static bool may_be_at_work(const struct attempt *a, const struct message *m)
{
    return is_plain(a) && m->verdict != VERDICT_MISROUTE && m->sent && m->status != 503;
}

static void take_completed(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    const struct message *m = &c->message;
    if (m->verdict != VERDICT_PROVEN && may_be_at_work(a, m)) {
        c->polling = true; /* not repeated blindly */
        ask_again(a, POLL_MS);
    } else if (m->verdict != VERDICT_PROVEN) {
        upload_failed(a, m->error.message);
    } else if (m->status == 202) {
        c->polling = true;
        message_reset(&c->message);
    } else if (m->status == 200 && json_is_true(json_object_get(m->body, "upload_completed"))) {
        end_upload(a, STEP_OK, NULL);
    } else {
        upload_failed(a, error_text(m));
    }
}

static void take_upload_answer(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    const struct message *m = &c->message;
    if (m->verdict == VERDICT_MISROUTE) {
        attempt_misrouted(a, "complete");
        if (!m->direct)
            route_drop(a);
    }
    if (c->asks_health)
        take_health(a);
    else if (!c->polling)
        take_completed(a);
    else if (m->verdict == VERDICT_PROVEN)
        take_progress(a);
    else
        ask_again(a, LOST_POLL_MS);
}

/* The balancer does not lead to a plain container, which may have uploaded. */
static bool asks_own_address(const struct attempt *a)
{
    return is_plain(a) && a->target != TARGET_HEALTHY &&
           a->session->group->class->direct_path != DIRECT_PATH_NEVER;
}

static void send_upload(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    bool own = asks_own_address(a), plain = is_plain(a);
    bool post = !c->polling && !own;
    c->asks_health = plain && !post;
    struct message_options o = {.method = post ? "POST" : "GET",
                                .path = c->asks_health ? "/health" : "/session/complete",
                                .direct = a->direct || own,
                                .respond_async = !plain,
                                .connect_timeout_ms = COMPLETE_TIMEOUT_MS,
                                .timeout_ms =
                                    plain && post ? upload_patience(a) : COMPLETE_TIMEOUT_MS,
                                .max_answer = MAX_ANSWER};
    json_t *body = json_pack("{s:s, s:s}", "session_id", a->identity.session, "nonce", a->key);
    if (post)
        o.body = body;
    message_send(&c->message, a, &o);
    json_decref(body);
}

/* A plain container knows its store by itself. */
static bool has_no_store(const struct class *class)
{
    return class->proof == PROOF_REQUIRED && !*class->artifacts;
}

/* Of an earlier life, by a row that may be older than what was done since. */
static bool is_doubtful(const struct attempt *a)
{
    return a->recovered && !a->touched && !a->told && !a->died;
}

/* What its container says counts; it has little time, for it is rare that there is something.
 */
static void settle_doubt(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    struct session *s = a->session;
    int64_t now = core_now(s->core);
    orphan_has_path(a);
    if (a->touched) {
        c->doubtful = false;
        c->upload_deadline = now + upload_patience(a);
    } else if (a->told || a->died || now >= c->upload_deadline) {
        c->doubtful = false;
        end_upload(a, STEP_SKIPPED, NULL);
    } else {
        session_at(s, c->upload_deadline);
    }
}

void upload_step(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    struct session *s = a->session;
    if (cleanup_is_over(c->upload))
        return;
    if (c->upload == STEP_PENDING) {
        c->doubtful = is_doubtful(a);
        if (!a->launched || !(a->touched || c->doubtful) || has_no_store(s->group->class)) {
            end_upload(a, STEP_SKIPPED, NULL);
            return;
        }
        cleanup_begin(a, &c->upload, "upload");
        c->upload_deadline = core_now(s->core) + (c->doubtful ? DOUBT_MS : upload_patience(a));
    }
    if (c->doubtful)
        settle_doubt(a);
    if (c->doubtful || cleanup_is_over(c->upload))
        return;
    if (c->message.state == OP_DONE)
        take_upload_answer(a);
    if (!cleanup_is_over(c->upload) && a->died)
        end_upload(a, a->in_order ? STEP_OK : STEP_LOST, a->cause);
    if (cleanup_is_over(c->upload))
        return;
    int64_t now = core_now(s->core);
    if (now >= c->upload_deadline) {
        upload_failed(a, "no progress within upload_timeout_s");
        return;
    }
    session_at(s, c->upload_deadline);
    grants_step(a);
    if (c->message.state == OP_RUNNING)
        return;
    if (session_not_before(s, c->upload_retry_at))
        return;
    bool unproven = a->orphan || s->adopted; /* closed before anything led to it, perhaps */
    bool has_way =
        unproven ? orphan_has_path(a) : a->direct || asks_own_address(a) || route_step(a);
    if (has_way && grants_valid(a))
        send_upload(a);
    else if (a->state == ATTEMPT_SALVAGING && !session_not_before(s, c->salvage_until))
        end_upload(a, STEP_LOST, "nothing leads to the container");
}
