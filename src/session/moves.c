#include "session/moves.h"

#include "session/event.h"
#include "session/position.h"
#include "session/queue.h"

#define EVERY_MS 1000
#define NEAR 10       /* from here on each step is told */
#define TOLD_MAX 1000 /* events in one turn: the rest a second later */

static bool is_worth_telling(const struct session *s)
{
    unsigned now = s->rank.all, told = s->told_position;
    return now < told && (now <= NEAR || now <= told / 2);
}

static unsigned tell(struct session *s)
{
    bool tells = is_worth_telling(s);
    if (tells)
        event_emit(s, "session.moved", KI("position", s->rank.all),
                   KI("ahead", s->rank.all - 1));
    if (tells)
        s->told_position = s->rank.all;
    return tells;
}

static void tell_all(void *arg)
{
    struct cleat *core = arg;
    struct tenant *t;
    struct session *s;
    unsigned told = 0;
    if (core->queued == 0)
        return;
    position_rank(core);
    TAILQ_FOREACH (t, &core->waiting, entry)
        for (s = TAILQ_FIRST(&t->queue); s && told < TOLD_MAX; s = TAILQ_NEXT(s, queue_entry))
            told += tell(s);
    timer_arm(&core->moves, EVERY_MS);
}

void moves_begin(struct session *s)
{
    struct cleat *core = s->core;
    s->told_position = core->queued;
    if (!timer_armed(&core->moves))
        timer_arm(&core->moves, EVERY_MS);
}

void moves_init(struct cleat *core)
{
    timer_init(&core->moves, core->loop, tell_all, core);
}

void moves_stop(struct cleat *core)
{
    timer_stop(&core->moves);
}
