#include "haproxy.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include "base/mem.h"
#include "books.h"
#include "container.h"
#include "world.h"

enum { CHECK_INI = 1, CHECK_L4CON = 8, CHECK_L7TOUT = 12, CHECK_L7OK = 15, CHECK_L7STS = 17 };
enum { RESULT_FAILED = 2, RESULT_PASSED = 3 };

struct known_cookie {
    struct cookie_fact fact;
    UT_hash_handle hh;
};

/* A request on its way through a node. */
struct forwarded {
    struct server *server;       /* NULL once it was answered */
    struct sim_request *request; /* what the client sent */
    struct sim_request inner;    /* what the container gets */
    struct forwarded *next;
};

struct node *nodes;
static struct known_cookie *cookies;

void haproxy_begin(void)
{
    nodes = NULL;
    HASH_CLEAR(hh, cookies);
}

struct node *haproxy_start(unsigned index)
{
    return haproxy_start_at(index, "127.0.0.1", (uint16_t)(8000 + index));
}

struct node *haproxy_start_at(unsigned index, const char *host, uint16_t port)
{
    struct node *node = world_alloc(sizeof *node), **end = &nodes;
    node->index = index;
    node->socket = world_printf("/simulated/haproxy%u.sock", index);
    node->backend = "be";
    node->ip = host;
    node->port = port;
    node->server_timeout_ms = 60000;
    network_listen_frontend(node->ip, node->port, node);
    while (*end)
        end = &(*end)->next;
    *end = node;
    return node;
}

struct node *haproxy_at_socket(const char *path)
{
    for (struct node *node = nodes; node; node = node->next)
        if (strcmp(node->socket, path) == 0)
            return node;
    return NULL;
}

/* ---- servers ---- */

