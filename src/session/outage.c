#include "session/outage.h"

#include <stdlib.h>
#include "base/log.h"
#include "base/mem.h"
#include "session/event.h"
#include "session/notes.h"
#include "session/warm.h"

#define RETRY_MS 1000
#define RETRY_MAX_MS 30000
#define REMIND_MS 60000

/* The next commit shows whether it works again; where nothing waits to be written, this note
 * is. */
static void retry(void *arg)
{
    struct cleat *core = arg;
    char *text = mem_printf("{\"at\":%lld}", (long long)core_now(core));
    core->outage.due = true;
    if (TAILQ_EMPTY(&core->journal) && !notes_are_dirty(core))
        note_put(core, "written", text);
    free(text);
}

void outage_init(struct cleat *core)
{
    timer_init(&core->outage.retry, core->loop, retry, core);
}

void outage_stop(struct cleat *core)
{
    timer_stop(&core->outage.retry);
}

static int64_t wait_ms(unsigned failures)
{
    int64_t wait = RETRY_MS << (failures < 5 ? failures : 5);
    return wait < RETRY_MAX_MS ? wait : RETRY_MAX_MS;
}

/* At first, then once a minute, however often it comes and goes. */
static void tell(struct cleat *core)
{
    struct outage *o = &core->outage;
    int64_t now = core_now(core);
    if (o->told > 0 && now - o->told < REMIND_MS)
        return;
    o->told = now;
    log_error("journal.failing", KV("error", o->error.message), KI("for_ms", now - o->since),
              KI("retry_ms", wait_ms(o->failures)));
    event_emit_core(core, "journal.failing", KV("error", o->error.message),
                    KI("for_ms", now - o->since));
}

void outage_failed(struct cleat *core, const struct error *e)
{
    struct outage *o = &core->outage;
    if (!core->store_failing) {
        o->since = core_now(core);
        o->failures = 0;
    }
    core->store_failing = true;
    core->counters.commits_failed++;
    o->error = *e;
    tell(core);
    timer_arm(&o->retry, wait_ms(o->failures++));
}

void outage_is_over(struct cleat *core)
{
    struct outage *o = &core->outage;
    if (!core->store_failing)
        return;
    core->store_failing = false;
    warm_consider_all(core);
    timer_stop(&o->retry);
    if (o->told < o->since)
        return;
    log_info("journal.works", KI("after_ms", core_now(core) - o->since));
    event_emit_core(core, "journal.works", KI("after_ms", core_now(core) - o->since));
}

bool outage_waits(const struct cleat *core)
{
    return core->store_failing && !core->outage.due;
}
