#include "session/stage.h"

#include <string.h>
#include "base/backoff.h"
#include "base/log.h"
#include "session/adopt.h"
#include "session/attempt.h"
#include "session/event.h"
#include "session/grants.h"
#include "session/input.h"
#include "session/message.h"
#include "session/probe.h"
#include "session/route.h"
#include "session/session.h"

#define MAX_ANSWER 65536
#define RETRY_CAP_MS 60000

static void retry(struct attempt *a)
{
    struct session *s = a->session;
    if (a->message.verdict != VERDICT_PROVEN)
        probe_doubt(a, a->message.error.message);
    message_reset(&a->message);
    a->retry_at = core_now(s->core) +
                  backoff_ms(s->group->class->backoff_base_ms, ++a->tries, RETRY_CAP_MS);
}

/* Another container answered: the route is sought anew, and all of this is done again. */
static void lost_route(struct attempt *a)
{
    struct session *s = a->session;
    attempt_misrouted(a, "stage");
    route_drop(a);
    a->sync_told = false;
    attempt_go(a, ATTEMPT_ROUTING);
    a->route.retry_at = core_now(s->core) + s->group->class->backoff_base_ms;
}

/* ---- credentials ---- */

static bool has_keys(struct attempt *a)
{
    grants_step(a);
    if (grants_valid(a))
        return true;
    const struct error *e = grants_trouble(a);
    if (e && e->code == ERR_PERMANENT) {
        struct error why = *e;
        attempt_fail(a, &why);
    }
    return false;
}

/* ---- environment ---- */

static void take_claim_answer(struct attempt *a)
{
    const struct message *m = &a->message;
    if (m->verdict == VERDICT_PROVEN && m->status == 200) {
        a->claimed = true;
        a->tries = 0;
        message_reset(&a->message);
    } else if (m->verdict == VERDICT_MISROUTE) {
        lost_route(a);
    } else if (m->verdict == VERDICT_PROVEN) {
        struct error e;
        error_set(&e, ERR_PERMANENT, "the container refused its environment (%d)", m->status);
        attempt_fail(a, &e);
    } else {
        retry(a);
    }
}

static void send_claim(struct attempt *a)
{
    struct session *s = a->session;
    json_t *body = json_pack("{s:s, s:O}", "session_id", a->identity.session, "env", s->env);
    int64_t timeout = s->group->class->step_timeout_s * 1000;
    message_send(&a->message, a,
                 &(struct message_options){.method = "POST",
                                           .path = "/session/claim",
                                           .body = body,
                                           .connect_timeout_ms = timeout,
                                           .timeout_ms = timeout,
                                           .max_answer = MAX_ANSWER});
    json_decref(body);
}

/* ---- input ---- */

static const char *text_of(const json_t *body, const char *key)
{
    const char *text = json_string_value(json_object_get(body, key));
    return text ? text : "";
}

static void synced(struct attempt *a)
{
    struct session *s = a->session;
    s->input.error = (struct error){0};
    a->synced = true;
    a->tries = 0;
    log_info("input.synced", KV("session", s->id), KI("attempt", a->number),
             KI("files", s->input.files));
    event_emit(s, "input.synced", KI("attempt", a->number), KI("files", s->input.files));
    message_reset(&a->message);
}

/* A plain answer does not say whose it is: the balancer may have led the request elsewhere. The
 * route that leads to the container after it as before did so in between. */
static bool says_whose_it_is(const struct attempt *a)
{
    return a->session->group->class->proof == PROOF_REQUIRED;
}

static void take_route_answer(struct attempt *a)
{
    const struct message *m = &a->message;
    if (m->verdict == VERDICT_PROVEN && m->status == 200) {
        synced(a);
    } else if (m->verdict == VERDICT_MISROUTE) {
        lost_route(a);
    } else {
        retry(a);
    }
}

