#include "session/notes.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct note {
    TAILQ_ENTRY(note) entry;
    char *key, *text; /* text NULL: deleted */
    bool dirty;
    uint64_t commit; /* the one that holds its newest text */
};

static struct note *find(const struct cleat *core, const char *key)
{
    struct note *n;
    TAILQ_FOREACH (n, &core->notes, entry)
        if (strcmp(n->key, key) == 0)
            return n;
    return NULL;
}

static struct note *set(struct cleat *core, const char *key, const char *text)
{
    struct note *n = find(core, key);
    if (!n) {
        n = mem_alloc(sizeof(*n));
        n->key = mem_strdup(key);
        TAILQ_INSERT_TAIL(&core->notes, n, entry);
    }
    free(n->text);
    n->text = text ? mem_strdup(text) : NULL;
    return n;
}

const char *note_get(const struct cleat *core, const char *key)
{
    const struct note *n = find(core, key);
    return n ? n->text : NULL;
}

void note_put(struct cleat *core, const char *key, const char *text)
{
    set(core, key, text)->dirty = true;
    task_wake(&core->noted);
}

static void do_nothing(void *core)
{
    (void)core;
}

void notes_init(struct cleat *core)
{
    TAILQ_INIT(&core->notes);
    task_init(&core->noted, core->loop, do_nothing, core);
}

bool note_durable(const struct cleat *core, const char *key)
{
    const struct note *n = find(core, key);
    return !n || (!n->dirty && n->commit <= core->commit_durable);
}

void note_from_row(struct cleat *core, const char *key, const char *row)
{
    set(core, key, row);
}

bool notes_are_dirty(const struct cleat *core)
{
    const struct note *n;
    TAILQ_FOREACH (n, &core->notes, entry)
        if (n->dirty)
            return true;
    return false;
}

void notes_commit(struct cleat *core, uint64_t commit, notes_each_fn *each, void *arg)
{
    struct note *n;
    TAILQ_FOREACH (n, &core->notes, entry)
        if (n->dirty) {
            each(arg, n->key, n->text);
            n->dirty = false;
            n->commit = commit;
        }
}

void notes_again(struct cleat *core, uint64_t commit)
{
    struct note *n;
    TAILQ_FOREACH (n, &core->notes, entry)
        if (n->commit == commit)
            n->dirty = true;
}

void notes_free(struct cleat *core)
{
    struct note *n;
    task_stop(&core->noted);
    while ((n = TAILQ_FIRST(&core->notes))) {
        TAILQ_REMOVE(&core->notes, n, entry);
        free(n->key);
        free(n->text);
        free(n);
    }
}
