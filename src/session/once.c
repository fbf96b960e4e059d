#include "session/once.h"

#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/mem.h"

#define MAX_PER_SESSION 4096

static uint64_t hash_of(const char *id)
{
    return hash_more(HASH_OF_NOTHING, id, strlen(id));
}

static bool has(const struct sent_ids *sent, uint64_t hash)
{
    for (size_t i = 0; i < sent->count; i++)
        if (sent->hashes[i] == hash)
            return true;
    return false;
}

static void add(struct sent_ids *sent, uint64_t hash)
{
    if (sent->count == sent->capacity) {
        sent->capacity = sent->capacity ? 2 * sent->capacity : 8;
        sent->hashes = mem_grow(sent->hashes, sent->capacity * sizeof(*sent->hashes));
    }
    sent->hashes[sent->count++] = hash;
}

bool once_is_full(const struct session *s)
{
    const struct attempt *a;
    size_t count = 0;
    TAILQ_FOREACH (a, &s->attempts, entry)
        count += a->sent.count;
    return count >= MAX_PER_SESSION;
}

bool once_note(struct attempt *a, const char *id)
{
    uint64_t hash = hash_of(id);
    if (has(&a->sent, hash) || once_is_full(a->session))
        return false;
    add(&a->sent, hash);
    return true;
}

void once_forget(struct attempt *a, const char *id)
{
    uint64_t hash = hash_of(id);
    for (size_t i = 0; i < a->sent.count; i++)
        if (a->sent.hashes[i] == hash) {
            a->sent.hashes[i] = a->sent.hashes[--a->sent.count];
            return;
        }
}

bool once_was_sent(const struct attempt *to, const char *id)
{
    const struct attempt *a;
    uint64_t hash = hash_of(id);
    TAILQ_FOREACH (a, &to->session->attempts, entry)
        if (a != to && has(&a->sent, hash))
            return true;
    return false;
}

bool once_is_first(const struct session *s, const char *id)
{
    const struct attempt *a;
    uint64_t hash = hash_of(id);
    TAILQ_FOREACH (a, &s->attempts, entry)
        if (has(&a->sent, hash))
            return false;
    return !once_is_full(s);
}

void once_release(struct attempt *a)
{
    free(a->sent.hashes);
    a->sent = (struct sent_ids){0};
}

json_t *once_row(const struct attempt *a)
{
    if (a->sent.count == 0)
        return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < a->sent.count; i++)
        json_array_append_new(list, json_integer((json_int_t)a->sent.hashes[i]));
    return list;
}

void once_from_row(struct attempt *a, const json_t *list)
{
    size_t i;
    json_t *hash;
    json_array_foreach (list, i, hash)
        add(&a->sent, (uint64_t)json_integer_value(hash));
}
