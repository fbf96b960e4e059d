#include "loop/resolve.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include "base/log.h"
#include "base/mem.h"
#include "loop/hosts.h"

#define NAME_MAX_LEN 253 /* RFC 1035 section 2.3.4, as text */
#define TRY_S "1.5"      /* one question to one name server */
#define TRIES "3"        /* as many as resolv.conf has name servers at most */
#define LIMIT_MS 5000    /* of the whole, search lists included */
#define IPV6_GRACE_MS 50 /* RFC 8305 section 3: how long a second answer is waited for */

struct resolver {
    struct loop *loop;
    TAILQ_HEAD(, resolve) under_way;
};

/* One of the two questions, A or AAAA. */
struct question {
    struct resolve *owner;
    int family;
    bool over;
    int result; /* evdns's, once it is over */
    char addresses[RESOLVE_MAX][RESOLVE_TEXT_SIZE];
    size_t count;
    uint32_t ttl_s;
};

struct resolve {
    struct resolver *resolver;
    resolve_fn *done;
    void *arg;
    char *name;
    struct evdns_base *dns; /* one for each name; NULL: nobody is asked */
    struct question ipv4, ipv6;
    struct error error; /* why nobody was asked */
    struct timer limit;
    struct task deliver;
    bool closed;
    TAILQ_ENTRY(resolve) entry;
};

/* ---- the end */

static void free_memory(struct event *event, void *arg)
{
    struct resolve *r = arg;
    (void)event;
    free(r->name);
    free(r);
}

/* An answer that evdns has read, but not told yet, is told even after its base is gone.
 * Libevent calls back in the order in which it was asked to: so the memory goes by the same
 * way, behind it. */
static void free_behind_answers(struct resolve *r)
{
    struct event *last = event_new(loop_base(r->resolver->loop), -1, 0, NULL, r);
    if (!last || event_free_finalize(0, last, free_memory) < 0) {
        log_error("resolve.no_event");
        abort();
    }
}

static void close_resolve(struct resolve *r)
{
    r->closed = true;
    timer_stop(&r->limit);
    task_stop(&r->deliver);
    TAILQ_REMOVE(&r->resolver->under_way, r, entry);
    if (r->dns)
        evdns_base_free(r->dns, 0);
    if (r->ipv4.over && r->ipv6.over)
        free_memory(NULL, r);
    else
        free_behind_answers(r);
}

void resolve_cancel(struct resolve *r)
{
    close_resolve(r);
}

static void explain(const struct resolve *r, struct error *e)
{
    const struct question *q = r->ipv4.over ? &r->ipv4 : &r->ipv6;
    if (r->error.code != ERR_NONE)
        *e = r->error;
    else if (!q->over || q->result == DNS_ERR_TIMEOUT)
        error_set(e, ERR_CONNECT, "no name server answered for %s", r->name);
    else if (q->result == DNS_ERR_NONE || q->result == DNS_ERR_NOTEXIST ||
             q->result == DNS_ERR_NODATA)
        error_set(e, ERR_NOT_FOUND, "the name %s has no address", r->name);
    else
        error_set(e, ERR_CONNECT, "the name %s could not be resolved: %s", r->name,
                  evdns_err_to_string(q->result));
}

static void deliver(void *arg)
{
    struct resolve *r = arg;
    char addresses[2 * RESOLVE_MAX][RESOLVE_TEXT_SIZE];
    size_t count = r->ipv4.count + r->ipv6.count;
    uint32_t ttl_s = r->ipv4.count > 0 ? r->ipv4.ttl_s : r->ipv6.ttl_s;
    struct error e = {0};
    resolve_fn *done = r->done;
    void *done_arg = r->arg;
    memcpy(addresses, r->ipv4.addresses, sizeof r->ipv4.addresses);
    memcpy(addresses + r->ipv4.count, r->ipv6.addresses, sizeof r->ipv6.addresses);
    if (r->ipv6.count > 0 && r->ipv6.ttl_s < ttl_s)
        ttl_s = r->ipv6.ttl_s;
    if (count == 0)
        explain(r, &e);
    close_resolve(r);
    done(done_arg, count > 0 ? NULL : &e, (const char(*)[RESOLVE_TEXT_SIZE])addresses,
         count < RESOLVE_MAX ? count : RESOLVE_MAX, ttl_s);
}

/* ---- asking name servers */

/* Whoever answered for IPv4 will soon have answered for IPv6. */
static void go_on(struct resolve *r)
{
    if (r->ipv4.over && r->ipv6.over)
        task_wake(&r->deliver);
    else if (r->ipv4.count > 0)
        timer_arm(&r->limit, IPV6_GRACE_MS);
}

/* evdns's callback; its addresses are in network order, one behind the other. */
static void take_answer(int result, char type, int count, int ttl_s, void *addresses, void *arg)
{
    struct question *q = arg;
    size_t size = q->family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);
    (void)type;
    q->over = true;
    q->result = result;
    q->ttl_s = ttl_s > 0 ? (uint32_t)ttl_s : 1; /* 0 in an answer: not to be kept */
    if (result != DNS_ERR_NONE)
        count = 0;
    for (int i = 0; i < count && q->count < RESOLVE_MAX; i++)
        if (inet_ntop(q->family, (const char *)addresses + (size_t)i * size,
                      q->addresses[q->count], RESOLVE_TEXT_SIZE))
            q->count++;
    if (!q->owner->closed)
        go_on(q->owner);
}

