#include "driver/addresses.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>
#include "base/mem.h"

/* An address that was ever used; those that never were are counted by `fresh`. */
struct address {
    uint32_t host;
    char *holder; /* NULL: free, and in the queue */
    TAILQ_ENTRY(address) entry;
    UT_hash_handle hh;
};

struct addresses {
    uint32_t base, last; /* first address of the range; greatest usable host number */
    uint32_t fresh;      /* host numbers from here on were never given */
    size_t held, users;
    struct address *used;
    TAILQ_HEAD(, address) free;
    TAILQ_ENTRY(addresses) entry;
};

static TAILQ_HEAD(, addresses) ranges = TAILQ_HEAD_INITIALIZER(ranges);

static bool parse_range(const char *text, uint32_t *base, uint32_t *last)
{
    unsigned a, b, c, d, prefix;
    int end = 0;
    if (sscanf(text, "%3u.%3u.%3u.%3u/%2u%n", &a, &b, &c, &d, &prefix, &end) != 5 ||
        text[end] != '\0')
        return false;
    if (a != 127 || b > 255 || c > 255 || d > 255 || prefix < 8 || prefix > 30)
        return false;
    uint32_t size = UINT32_C(1) << (32 - prefix);
    *base = a << 24 | b << 16 | c << 8 | d;
    *last = size - 2; /* not the network's own address, and not the broadcast address */
    return (*base & (size - 1)) == 0;
}

struct addresses *addresses_open(const char *text, struct error *e)
{
    uint32_t base, last;
    struct addresses *r;
    if (!parse_range(text, &base, &last)) {
        error_set(
            e, ERR_CONFIG,
            "address_range \"%s\" is not a network within 127.0.0.0/8 such as 127.64.0.0/16",
            text);
        return NULL;
    }
    TAILQ_FOREACH (r, &ranges, entry) {
        if (r->base == base && r->last == last) {
            r->users++;
            return r;
        }
        if (base <= r->base + r->last + 1 && r->base <= base + last + 1) {
            error_set(e, ERR_CONFIG, "address_range %s overlaps the range of another class",
                      text);
            return NULL;
        }
    }
    r = mem_alloc(sizeof(*r));
    r->base = base;
    r->last = last;
    r->fresh = 1;
    r->users = 1;
    TAILQ_INIT(&r->free);
    TAILQ_INSERT_TAIL(&ranges, r, entry);
    return r;
}

void addresses_close(struct addresses *r)
{
    struct address *a, *next;
    if (--r->users > 0)
        return;
    HASH_ITER (hh, r->used, a, next) {
        HASH_DEL(r->used, a);
        free(a->holder);
        free(a);
    }
    TAILQ_REMOVE(&ranges, r, entry);
    free(r);
}

static struct address *find(const struct addresses *r, uint32_t host)
{
    struct address *a;
    HASH_FIND(hh, r->used, &host, sizeof(host), a);
    return a;
}

static struct address *add(struct addresses *r, uint32_t host)
{
    struct address *a = mem_alloc(sizeof(*a));
    a->host = host;
    HASH_ADD(hh, r->used, host, sizeof(a->host), a);
    return a;
}

static void hold(struct addresses *r, struct address *a, const char *holder)
{
    a->holder = mem_strdup(holder);
    r->held++;
}

static struct address *longest_free(struct addresses *r)
{
    while (r->fresh <= r->last && find(r, r->fresh) != NULL)
        r->fresh++;
    if (r->fresh <= r->last)
        return add(r, r->fresh++);
    struct address *a = TAILQ_FIRST(&r->free);
    if (a != NULL)
        TAILQ_REMOVE(&r->free, a, entry);
    return a;
}

bool addresses_take(struct addresses *r, const char *holder, char ip[ADDRESS_SIZE])
{
    struct address *a = longest_free(r);
    if (a == NULL)
        return false;
    hold(r, a, holder);
    struct in_addr in = {.s_addr = htonl(r->base + a->host)};
    inet_ntop(AF_INET, &in, ip, ADDRESS_SIZE);
    return true;
}

uint32_t addresses_index(const struct addresses *r, const char *ip)
{
    struct in_addr in;
    if (inet_pton(AF_INET, ip, &in) != 1)
        return 0;
    uint32_t host = ntohl(in.s_addr) - r->base; /* wraps to a huge number below the range */
    return host <= r->last ? host : 0;
}

bool addresses_reserve(struct addresses *r, const char *ip, const char *holder)
{
    uint32_t host = addresses_index(r, ip);
    if (host == 0)
        return false;
    struct address *a = find(r, host);
    if (a != NULL && a->holder != NULL)
        return strcmp(a->holder, holder) == 0;
    if (a != NULL)
        TAILQ_REMOVE(&r->free, a, entry);
    else
        a = add(r, host);
    hold(r, a, holder);
    return true;
}

void addresses_release(struct addresses *r, const char *ip, const char *holder)
{
    uint32_t host = addresses_index(r, ip);
    struct address *a = host == 0 ? NULL : find(r, host);
    if (a == NULL || a->holder == NULL || strcmp(a->holder, holder) != 0)
        return;
    free(a->holder);
    a->holder = NULL;
    r->held--;
    TAILQ_INSERT_TAIL(&r->free, a, entry);
}

size_t addresses_free_count(const struct addresses *r)
{
    return r->last - r->held;
}
