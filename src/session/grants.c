#include "session/grants.h"

#include <stdlib.h>
#include <string.h>
#include "base/backoff.h"
#include "base/log.h"
#include "base/mem.h"
#include "driver/grant.h"
#include "session/attempt.h"
#include "session/event.h"
#include "session/message.h"
#include "session/route.h"
#include "session/session.h"

#define RETRY_CAP_MS 60000
#define HAND_OVER_TIMEOUT_MS 15000
#define MAX_ANSWER 65536

static bool needs_grants(const struct attempt *a)
{
    return *a->session->group->class->s3_role;
}

bool grants_valid(const struct attempt *a)
{
    return !needs_grants(a) || a->grants.expires > core_now(a->session->core);
}

const struct error *grants_trouble(const struct attempt *a)
{
    return a->grants.error.code != ERR_NONE ? &a->grants.error : NULL;
}

bool grants_running(const struct attempt *a)
{
    return a->grants.call || a->grants.message.state == OP_RUNNING;
}

void grants_quiet(struct attempt *a)
{
    struct grants *g = &a->grants;
    grant_cancel(g->call);
    g->call = NULL;
    free(g->sealed);
    g->sealed = NULL;
    message_reset(&g->message);
}

static void failed(struct attempt *a, const struct error *e)
{
    struct grants *g = &a->grants;
    g->error = *e;
    free(g->sealed);
    g->sealed = NULL;
    g->tries++;
    g->retry_at = core_now(a->session->core) +
                  backoff_ms(a->session->group->class->backoff_base_ms, g->tries, RETRY_CAP_MS);
    log_warn("credentials.retry", KV("session", a->session->id), KI("attempt", a->number),
             KI("try", g->tries), KV("code", error_name(e->code)), KV("error", e->message));
    event_emit(a->session, "retry", KI("attempt", a->number), KV("step", "credentials"),
               KI("try", g->tries), KV("error", e->message));
}

static char *seal(struct attempt *a, const struct aws_keys *keys)
{
    uint8_t random[PROOF_SEAL_RANDOM];
    json_t *o = json_pack("{s:s, s:s, s:s?, s:I}", "access_key_id", keys->access_key,
                          "secret_access_key", keys->secret_key, "session_token",
                          keys->session_token, "expires_ms", (json_int_t)keys->expires_ms);
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    loop_random(a->session->core->loop, random, sizeof(random));
    char *sealed = text ? proof_seal(a->secret, random, text, strlen(text)) : NULL;
    if (text)
        mem_wipe(text, strlen(text));
    free(text);
    return sealed;
}

static void granted(void *arg, const struct error *e, const struct aws_keys *keys)
{
    struct attempt *a = arg;
    struct grants *g = &a->grants;
    struct cleat *core = a->session->core;
    g->call = NULL;
    if (keys) {
        g->sealed = seal(a, keys);
        /* Unix time to core time, which keeps its pace when the clock is set. */
        g->sealed_expires = keys->expires_ms - loop_wall_ms(core->loop) + core_now(core);
    } else {
        failed(a, e);
    }
    session_wake(a->session);
}

static void take_answer(struct attempt *a)
{
    struct grants *g = &a->grants;
    const struct message *m = &g->message;
    int64_t now = core_now(a->session->core);
    struct error e = m->error;
    if (m->verdict == VERDICT_PROVEN && m->status == 200) {
        g->expires = g->sealed_expires;
        g->renew_at = now + (g->expires - now) / 3 * 2;
        g->tries = 0;
        g->error = (struct error){0};
        free(g->sealed);
        g->sealed = NULL;
        log_info("credentials.renewed", KV("session", a->session->id), KI("attempt", a->number),
                 KI("seconds", (g->expires - now) / 1000));
        event_emit(a->session, "credentials.renewed", KI("attempt", a->number),
                   KI("seconds", (g->expires - now) / 1000));
        attempt_dirty(a);
    } else {
        if (m->verdict == VERDICT_MISROUTE)
            attempt_misrouted(a, "credentials");
        if (m->verdict == VERDICT_MISROUTE && !m->direct)
            route_drop(a);
        if (m->verdict == VERDICT_PROVEN)
            error_set(&e, ERR_PROTOCOL, "the container refused its credentials (%d)",
                      m->status);
        failed(a, &e);
    }
    message_reset(&g->message);
}

static void hand_over(struct attempt *a)
{
    json_t *body =
        json_pack("{s:s, s:s}", "session_id", a->identity.session, "sealed", a->grants.sealed);
    message_send(&a->grants.message, a,
                 &(struct message_options){.method = "POST",
                                           .path = "/session/credentials",
                                           .body = body,
                                           .direct = a->direct,
                                           .connect_timeout_ms = HAND_OVER_TIMEOUT_MS,
                                           .timeout_ms = HAND_OVER_TIMEOUT_MS,
                                           .max_answer = MAX_ANSWER});
    json_decref(body);
}

void grants_step(struct attempt *a)
{
    struct grants *g = &a->grants;
    struct session *s = a->session;
    if (!needs_grants(a))
        return;
    if (g->message.state == OP_DONE)
        take_answer(a);
    if (grants_running(a))
        return;
    if (g->expires > 0 && session_not_before(s, g->renew_at))
        return;
    if (session_not_before(s, g->retry_at))
        return;
    if (g->sealed && (a->direct || a->route.confirmed))
        hand_over(a);
    else if (!g->sealed)
        g->call = grant_start(s->core->loop, s->core->aws, s->group->class,
                              s->core->settings->owner, a->identity.session, granted, a);
}
