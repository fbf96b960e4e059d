/* src/driver/store.h in memory. A commit is durable after a delay; a crash loses what is not.
 * Crashes of the coordinator are planted here: just before, or just after, a commit became
 * durable. */
#include "driver/store.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include "books.h"
#include "sim_store.h"
#include "witness.h"
#include "world.h"

#define FULL_MS 20000

struct row {
    const char *key, *text;
    UT_hash_handle hh;
};

struct commit {
    struct instance *me;
    struct store *store; /* NULL: the coordinator is gone */
    struct store_change *changes;
    size_t count;
    uint64_t number;
    store_done_fn *done;
    void *arg;
    bool durable;
    struct error error;
    struct commit *next, *older;
};

struct store {
    struct disk *disk;
    struct commit *first, **end; /* not yet done, in their order */
    bool committed;              /* loading is over */
};

struct disk {
    struct row *rows[STORE_KINDS];
    struct store store;
    struct commit *newest; /* of those that are durable */
    uint64_t durable;
    struct disk *next;
};

struct backup {
    enum store_kind kind;
    const char *key, *text;
    struct backup *next;
};

struct store_habits store_habits;
uint64_t sim_store_commits;
static struct disk *disks;
static struct backup *backup;

void sim_store_begin(void)
{
    for (; disks; disks = disks->next)
        for (int kind = 0; kind < STORE_KINDS; kind++)
            HASH_CLEAR(hh, disks->rows[kind]);
    sim_store_commits = 0;
    backup = NULL;
    store_habits = (struct store_habits){0};
}

static struct disk *disk_of(struct instance *instance)
{
    if (instance->disk)
        return instance->disk;
    struct disk *disk = instance->disk = world_alloc(sizeof *disk);
    disk->next = disks;
    return disks = disk;
}

static void forget(struct disk *disk, enum store_kind kind, const char *key)
{
    struct row *row = NULL;
    HASH_FIND_STR(disk->rows[kind], key, row);
    if (row)
        HASH_DEL(disk->rows[kind], row);
}

static void put(struct disk *disk, enum store_kind kind, const char *key, const char *text)
{
    struct row *row = world_alloc(sizeof *row);
    row->key = key;
    row->text = text;
    HASH_ADD_KEYPTR(hh, disk->rows[kind], row->key, strlen(row->key), row);
}

static void apply(struct commit *commit)
{
    struct disk *disk = commit->me->disk;
    for (size_t i = 0; i < commit->count; i++) {
        const struct store_change *change = &commit->changes[i];
        forget(disk, change->kind, change->key);
        if (change->row)
            put(disk, change->kind, change->key, change->row);
        books_row(change->kind, change->key, change->row);
    }
    books_commit_ends();
    commit->durable = true;
    commit->older = disk->newest;
    disk->newest = commit;
    disk->durable++;
    world_log("store: commit of %zu rows is durable", commit->count);
}

static bool fails(const struct commit *commit)
{
    struct store_habits *h = &store_habits;
    if (h->full_at && commit->number >= h->full_at) {
        h->full_from_ms = world.now_ms;
        h->full_until_ms = world.now_ms + FULL_MS;
        h->full_at = 0;
    }
    return world_fault(world.faults.commit_fails) || commit->number == h->fails_at ||
           (world.now_ms >= h->full_from_ms && world.now_ms < h->full_until_ms);
}

static void commit_due(void *arg)
{
    struct commit *commit = arg;
    struct store *store = commit->store;
    if (!store)
        return;
    if (store->first != commit) { /* done in their order */
        world_at(1, commit_due, commit);
        return;
    }
    bool crash = world_fault(world.faults.commit_crash) ||
                 commit->number == store_habits.crash_at_commit;
    if (crash && world_chance(5000)) {
        world_log("store: crash before a commit is durable");
        world.crash_due = true;
        return;
    }
    world_point("before a commit");
    if (world.frozen)
        return;
    if (fails(commit))
        error_set(&commit->error, ERR_STORE, "disk full");
    else
        apply(commit);
    store->first = commit->next;
    if (!store->first)
        store->end = &store->first;
    if (crash) {
        world_log("store: crash after a commit was durable");
        world.crash_due = true;
        return;
    }
    world_point("after a commit");
    if (world.frozen)
        return;
    sim_loop_enter(commit->me);
    commit->done(commit->arg, commit->error.code == ERR_NONE ? NULL : &commit->error);
    world_point("after a commit was told");
}

/* ---- a backup that is older ---- */

uint64_t sim_store_durable(void)
{
    return disks ? disks->durable : 0;
}

static void apply_oldest_first(struct commit *commit)
{
    struct commit *turned = NULL, *older;
    for (; commit; commit = older) {
        older = commit->older;
        commit->older = turned;
        turned = commit;
    }
    for (; turned; turned = older) {
        older = turned->older;
        apply(turned);
    }
}

