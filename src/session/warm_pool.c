/* How many warm containers a class has: as many as claims are expected while one starts. */
#include "base/backoff.h"
#include "base/log.h"
#include "session/admission.h"
#include "session/drain.h"
#include "session/event.h"
#include "session/gate.h"
#include "session/session.h"
#include "session/warm.h"

#define SLOT_MS 10000   /* of WARM_SLOTS, over which needs are counted */
#define LAUNCHES_MAX 10 /* at a time: a session's own launch does not wait long behind them */
#define ROLLING_PART 4  /* of a full pool, this part is missing while old ones are replaced */
#define FAILURE_CAP_MS (10 * 60 * 1000)
#define ROOM_RETRY_MS 5000
#define STEADY_MS 60000 /* one that was ready as long is no failed launch */

/* ---- what is expected ---- */

static void roll(struct warm_pool *p, int64_t now)
{
    int64_t slot = now / SLOT_MS;
    for (int n = 0; p->slot < slot && n < WARM_SLOTS; n++, p->slot++) {
        for (int i = WARM_SLOTS - 1; i > 0; i--)
            p->needs[i] = p->needs[i - 1];
        p->needs[0] = p->needs_now;
        p->needs_now = 0;
    }
    p->slot = slot;
}

static unsigned recent_needs(const struct warm_pool *p)
{
    unsigned sum = 0;
    for (int i = 0; i < WARM_SLOTS; i++)
        sum += p->needs[i];
    return sum;
}

/* Whole slots alone count: a burst is served before it is answered with launches. */
unsigned warm_target(const struct group *g)
{
    const struct warm_pool *p = &g->warm;
    const struct class *class = g->class;
    int64_t window = WARM_SLOTS * SLOT_MS;
    int64_t expected = (recent_needs(p) * p->start_ms + window - 1) / window;
    if (expected < class->warm_min)
        expected = class->warm_min;
    return (unsigned)(expected < class->warm_max ? expected : class->warm_max);
}

void warm_note_need(struct session *s, bool hit)
{
    struct group *g = s->group;
    struct warm_pool *p = &g->warm;
    if (s->warm || s->need_noted || g->class->warm_max == 0)
        return;
    s->need_noted = true;
    roll(p, core_now(g->core));
    p->needs_now++;
    p->hits += hit;
    if (hit) /* that is what they are for */
        p->failures = 0;
    p->misses += !hit;
    warm_consider(g);
}

void warm_note_start(struct group *g, int64_t ms)
{
    int64_t *mean = &g->warm.start_ms;
    *mean = *mean > 0 ? (3 * *mean + ms) / 4 : ms;
}

/* ---- what is there ---- */

static bool is_launching(const struct session *s)
{
    return !s->attempt || s->attempt->state == ATTEMPT_LAUNCHING;
}

static void count_one(struct warm_counts *n, const struct session *s)
{
    if (s->state >= SESSION_CLOSING) {
        n->closing += !session_is_over(s);
        return;
    }
    n->ready += s->state == SESSION_READY;
    n->starting += s->state != SESSION_READY;
    n->launching += is_launching(s);
    n->old += !warm_is_current(s);
    n->fit += s->state == SESSION_READY && warm_is_current(s);
}

struct warm_counts warm_count(const struct group *g)
{
    struct warm_counts n = {0};
    const struct warm *w;
    TAILQ_FOREACH (w, &g->warm.sessions, entry)
        count_one(&n, w->session);
    return n;
}

json_t *warm_status(const struct group *g)
{
    struct warm_counts n = warm_count(g);
    return json_pack("{s:i, s:i, s:i, s:I, s:I}", "ready", (int)n.ready, "starting",
                     (int)n.starting, "target", (int)warm_target(g), "hits",
                     (json_int_t)g->warm.hits, "misses", (json_int_t)g->warm.misses);
}

/* ---- what fails ---- */

/* One that is ready may still die at once, and the next one as well; one that was made before
 * says nothing of launches now. */
static void forget_failures(struct group *g)
{
    const struct warm *w;
    int64_t steady = core_now(g->core) - STEADY_MS;
    TAILQ_FOREACH (w, &g->warm.sessions, entry) {
        const struct session *s = w->session;
        if (s->state == SESSION_READY && s->ready <= steady && s->created > g->warm.failed_at)
            g->warm.failures = 0;
    }
}

static void note_failure(struct group *g, const struct error *e)
{
    struct warm_pool *p = &g->warm;
    int64_t now = core_now(g->core);
    forget_failures(g);
    p->failed_at = now;
    if (now < p->retry_at) /* of the same row as one that was noted */
        return;
    p->retry_at = now + backoff_ms(g->class->backoff_base_ms, ++p->failures, FAILURE_CAP_MS);
    log_warn("warm.paused", KV("class", g->class->name), KI("failures", p->failures),
             KI("wait_ms", p->retry_at - now), KV("error", e->message));
    event_emit_core(g->core, "warm.paused", KV("class", g->class->name),
                    KI("failures", p->failures), KI("wait_ms", p->retry_at - now),
                    KV("error", e->message));
}

static void emit_change(const struct session *s, enum session_state from)
{
    const char *class = s->group->class->name;
    if (s->state == SESSION_CLOSING)
        event_emit_core(s->core, "warm.ended", KV("class", class), KV("warm", s->id),
                        KV("cause", s->stop_reason), KV("error", s->error.message));
    else if (from == SESSION_OPENING && s->state == SESSION_READY)
        event_emit_core(s->core, "warm.ready", KV("class", class), KV("warm", s->id),
                        KI("after_ms", core_now(s->core) - s->opened));
}