struct server *haproxy_find(struct node *node, const char *name)
{
    for (struct server *s = node->servers; s; s = s->next)
        if (!s->deleted && !s->hidden && strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

unsigned haproxy_targets(void)
{
    unsigned count = 0;
    for (struct node *node = nodes; node; node = node->next)
        for (struct server *s = node->servers; s; s = s->next)
            count += !s->deleted;
    return count;
}

struct server *haproxy_add_server(struct node *node, const char *name, const char *ip,
                                  uint16_t port, int64_t inter_ms, int64_t fall, int64_t rise)
{
    struct server *s = world_alloc(sizeof *s), **end = &node->servers;
    s->name = world_strdup(name);
    mem_copy_string(s->ip, sizeof s->ip, ip);
    s->port = port;
    s->node = node;
    s->id = ++node->server_count;
    s->inter_ms = inter_ms;
    s->fall = fall;
    s->rise = rise;
    s->maint = true;
    s->check_state = CHECKS_OFF;
    s->check_status = CHECK_INI;
    s->changed_ms = world.now_ms;
    while (*end)
        end = &(*end)->next;
    *end = s;
    world_log("node %u adds %s at %s:%u", node->index, name, ip, port);
    books_target_added(s);
    return s;
}

static void set_up(struct server *s, bool up)
{
    if (s->up == up)
        return;
    s->up = up;
    s->changed_ms = world.now_ms;
    world.dirty = true;
    world_log("node %u: %s is %s", s->node->index, s->name, up ? "up" : "down");
}

static void check_passed(struct server *s)
{
    s->check_result = RESULT_PASSED;
    s->check_status = CHECK_L7OK;
    if (++s->health >= s->rise) {
        s->passed = true;
        s->health = s->rise + s->fall - 1;
        if (!s->maint)
            set_up(s, true);
    }
}

static void check_failed(struct server *s, int status)
{
    s->check_result = RESULT_FAILED;
    s->check_status = status;
    s->health = s->health >= s->rise ? s->health - 1 : 0;
    if (s->health < s->rise) {
        s->health = 0;
        set_up(s, false);
    }
}

static void check_due(void *arg)
{
    struct server *s = arg;
    if (s->deleted || s->check_state != CHECKS_ON)
        return;
    const struct container *c = container_at(s->ip, s->port);
    if (!s->node->down && c && container_health_check(c))
        check_passed(s);
    else
        check_failed(s, !c || !c->listening ? CHECK_L4CON
                        : c->hung           ? CHECK_L7TOUT
                                            : CHECK_L7STS);
    world_at(s->inter_ms, check_due, s);
}

void haproxy_enable_health(struct server *s)
{
    if (s->check_state == CHECKS_ON)
        return;
    s->check_state = CHECKS_ON;
    s->health = 0;
    world_at(world_pick(1, s->inter_ms), check_due, s);
}

void haproxy_enable(struct server *s)
{
    if (!s->maint)
        return;
    if (!s->passed)
        world_violate("HEALTH", "node %u is told to enable %s before its checks passed",
                      s->node->index, s->name);
    s->maint = false;
    s->health = s->rise;
    if (s->check_state == CHECKS_PAUSED)
        haproxy_enable_health(s);
    set_up(s, true);
    world_log("node %u enables %s", s->node->index, s->name);
}

void haproxy_maint(struct server *s)
{
    if (s->check_state == CHECKS_ON)
        s->check_state = CHECKS_PAUSED;
    s->maint = true;
    s->health = 0;
    set_up(s, false);
}

static void answer_client(struct forwarded *f, int status)
{
    if (!f->server)
        return;
    f->server->busy--;
    f->server = NULL;
    f->request->answered(f->request, answer_new(status, "<html>bad gateway</html>"));
}

void haproxy_break_requests(struct server *s)
{
    for (struct forwarded *f = s->requests; f; f = f->next)
        answer_client(f, world_chance(5000) ? 502 : 0);
    s->requests = NULL;
}

void haproxy_delete(struct server *s)
{
    s->hidden = world.sabotage == SABOTAGE_STALE_TARGET;
    s->deleted = !s->hidden;
    world.dirty = true;
    world_log("node %u deletes %s", s->node->index, s->name);
}

static void start_again(void *arg)
{
    struct node *node = arg;
    node->down = false;
    world_log("node %u is back, without servers", node->index);
}

void haproxy_restart(struct node *node, int64_t for_ms)
{
    world_log("node %u restarts", node->index);
    for (struct server *s = node->servers; s; s = s->next) {
        if (s->deleted)
            continue;
        haproxy_break_requests(s);
        s->deleted = true;
    }
    world.dirty = true;
    node->down = true;
    node->last_pick = NULL;
    world_at(for_ms, start_again, node);
}

/* ---- cookies ---- */

struct cookie_fact *cookie_find(const char *value)
{
    struct known_cookie *known = NULL;
    HASH_FIND_STR(cookies, value, known);
    return known ? &known->fact : NULL;
}

struct cookie_fact *cookie_of_request(const struct sim_request *request)
{
    static const char name[] = "AWSALB=";
    const char *header = request_header(request, "Cookie");
    const char *at = header ? strstr(header, name) : NULL;
    if (!at)
        return NULL;
    char *value = world_strdup(at + strlen(name));
    value[strcspn(value, "; ")] = '\0';
    return cookie_find(value);
}

static void give_cookies(struct forwarded *f, struct sim_answer *a)
{
    struct known_cookie *known = world_alloc(sizeof *known);
    const struct node *node = f->server->node;
    const char *age = "";
    known->fact.value =
        world_printf("%016" PRIx64 "%016" PRIx64, world_random(), world_random());
    known->fact.node = f->server->node;
    known->fact.server = f->server;
    known->fact.session = f->inner.container ? f->inner.container->session : NULL;
    known->fact.used_ms = world.now_ms;
    HASH_ADD_KEYPTR(hh, cookies, known->fact.value, strlen(known->fact.value), known);
    if (node->cookie_age_s > 0)
        age = world_printf("; Max-Age=%" PRId64, node->cookie_age_s);
    answer_add_header(a, "Set-Cookie",
                      world_printf("AWSALB=%s; Path=/%s", known->fact.value, age));
    answer_add_header(
        a, "Set-Cookie",
        world_printf("AWSALBCORS=%s; Path=/; SameSite=None%s", known->fact.value, age));
}

static bool usable(const struct server *s)
{
    return !s->deleted && !s->maint && s->up;
}

static struct server *pick_unhealthy(struct node *node)
{
    for (struct server *s = node->fails_open ? node->servers : NULL; s; s = s->next)
        if (!s->deleted && !s->draining && !s->maint)
            return s;
    return NULL;
}

static struct server *sticky_target(struct node *node, struct sim_request *request)
{
    struct cookie_fact *fact = cookie_of_request(request);
    if (!fact || (node->own_cookies && fact->node != node))
        return NULL;
    if (node->cookie_age_s > 0 && world.now_ms - fact->used_ms > node->cookie_age_s * 1000)
        return NULL;
    fact->used_ms = world.now_ms;
    struct server *s =
        fact->node == node ? fact->server : haproxy_find(node, fact->server->name);
    return s && usable(s) ? s : NULL;
}

/* ---- traffic ---- */

static struct server *pick_random(struct node *node)
{
    unsigned count = 0;
    for (struct server *s = node->servers; s; s = s->next)
        count += usable(s);
    if (count == 0)
        return NULL;
    int64_t skip = world_pick(0, count - 1);
    for (struct server *s = node->servers; s; s = s->next)
        if (usable(s) && skip-- == 0)
            return s;
    return NULL;
}

static struct server *pick_next(struct node *node)
{
    struct server *first = NULL;
    bool passed = node->last_pick == NULL;
    for (struct server *s = node->servers; s; s = s->next) {
        if (usable(s) && passed)
            return s;
        if (usable(s) && !first)
            first = s;
        passed |= s == node->last_pick;
    }
    return first;
}

static struct server *choose(struct node *node, struct sim_request *request)
{
    struct server *sticky = sticky_target(node, request);
    if (sticky)
        return sticky;
    struct server *s = node->random_picks ? pick_random(node) : pick_next(node);
    struct cookie_fact *fact = cookie_of_request(request);
    node->last_pick = s;
    if (!s)
        s = pick_unhealthy(node);
    if (s && fact)
        world_log("node %u re-routes a cookie of %s to %s", node->index,
                  fact->session ? fact->session : "-", s->name);
    if (s && fact && node->rehomes_cookies && fact->node == node)
        fact->server = s;
    return s;
}

static void answered_inside(struct sim_request *inner, struct sim_answer *a)
{
    struct forwarded *f = inner->arg;
    if (!f->server)
        return;
    if (a->status == 0) {
        answer_client(f, 502);
        return;
    }
    give_cookies(f, a);
    f->server->busy--;
    f->server = NULL;
    f->request->container = inner->container;
    f->request->answered(f->request, a);
}

static void lose_patience(void *arg)
{
    answer_client(arg, 504);
}

static void reach_container(void *arg)
{
    struct forwarded *f = arg;
    if (!f->server)
        return;
    struct container *c = container_at(f->server->ip, f->server->port);
    if (!c || !c->listening) {
        answer_client(f, 503);
        return;
    }
    container_receive(c, &f->inner);
}

static void refuse(void *arg)
{
    struct sim_request *request = arg;
    request->answered(request, answer_new(503, "<html>no server is available</html>"));
}

static void break_off(void *arg)
{
    struct sim_request *request = arg;
    request->answered(request, answer_new(0, ""));
}

void haproxy_receive(struct node *node, struct sim_request *request)
{
    if (node->down) {
        world_at(1, break_off, request);
        return;
    }
    request->node = node;
    struct server *s = choose(node, request);
    if (!s) {
        world_at(1, refuse, request);
        return;
    }
    struct forwarded *f = world_alloc(sizeof *f);
    f->server = s;
    f->request = request;
    f->inner = *request;
    f->inner.answered = answered_inside;
    f->inner.arg = f;
    f->next = s->requests;
    s->requests = f;
    s->busy++;
    books_forwarded(s, request);
    world_at(world_pick(0, 2), reach_container, f);
    world_at(node->server_timeout_ms, lose_patience, f);
}