static void restore(struct disk *disk)
{
    struct commit *kept = disk->newest;
    world_log("store: the newest %" PRIu64 " of %" PRIu64 " commits are lost",
              store_habits.roll_back, disk->durable);
    for (; kept && store_habits.roll_back > 0; store_habits.roll_back--)
        kept = kept->older;
    for (int kind = 0; kind < STORE_KINDS; kind++)
        HASH_CLEAR(hh, disk->rows[kind]);
    store_habits.roll_back = disk->durable = 0;
    disk->newest = NULL;
    apply_oldest_first(kept);
}

/* ---- what happens to the disk ---- */

void sim_store_forget(const char *session)
{
    struct disk *disk = disk_of(world.me);
    struct row *row, *next;
    witness_journal_lost(session);
    for (int kind = 0; kind < STORE_KINDS; kind++)
        HASH_ITER (hh, disk->rows[kind], row, next)
            if (strncmp(row->key, session, strlen(session)) == 0)
                HASH_DEL(disk->rows[kind], row);
}

void sim_store_lose(void)
{
    struct disk *disk = disk_of(world.me);
    witness_journal_lost(NULL);
    for (int kind = 0; kind < STORE_KINDS; kind++)
        HASH_CLEAR(hh, disk->rows[kind]);
}

void sim_store_back_up(void)
{
    struct disk *disk = disk_of(world.me);
    struct row *row, *next;
    for (int kind = 0; kind < STORE_KINDS; kind++)
        HASH_ITER (hh, disk->rows[kind], row, next) {
            struct backup *b = world_alloc(sizeof *b);
            *b = (struct backup){(enum store_kind)kind, row->key, row->text, backup};
            backup = b;
        }
}

void sim_store_restore(void)
{
    sim_store_lose();
    for (const struct backup *b = backup; b; b = b->next)
        put(disk_of(world.me), b->kind, b->key, b->text);
}

/* ---- store.h ---- */

static struct store *store_open(struct loop *loop, const char *path,
                                enum store_durability durability, struct error *e)
{
    (void)loop, (void)path, (void)durability, (void)e;
    struct disk *disk = disk_of(world.me);
    if (store_habits.roll_back > 0)
        restore(disk);
    struct store *store = &disk->store;
    void (*happens)(void) = store_habits.happens;
    store_habits.happens = NULL;
    if (happens)
        happens();
    *store = (struct store){.disk = disk, .end = &store->first};
    return store;
}

static void store_close(struct store *store)
{
    for (struct commit *c = store->first; c; c = c->next) {
        if (!world.frozen && !c->durable)
            apply(c);
        c->store = NULL;
    }
    store->first = NULL;
    store->end = &store->first;
}

static void store_commit(struct store *store, const struct store_change *changes, size_t count,
                         store_done_fn *done, void *arg)
{
    struct commit *commit = world_alloc(sizeof *commit);
    store->committed = true;
    if (world.frozen)
        return;
    commit->me = world.me;
    commit->number = ++sim_store_commits;
    commit->store = store;
    commit->changes = world_alloc(sizeof *changes * (count + 1));
    commit->count = count;
    for (size_t i = 0; i < count; i++)
        commit->changes[i] = (struct store_change){
            changes[i].kind, world_strdup(changes[i].key), world_strdup(changes[i].row)};
    commit->done = done;
    commit->arg = arg;
    *store->end = commit;
    store->end = &commit->next;
    if (world.sabotage == SABOTAGE_SILENCE)
        return;
    world_at(world_chance(500) ? world_pick(5, 200) : world_pick(0, 4), commit_due, commit);
}

static int by_key(struct row *a, struct row *b)
{
    return strcmp(a->key, b->key);
}

static void store_load(struct store *store, enum store_kind kind, store_each_fn *each,
                       void *arg, struct error *e)
{
    struct row **rows = store->disk->rows, *row, *next;
    if (store_habits.load_fails > 0) {
        store_habits.load_fails--;
        error_set(e, ERR_STORE, "disk I/O error");
        return;
    }
    if (store->committed)
        world_violate("I10", "the journal is read after the first commit");
    *e = (struct error){0};
    HASH_SORT(rows[kind], by_key);
    HASH_ITER (hh, rows[kind], row, next) {
        if (world.sabotage == SABOTAGE_AMNESIA &&
            (strstr(row->text, "\"CLOSED\"") || strstr(row->text, "\"ENDED\"")))
            continue;
        each(arg, row->key, row->text);
    }
}

static void store_status(struct store *store, struct store_status *out)
{
    (void)store;
    *out = (struct store_status){0};
}

const struct store_ops store_sqlite = {.open = store_open,
                                       .close = store_close,
                                       .commit = store_commit,
                                       .load = store_load,
                                       .status = store_status};
