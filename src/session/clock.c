#include "session/clock.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "http/json.h"
#include "loop/child.h"
#include "session/notes.h"
#include "session/session.h"

#define NOTE "clock"
#define BOOT_ID "/proc/sys/kernel/random/boot_id" /* random(4) */

void clock_start(struct cleat *core)
{
    core->clock_offset = loop_wall_ms(core->loop) - loop_now_ms(core->loop);
    core->started = core_now(core);
}

/* On the same boot the monotonic clock has only gone on. False: this is another boot, or nobody
 * can tell. */
static bool go_on(struct cleat *core, const char *boot)
{
    const char *note = note_get(core, NOTE), *text = NULL;
    int64_t offset = 0;
    struct error e = {0};
    if (!note)
        return false;
    json_t *o = js_parse_object(note, strlen(note), &e);
    js_string(o, "boot", true, 64, &text, &e);
    js_int(o, "offset", true, INT64_MIN, INT64_MAX, &offset, &e);
    bool same = e.code == ERR_NONE && strcmp(text, boot) == 0;
    if (same)
        core->clock_offset = offset;
    json_decref(o);
    return same;
}

static void raise_to(int64_t *newest, int64_t ms)
{
    if (ms > *newest)
        *newest = ms;
}

static int64_t newest_row(const struct cleat *core)
{
    const struct session *s;
    const struct attempt *a;
    int64_t newest = 0;
    TAILQ_FOREACH (s, &core->sessions, entry) {
        raise_to(&newest, s->created);
        raise_to(&newest, s->ready);
        raise_to(&newest, s->closing);
        raise_to(&newest, s->closed);
        TAILQ_FOREACH (a, &s->attempts, entry)
            raise_to(&newest, a->since);
    }
    return newest;
}

static void store(struct cleat *core, const char *boot)
{
    json_t *o = json_pack("{s:s, s:I}", "boot", boot, "offset", (json_int_t)core->clock_offset);
    char *text = js_text(o);
    note_put(core, NOTE, text);
    free(text);
    json_decref(o);
}

void clock_load(struct cleat *core)
{
    char *boot = file_read(BOOT_ID, 64);
    if (boot)
        boot[strcspn(boot, "\n")] = '\0';
    if (!boot || !go_on(core, boot)) {
        int64_t newest = newest_row(core), behind = newest - core_now(core);
        if (behind > 0) {
            log_warn("clock.behind", KI("behind_ms", behind));
            core->clock_offset += behind;
        }
        if (boot)
            store(core, boot);
    }
    core->started = core_now(core);
    free(boot);
}
