#include "http/names.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include "base/mem.h"
#include "loop/resolve.h"

#define TTL_MIN_S 1
#define TTL_MAX_S 60
#define TTL_UNKNOWN_S 30
#define RETRY_MS 5000
/* How long an answer serves after the name could not be asked about again. */
#define STALE_MS 600000

/* What is known of one name. */
struct name {
    struct names *names;
    char *host;
    char addresses[RESOLVE_MAX][RESOLVE_TEXT_SIZE];
    size_t count; /* 0: error says why */
    size_t turn;  /* the next user's address */
    struct error error;
    int64_t fresh_until_ms, stale_until_ms;
    struct resolve *look_up; /* NULL: none under way */
    unsigned waiting;
    TAILQ_ENTRY(name) entry;
};

struct names {
    struct loop *loop;
    struct resolver *resolver;
    TAILQ_HEAD(, name) known;
    TAILQ_HEAD(, names_wait) waits;
};

struct names_wait {
    struct name *name;
    struct names_user *user;
    names_fn *done;
    void *arg;
    struct task answer;
    TAILQ_ENTRY(names_wait) entry;
};

struct names_choice {
    char *host;
    char address[RESOLVE_TEXT_SIZE];
    bool failed;
    struct names_choice *next;
};

/* ---- a user's choice */

static struct names_choice *find_choice(const struct names_user *user, const char *host)
{
    struct names_choice *c = user->first;
    while (c && strcasecmp(c->host, host) != 0)
        c = c->next;
    return c;
}

static struct names_choice *add_choice(struct names_user *user, const char *host)
{
    struct names_choice *c = mem_alloc(sizeof *c);
    c->host = mem_strdup(host);
    c->next = user->first;
    user->first = c;
    return c;
}

void names_user_free(struct names_user *user)
{
    struct names_choice *c;
    while ((c = user->first)) {
        user->first = c->next;
        free(c->host);
        free(c);
    }
}

void names_failed(struct names_user *user, const char *host, const char *address)
{
    struct names_choice *c = find_choice(user, host);
    if (c && strcmp(c->address, address) == 0)
        c->failed = true;
}

/* count if it is not among them. */
static size_t place_of(const struct name *n, const char *address)
{
    size_t i = 0;
    while (i < n->count && strcmp(n->addresses[i], address) != 0)
        i++;
    return i;
}

/* IPv6 only where there is nothing else, or nothing else works: not every machine has a way out
 * by it. */
static size_t first_turns(const struct name *n)
{
    size_t ipv4 = 0;
    while (ipv4 < n->count && !strchr(n->addresses[ipv4], ':'))
        ipv4++;
    return ipv4 > 0 ? ipv4 : n->count;
}

static const char *choose(struct name *n, struct names_user *user)
{
    struct names_choice *c = find_choice(user, n->host);
    if (!c)
        c = add_choice(user, n->host);
    size_t place = place_of(n, c->address);
    if (place == n->count)
        place = n->turn++ % first_turns(n);
    else if (c->failed)
        place = (place + 1) % n->count;
    c->failed = false;
    mem_copy_string(c->address, sizeof c->address, n->addresses[place]);
    return c->address;
}

/* ---- names */

static struct name *find_name(const struct names *names, const char *host)
{
    struct name *n;
    TAILQ_FOREACH (n, &names->known, entry)
        if (strcasecmp(n->host, host) == 0)
            return n;
    return NULL;
}

static void free_name(struct name *n)
{
    TAILQ_REMOVE(&n->names->known, n, entry);
    if (n->look_up)
        resolve_cancel(n->look_up);
    free(n->host);
    free(n);
}

static void forget_old_names(struct names *names)
{
    int64_t now_ms = loop_now_ms(names->loop);
    struct name *n = TAILQ_FIRST(&names->known);
    while (n) {
        struct name *next = TAILQ_NEXT(n, entry);
        if (n->waiting == 0 && !n->look_up && now_ms >= n->stale_until_ms)
            free_name(n);
        n = next;
    }
}

