/* A simulated static host. Its release takes a while in which nobody listens; whatever ends its
 * container otherwise is the end of its executor, which starts anew without the lease. */
#include "static.h"

#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "books.h"
#include "container.h"
#include "files.h"
#include "http/lease.h"
#include "world.h"

#define PORT 8080
#define KEY_HEX "0102030405060708090a0b0c0d0e0f100102030405060708090a0b0c0d0e0f10"
#define HOSTS_MAX 64

struct host {
    char ip[46];
    struct container *container; /* NULL: free */
    char challenge[PROOF_NONCE_SIZE];
    const char *label, *ended;
    bool in_order;
    int64_t away_until_ms;
};

static struct host hosts[HOSTS_MAX];
static unsigned host_count;
int64_t static_away_ms;

void static_begin(void)
{
    host_count = 0;
    static_away_ms = 0;
}

static void draw_bytes(uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)world_pick(0, 255);
}

static void draw_challenge(struct host *h)
{
    uint8_t random[16];
    draw_bytes(random, sizeof random);
    proof_nonce(h->challenge, random);
}

void static_start(unsigned count)
{
    files_put(STATIC_KEY_FILE, KEY_HEX "\n");
    for (host_count = 0; host_count < count && host_count < HOSTS_MAX; host_count++) {
        struct host *h = &hosts[host_count];
        *h = (struct host){.container = NULL};
        mem_copy_string(h->ip, sizeof h->ip, world_printf("10.9.0.%u", host_count + 1));
        draw_challenge(h);
    }
}

const char *static_names(void)
{
    const char *names = "";
    for (unsigned i = 0; i < host_count; i++)
        names = world_printf("%s%s%s:%d", names, i > 0 ? "," : "", hosts[i].ip, PORT);
    return names;
}

static struct host *host_at(const char *ip, uint16_t port)
{
    for (unsigned i = 0; i < host_count; i++)
        if (port == PORT && strcmp(hosts[i].ip, ip) == 0)
            return &hosts[i];
    return NULL;
}

bool static_listens(const char *ip, uint16_t port)
{
    const struct host *h = host_at(ip, port);
    return h && world.now_ms >= h->away_until_ms;
}

unsigned static_left(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < host_count; i++)
        count += hosts[i].container != NULL;
    return count;
}

/* ---- leases ---- */

static void answer(const struct host *h, struct sim_request *r, const char *nonce,
                   const char *why)
{
    uint8_t key[PROOF_SECRET_SIZE], random[PROOF_SEAL_RANDOM];
    const struct container *c = h->container;
    json_t *o =
        json_pack("{s:s, s:s, s:s*, s:s*, s:s*, s:s*, s:b, s:s*}", "answers", nonce, "state",
                  c ? LEASE_LEASED : LEASE_FREE, "challenge", c ? NULL : h->challenge, "key",
                  c ? c->key : NULL, "label", c ? h->label : NULL, "ended", h->ended,
                  "in_order", (int)h->in_order, "error", why);
    hex_decode(key, sizeof key, KEY_HEX);
    draw_bytes(random, sizeof random);
    char *body = lease_seal(key, random, o);
    service_answer(r, 200, world_strdup(body));
    free(body);
    json_decref(o);
}

static void on_end(struct container *c)
{
    struct host *h = c->engine;
    h->container = NULL;
    h->ended = c->key;
    h->in_order = c->exit_status == 0;
    if (!h->in_order && !c->stop_asked)
        h->ended = NULL; /* a crash forgets */
    int64_t drawn_ms = world_pick(10, world_chance(2000) ? 20000 : 800);
    h->away_until_ms = world.now_ms + (static_away_ms > 0 ? static_away_ms : drawn_ms);
    draw_challenge(h);
    world_log("host %s is without a lease", h->ip);
}

static const char *text_of(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));
    return text ? world_strdup(text) : "";
}

static const char *lease(struct host *h, const json_t *ask)
{
    if (strcmp(text_of(ask, "challenge"), h->challenge) != 0)
        return "the challenge is not of this life of the host";
    json_int_t attempt = json_integer_value(json_object_get(ask, "attempt"));
    struct launch_order order = {.session = text_of(ask, "session"),
                                 .attempt = world_printf("%lld", (long long)attempt),
                                 .secret = text_of(ask, "secret"),
                                 .listen = world_printf("%s:%d", h->ip, PORT),
                                 .workspace = "/simulated/host",
                                 .key = text_of(ask, "key"),
                                 .remote = true,
                                 .leased = true};
    h->container = container_start(&order);
    h->container->engine = h;
    h->container->on_end = on_end;
    h->label = text_of(ask, "label");
    return NULL;
}

static void release(struct host *h, const char *key)
{
    books_acts_on(key);
    bool held = h->container && strcmp(h->container->key, key) == 0;
    if (held && world.sabotage == SABOTAGE_LASTING_LEASE)
        h->container = NULL;
    if (!h->container) {
        draw_challenge(h); /* what is still on its way is worth nothing */
    } else if (held) {
        books_container_stopped(h->container, SIGKILL);
        container_end(h->container, SIGKILL);
    }
}

static void handle(void *arg)
{
    struct sim_request *r = arg;
    struct host *h = host_at(r->to_ip, PORT);
    struct error e = {0};
    uint8_t key[PROOF_SECRET_SIZE];
    if (world.now_ms < h->away_until_ms) {
        service_answer(r, 0, "");
        return;
    }
    hex_decode(key, sizeof key, KEY_HEX);
    json_t *ask = lease_open(key, r->body, r->body_len, &e);
    const char *nonce = text_of(ask, "nonce"), *why = NULL;
    if (!ask || strcmp(text_of(ask, "path"), r->path) != 0 || !proof_nonce_valid(nonce))
        world_violate("SIM", "%s is no message to a host: %s", r->path, e.message);
    else if (strcmp(r->path, LEASE_PATH) == 0 && !h->container)
        why = lease(h, ask);
    else if (strcmp(r->path, LEASE_RELEASE_PATH) == 0)
        release(h, text_of(ask, "key"));
    if (world.now_ms < h->away_until_ms)
        service_answer(r, 0, ""); /* it has just left */
    else
        answer(h, r, nonce, why);
    json_decref(ask);
}

static void receive(struct sim_request *r)
{
    world_at(world_pick(0, 10), handle, r);
}

service_fn *static_service(const char *ip, uint16_t port, const char *path)
{
    bool is_lease = strcmp(path, LEASE_PATH) == 0 || strcmp(path, LEASE_STATE_PATH) == 0 ||
                    strcmp(path, LEASE_RELEASE_PATH) == 0;
    return is_lease && host_at(ip, port) ? receive : NULL;
}
