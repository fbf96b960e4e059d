#include "session/probe.h"

#include <stdio.h>
#include "base/log.h"
#include "session/attempt.h"
#include "session/event.h"
#include "session/message.h"
#include "session/route.h"
#include "session/session.h"
#include "session/warm.h"

#define PACE_MS 1000
#define EAGER 3    /* probes at that pace; each further one waits twice as long … */
#define PACE_CAP 5 /* … as the one before, so many times */
#define TIMEOUT_MS 5000
#define SILENCE_MS 30000 /* an executor answers /execute every 20 s */
#define MAX_ANSWER 65536

static bool is_probed(const struct attempt *a)
{
    return a->state >= ATTEMPT_ROUTING && a->state <= ATTEMPT_LIVE && !a->died;
}

/* False: requests take the balancer's way. */
static bool has_own_address(const struct attempt *a)
{
    return a->direct || !route_node(a);
}

/* A plain container runs user code where it answers: while that runs there is nothing to ask.
 */
static bool can_ask(const struct attempt *a)
{
    if (a->session->group->class->proof == PROOF_NONE && a->session->running)
        return false;
    return a->direct || a->route.confirmed;
}

static void look(const struct attempt *a)
{
    const struct group *g = a->session->group;
    if (g->runtime_ops->look)
        g->runtime_ops->look(g->runtime, &a->container);
}

void probe_doubt(struct attempt *a, const char *why)
{
    struct health *h = &a->health;
    if (h->doubt || !is_probed(a))
        return;
    h->doubt = true;
    h->since = core_now(a->session->core);
    h->tries = 0;
    log_info("container.doubt", KV("session", a->session->id), KI("attempt", a->number),
             KV("cause", why));
    event_emit(a->session, "container.doubt", KI("attempt", a->number), KV("cause", why));
    look(a);
    a->session->again = true;
}

static void believe(struct attempt *a)
{
    struct health *h = &a->health;
    if (h->doubt) {
        log_info("container.answers", KV("session", a->session->id), KI("attempt", a->number),
                 KI("after_ms", core_now(a->session->core) - h->since));
        event_emit(a->session, "container.answers", KI("attempt", a->number),
                   KI("after_ms", core_now(a->session->core) - h->since));
    }
    bool doubted = h->doubt;
    h->doubt = false;
    h->refused_since = 0;
    if (doubted && a->session->warm)
        warm_offered(a->session->group);
}

static void declare_dead(struct attempt *a)
{
    struct session *s = a->session;
    a->health.dead = true;
    snprintf(a->cause, sizeof(a->cause), "connections to %s:%u were refused for %lld s",
             a->container.ip, (unsigned)a->container.port,
             (long long)s->group->class->dead_after_s);
    log_warn("container.died", KV("session", s->id), KI("attempt", a->number),
             KV("cause", a->cause));
    event_emit(s, "container.died", KI("attempt", a->number), KV("cause", a->cause));
    s->again = true;
}

static void take_no_answer(struct attempt *a, bool refused)
{
    struct health *h = &a->health;
    int64_t now = core_now(a->session->core);
    int64_t patience = a->session->group->class->dead_after_s * 1000;
    unsigned doublings = h->tries > EAGER ? h->tries - EAGER : 0;
    int64_t wait = (int64_t)PACE_MS << (doublings < PACE_CAP ? doublings : PACE_CAP);
    h->tries++;
    if (!refused) {
        h->refused_since = 0;
        h->probe_at = now + wait;
    } else if (h->refused_since == 0) {
        h->refused_since = now;
        h->probe_at = now + (patience < PACE_MS ? patience : PACE_MS);
    } else if (now - h->refused_since < patience) {
        int64_t left = h->refused_since + patience - now;
        h->probe_at = now + (left < PACE_MS ? left : PACE_MS);
    } else {
        declare_dead(a);
        return;
    }
    look(a);
}

static void take_answer(struct attempt *a)
{
    struct message *m = &a->health.message;
    bool own = has_own_address(a), proven = m->verdict == VERDICT_PROVEN;
    bool refused = own && m->verdict == VERDICT_FAILED && m->refused;
    bool misrouted = m->verdict == VERDICT_MISROUTE;
    if (!proven && !refused)
        probe_doubt(a, m->error.message);
    message_reset(m);
    if (misrouted)
        attempt_misrouted(a, "health");
    if (misrouted && !own)
        route_drop(a);
    if (proven)
        believe(a);
    else
        take_no_answer(a, refused);
}

static void ask(struct attempt *a)
{
    a->health.probe_at = core_now(a->session->core) + PACE_MS;
    message_send(&a->health.message, a,
                 &(struct message_options){.method = "GET",
                                           .path = "/container-info",
                                           .direct = a->direct,
                                           .connect_timeout_ms = TIMEOUT_MS,
                                           .timeout_ms = TIMEOUT_MS,
                                           .max_answer = MAX_ANSWER});
}

/* An execution under way is heard of every now and then, where the container can do that. */
static void notice_silence(struct attempt *a)
{
    struct session *s = a->session;
    const struct execution *e = s->running;
    if (a->health.doubt || !e || s->group->class->proof == PROOF_NONE)
        return;
    int64_t heard = a->contact > e->begun ? a->contact : e->begun;
    if (!session_not_before(s, heard + SILENCE_MS))
        probe_doubt(a, "nothing is heard of its execution");
}

/* A container that hears nothing of its session ends itself; while its route is sought only
 * this tells it. */
static bool is_lonely(const struct attempt *a)
{
    struct session *s = a->session;
    if (a->state != ATTEMPT_ROUTING || !a->direct || s->ready == 0 || a->contact == 0)
        return false;
    return !session_not_before(s, a->contact + container_idle_ms(a) / 2);
}

void probe_step(struct attempt *a)
{
    struct health *h = &a->health;
    if (!is_probed(a) || h->dead)
        return;
    if (h->message.state == OP_DONE)
        take_answer(a);
    if (h->doubt && a->contact > h->since) /* other requests are answered */
        believe(a);
    notice_silence(a);
    if (h->dead || h->message.state == OP_RUNNING || !(h->doubt || is_lonely(a)))
        return;
    if (session_not_before(a->session, h->probe_at))
        return;
    if (can_ask(a))
        ask(a);
    else
        take_no_answer(a, false);
    if (h->message.state != OP_RUNNING)
        session_at(a->session, h->probe_at);
}