static struct name *add_name(struct names *names, const char *host)
{
    forget_old_names(names);
    struct name *n = mem_alloc(sizeof *n);
    n->names = names;
    n->host = mem_strdup(host);
    TAILQ_INSERT_TAIL(&names->known, n, entry);
    return n;
}

static int64_t keep_ms(uint32_t ttl_s)
{
    if (ttl_s == 0)
        return TTL_UNKNOWN_S * 1000;
    if (ttl_s < TTL_MIN_S)
        return TTL_MIN_S * 1000;
    return (ttl_s < TTL_MAX_S ? ttl_s : TTL_MAX_S) * INT64_C(1000);
}

static void keep_addresses(struct name *n, const char (*addresses)[RESOLVE_TEXT_SIZE],
                           size_t count, uint32_t ttl_s)
{
    memcpy(n->addresses, addresses, count * sizeof *addresses);
    n->count = count;
    n->fresh_until_ms = loop_now_ms(n->names->loop) + keep_ms(ttl_s);
    n->stale_until_ms = n->fresh_until_ms + STALE_MS;
}

static void keep_error(struct name *n, const struct error *e)
{
    int64_t now_ms = loop_now_ms(n->names->loop);
    n->error = *e;
    if (e->code == ERR_NOT_FOUND || now_ms >= n->stale_until_ms)
        n->count = 0;
    n->fresh_until_ms = n->count > 0 ? now_ms + RETRY_MS : now_ms;
}

static void looked_up(void *arg, const struct error *e,
                      const char (*addresses)[RESOLVE_TEXT_SIZE], size_t count, uint32_t ttl_s)
{
    struct name *n = arg;
    struct names_wait *w;
    n->look_up = NULL;
    if (e)
        keep_error(n, e);
    else
        keep_addresses(n, addresses, count, ttl_s);
    TAILQ_FOREACH (w, &n->names->waits, entry)
        if (w->name == n)
            task_wake(&w->answer);
}

/* ---- who asks */

static void leave(struct names_wait *w)
{
    task_stop(&w->answer);
    w->name->waiting--;
    TAILQ_REMOVE(&w->name->names->waits, w, entry);
}

void names_cancel(struct names_wait *w)
{
    leave(w);
    free(w);
}

static void answer(void *arg)
{
    struct names_wait *w = arg;
    struct name *n = w->name;
    struct error e = n->error;
    char address[RESOLVE_TEXT_SIZE];
    leave(w);
    if (n->count > 0)
        mem_copy_string(address, sizeof address, choose(n, w->user));
    if (n->count > 0)
        w->done(w->arg, NULL, address);
    else
        w->done(w->arg, &e, NULL);
    free(w);
}

struct names_wait *names_ask(struct names *names, struct names_user *user, const char *host,
                             names_fn *done, void *arg)
{
    struct name *n = find_name(names, host);
    struct names_wait *w = mem_alloc(sizeof *w);
    if (!n)
        n = add_name(names, host);
    w->name = n;
    w->user = user;
    w->done = done;
    w->arg = arg;
    task_init(&w->answer, names->loop, answer, w);
    TAILQ_INSERT_TAIL(&names->waits, w, entry);
    n->waiting++;
    if (n->count > 0 && loop_now_ms(names->loop) < n->fresh_until_ms)
        task_wake(&w->answer);
    else if (!n->look_up)
        n->look_up = resolve_start(names->resolver, host, looked_up, n);
    return w;
}

/* ---- life */

struct names *names_new(struct loop *loop)
{
    struct names *names = mem_alloc(sizeof *names);
    names->loop = loop;
    names->resolver = resolver_new(loop);
    TAILQ_INIT(&names->known);
    TAILQ_INIT(&names->waits);
    return names;
}

void names_free(struct names *names)
{
    struct name *n;
    if (!names)
        return;
    while ((n = TAILQ_FIRST(&names->known)))
        free_name(n);
    resolver_free(names->resolver);
    free(names);
}