/* A dot at its end says that a name is whole. */
static void ask(struct resolve *r, struct question *q)
{
    int flags = r->name[strlen(r->name) - 1] == '.' ? DNS_QUERY_NO_SEARCH : 0;
    struct evdns_request *asked =
        q->family == AF_INET ? evdns_base_resolve_ipv4(r->dns, r->name, flags, take_answer, q)
                             : evdns_base_resolve_ipv6(r->dns, r->name, flags, take_answer, q);
    if (!asked) {
        q->over = true;
        q->result = DNS_ERR_FORMAT;
    }
}

static void ask_name_servers(struct resolve *r)
{
    int parts = DNS_OPTION_SEARCH | DNS_OPTION_NAMESERVERS | DNS_OPTION_MISC |
                DNS_OPTION_NAMESERVERS_NO_DEFAULT;
    r->dns = evdns_base_new(loop_base(r->resolver->loop), 0);
    if (!r->dns) {
        error_set(&r->error, ERR_CONNECT, "names cannot be resolved now");
        return;
    }
    evdns_base_resolv_conf_parse(r->dns, parts, "/etc/resolv.conf");
    if (evdns_base_count_nameservers(r->dns) == 0) {
        error_set(&r->error, ERR_CONNECT, "there is no name server to ask for %s", r->name);
        return;
    }
    evdns_base_set_option(r->dns, "timeout:", TRY_S);
    evdns_base_set_option(r->dns, "attempts:", TRIES);
    r->ipv4.over = r->ipv6.over = false;
    ask(r, &r->ipv4);
    ask(r, &r->ipv6);
}

/* ---- answers that are at hand */

static bool is_name(const char *s)
{
    size_t len = strlen(s);
    if (len == 0 || len > NAME_MAX_LEN || s[0] == '.' || strstr(s, ".."))
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("-._", *s))
            return false;
    return true;
}

static bool is_localhost(const char *name)
{
    size_t len = strlen(name), tail = strlen(".localhost");
    return strcasecmp(name, "localhost") == 0 ||
           (len > tail && strcasecmp(name + len - tail, ".localhost") == 0);
}

static void take_numeric(struct question *q, const char *name)
{
    struct in6_addr address;
    if (inet_pton(q->family, name, &address) == 1 &&
        inet_ntop(q->family, &address, q->addresses[0], RESOLVE_TEXT_SIZE))
        q->count = 1;
}

static void take_loopback(struct resolve *r)
{
    mem_copy_string(r->ipv4.addresses[0], RESOLVE_TEXT_SIZE, "127.0.0.1");
    mem_copy_string(r->ipv6.addresses[0], RESOLVE_TEXT_SIZE, "::1");
    r->ipv4.count = r->ipv6.count = 1;
}

static void look_at_hand(struct resolve *r)
{
    struct question *both[] = {&r->ipv4, &r->ipv6};
    for (size_t i = 0; i < 2; i++)
        take_numeric(both[i], r->name);
    if (r->ipv4.count + r->ipv6.count > 0)
        return;
    for (size_t i = 0; i < 2; i++)
        both[i]->count =
            hosts_find("/etc/hosts", r->name, both[i]->family, both[i]->addresses, RESOLVE_MAX);
    if (r->ipv4.count + r->ipv6.count == 0 && is_localhost(r->name))
        take_loopback(r);
}

/* ---- life */

/* Else libevent writes it to stderr. */
static void log_line(int is_warning, const char *line)
{
    (void)is_warning;
    log_debug("resolve.evdns", KV("line", line));
}

static void look(struct resolve *r)
{
    look_at_hand(r);
    if (r->ipv4.count + r->ipv6.count > 0)
        return;
    if (is_name(r->name))
        ask_name_servers(r);
    else
        error_set(&r->error, ERR_NOT_FOUND, "the host in the address is not a name");
}

struct resolve *resolve_start(struct resolver *resolver, const char *name, resolve_fn *done,
                              void *arg)
{
    struct resolve *r = mem_alloc(sizeof *r);
    r->resolver = resolver;
    r->done = done;
    r->arg = arg;
    r->name = mem_strdup(name);
    r->ipv4 = (struct question){.owner = r, .family = AF_INET, .over = true};
    r->ipv6 = (struct question){.owner = r, .family = AF_INET6, .over = true};
    timer_init(&r->limit, resolver->loop, deliver, r);
    task_init(&r->deliver, resolver->loop, deliver, r);
    TAILQ_INSERT_TAIL(&resolver->under_way, r, entry);
    timer_arm(&r->limit, LIMIT_MS);
    look(r);
    go_on(r);
    return r;
}

struct resolver *resolver_new(struct loop *loop)
{
    struct resolver *resolver = mem_alloc(sizeof *resolver);
    resolver->loop = loop;
    evdns_set_log_fn(log_line);
    TAILQ_INIT(&resolver->under_way);
    return resolver;
}

void resolver_free(struct resolver *resolver)
{
    struct resolve *r;
    if (!resolver)
        return;
    while ((r = TAILQ_FIRST(&resolver->under_way)))
        resolve_cancel(r);
    free(resolver);
}