static void take_sync_answer(struct attempt *a)
{
    const struct message *m = &a->message;
    struct session *s = a->session;
    struct error *why = &s->input.error;
    int64_t files = json_integer_value(json_object_get(m->body, "files_count"));
    bool success = strcmp(text_of(m->body, "status"), "success") == 0;
    if (m->verdict == VERDICT_MISROUTE) {
        lost_route(a);
        return;
    }
    if (m->verdict == VERDICT_PROVEN && m->status == 200 && success &&
        files >= s->input.files) {
        a->sync_told = true;
        message_reset(&a->message);
        if (says_whose_it_is(a))
            synced(a);
        return;
    }
    if (m->verdict != VERDICT_PROVEN)
        error_set(why, ERR_INPUT, "the container did not fetch its input: %.180s",
                  m->error.message);
    else if (success)
        error_set(why, ERR_INPUT, "the container has %lld of %lld files of its input",
                  (long long)files, (long long)s->input.files);
    else
        error_set(why, ERR_INPUT, "the container did not fetch its input (%d): %.160s",
                  m->status, text_of(m->body, "error"));
    log_warn("input.retry", KV("session", s->id), KI("attempt", a->number),
             KI("try", a->tries + 1), KV("error", why->message));
    event_emit(s, "retry", KI("attempt", a->number), KV("step", "input"),
               KI("try", a->tries + 1), KV("error", why->message));
    retry(a);
}

static void send_sync(struct attempt *a)
{
    const struct class *class = a->session->group->class;
    json_t *body = input_request(a->session);
    message_send(&a->message, a,
                 &(struct message_options){.method = "POST",
                                           .path = "/file-sync",
                                           .body = body,
                                           .direct = a->direct,
                                           .nameless = true,
                                           .connect_timeout_ms = class->step_timeout_s * 1000,
                                           .timeout_ms = class->upload_timeout_s * 1000,
                                           .max_answer = MAX_ANSWER});
    json_decref(body);
}

static void stage_input(struct attempt *a)
{
    attempt_touch(a);
    if (attempt_durable(a))
        send_sync(a);
}

static void send_route_check(struct attempt *a)
{
    int64_t timeout = a->session->group->class->step_timeout_s * 1000;
    message_send(&a->message, a,
                 &(struct message_options){.method = "GET",
                                           .path = "/container-info",
                                           .direct = a->direct,
                                           .connect_timeout_ms = timeout,
                                           .timeout_ms = timeout,
                                           .max_answer = MAX_ANSWER});
}

/* ---- one after the other ---- */

static bool needs_claim(const struct attempt *a)
{
    const struct session *s = a->session;
    return !a->claimed && s->env && json_object_size(s->env) > 0;
}

static bool needs_sync(const struct attempt *a)
{
    const struct input *in = &a->session->input;
    return !a->synced && in->url && !(input_is_there(a->session) && in->files == 0);
}

/* While a container fetched its input, the cookies may have lapsed. */
static bool route_is_stale(const struct attempt *a)
{
    const struct route *r = &a->route;
    bool lapses = r->renew_at > 0 && core_now(a->session->core) >= r->renew_at;
    return r->suspect || !r->confirmed || (lapses && a->message.state != OP_RUNNING);
}

void stage_step(struct attempt *a)
{
    struct session *s = a->session;
    if ((s->adopted && adopted_in_vain(a)) || !attempt_is_taken(a))
        return;
    if (a->message.state == OP_DONE && needs_claim(a))
        take_claim_answer(a);
    else if (a->message.state == OP_DONE && a->sync_told)
        take_route_answer(a);
    else if (a->message.state == OP_DONE)
        take_sync_answer(a);
    if (a->state == ATTEMPT_STAGING && route_is_stale(a)) {
        a->sync_told = false;
        a->route.confirmed = false;
        a->route.renew_at = 0; /* set again by an answer that brings fresh cookies */
        attempt_go(a, ATTEMPT_ROUTING);
    }
    if (a->state != ATTEMPT_STAGING || !has_keys(a) || a->message.state == OP_RUNNING)
        return;
    if (session_not_before(s, a->retry_at))
        return;
    if (needs_claim(a))
        send_claim(a);
    else if (!needs_sync(a))
        attempt_go(a, ATTEMPT_LIVE);
    else if (a->sync_told)
        send_route_check(a);
    else if (input_is_there(s))
        stage_input(a);
}