void warm_changed(struct session *s, enum session_state from)
{
    struct group *g = s->group;
    int64_t now = core_now(s->core);
    emit_change(s, from);
    if (from == SESSION_OPENING && s->state == SESSION_READY) {
        warm_note_start(g, now - s->opened);
        g->warm.retry_at = 0;
    }
    bool steady = s->ready > 0 && now - s->ready >= STEADY_MS;
    if (s->state == SESSION_CLOSING && s->error.code != ERR_NONE && !steady)
        note_failure(g, &s->error);
    if (s->state == SESSION_READY)
        warm_offered(g);
    warm_consider(g);
}

/* ---- more and fewer ---- */

/* The oldest, of those that are old; of all when none is. */
static struct session *first_to_go(const struct group *g)
{
    struct session *first = NULL;
    const struct warm *w;
    TAILQ_FOREACH (w, &g->warm.sessions, entry) {
        struct session *s = w->session;
        if (s->state < SESSION_CLOSING && !warm_is_current(s))
            return s;
        if (s->state < SESSION_CLOSING && !first)
            first = s;
    }
    return first;
}

/* Old ones go as new ones become ready, and where the pool is full, a few first. */
static unsigned surplus(const struct group *g, const struct warm_counts *n, unsigned target)
{
    unsigned max = (unsigned)g->class->warm_max, alive = n->ready + n->starting;
    unsigned part = max / ROLLING_PART + (max < ROLLING_PART);
    unsigned missing = n->starting + n->closing;
    if (alive > max)
        return alive - max;
    if (n->old == 0)
        return 0;
    if (n->fit + n->old > target)
        return n->fit < target ? n->fit + n->old - target : n->old;
    return alive + n->closing >= max && missing < part ? 1 : 0;
}

static void reduce(struct group *g, unsigned target)
{
    struct warm_counts n = warm_count(g);
    for (unsigned more = surplus(g, &n, target); more > 0; more--) {
        struct session *s = first_to_go(g);
        session_close(s, warm_is_current(s) ? "warm_max" : "class_changed", NULL);
    }
}

/* Who waits for room on this engine, or is on its way to see whether there is any, goes first,
 * of whichever class; when nobody does, a warm one tries. */
static bool lacks_room(const struct group *g)
{
    for (size_t i = 0; i < g->core->group_count; i++) {
        const struct group *other = &g->core->groups[i];
        bool tries = other->refusals > 0 && core_now(g->core) < other->room_at;
        if ((tries || admission_awaits_room(other)) &&
            class_shares_engine(g->class, other->class))
            return true;
    }
    return false;
}

/* False: not now; the timer, or the next change, comes back to it. */
static bool may_launch(struct group *g)
{
    struct error e;
    const struct cleat *core = g->core;
    return !core->store_failing && !lacks_room(g) && core_now(core) >= g->warm.retry_at &&
           !gate_is_shut(g, DRIVER_LAUNCH) && !drain_covers(core, "", &e);
}

static void refill(struct group *g, unsigned target)
{
    struct warm_counts n = warm_count(g);
    unsigned at_once = g->warm.failures > 0 || g->refusals > 0 ? 1 : LAUNCHES_MAX;
    unsigned current = n.ready + n.starting - n.old;
    unsigned alive = n.ready + n.starting + n.closing;
    while (current < target && alive < (unsigned)g->class->warm_max && n.launching < at_once) {
        warm_new(g);
        current++;
        alive++;
        n.launching++;
    }
}

static void arm(struct group *g)
{
    struct warm_pool *p = &g->warm;
    int64_t now = core_now(g->core), next = INT64_MAX;
    if (recent_needs(p) + p->needs_now > 0)
        next = (p->slot + 1) * SLOT_MS;
    if (p->retry_at > now && p->retry_at < next)
        next = p->retry_at;
    if (gate_is_shut(g, DRIVER_LAUNCH) && g->breakers[DRIVER_LAUNCH].retry_at < next)
        next = g->breakers[DRIVER_LAUNCH].retry_at;
    if (lacks_room(g) && now + ROOM_RETRY_MS < next)
        next = now + ROOM_RETRY_MS;
    if (next == INT64_MAX)
        timer_stop(&p->timer);
    else
        timer_arm(&p->timer, next - now);
}

static void keep(void *group)
{
    struct group *g = group;
    roll(&g->warm, core_now(g->core));
    forget_failures(g);
    unsigned target = warm_target(g);
    reduce(g, target);
    if (may_launch(g))
        refill(g, target);
    arm(g);
}

/* ---- the pool ---- */

static void on_timer(void *group)
{
    warm_consider(group);
}

void warm_open(struct group *g)
{
    struct warm_pool *p = &g->warm;
    TAILQ_INIT(&p->sessions);
    p->recipe = warm_recipe(g->class);
    task_init(&p->task, g->core->loop, keep, g);
    timer_init(&p->timer, g->core->loop, on_timer, g);
}

void warm_close(struct group *g)
{
    task_stop(&g->warm.task);
    timer_stop(&g->warm.timer);
}

void warm_consider(struct group *g)
{
    if (g->class->warm_max > 0 || !TAILQ_EMPTY(&g->warm.sessions))
        task_wake(&g->warm.task);
}

void warm_consider_all(struct cleat *core)
{
    for (size_t i = 0; i < core->group_count; i++)
        warm_consider(&core->groups[i]);
}

void warm_reload(struct cleat *core)
{
    for (size_t i = 0; i < core->group_count; i++)
        core->groups[i].warm.recipe = warm_recipe(core->groups[i].class);
    warm_consider_all(core);
}
