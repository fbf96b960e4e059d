/* src/http/client.h over the simulated network: connections per share, faults, time-outs. */
#include "http/client.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "books.h"
#include "container.h"
#include "haproxy.h"
#include "network.h"
#include "service.h"
#include "static.h"
#include "sim_aws.h"
#include "trap.h"
#include "world.h"

enum fate {
    FATE_FINE,
    FATE_REFUSED,     /* no connection */
    FATE_LOST,        /* breaks before the peer read it */
    FATE_ANSWER_LOST, /* breaks after the peer acted */
    FATE_LATE,
    FATE_DOUBLED,
    FATE_LYING,
    FATE_CUT_BODY,
    FATE_5XX,        /* a balancer's error, the peer acted */
    FATE_5XX_UNSENT, /* the same, and it did not */
    FATE_TOO_LATE,   /* after every deadline */
};
static const char *const fate_names[] = {"",     "refused",    "lost",    "answer-lost",
                                         "late", "doubled",    "lying",   "cut-body",
                                         "5xx",  "5xx-unsent", "too-late"};

struct http_client {
    struct instance *me;
    struct http_client_stats stats;
    int64_t probes_in_flight;
};

struct http_share {
    struct http_client *client;
    uint64_t id;
    unsigned max_idle, in_flight;
    struct connection *connections;
};

struct http_exchange {
    struct instance *me;
    uint64_t id;
    struct http_share *share; /* NULL once it is over for cleat */
    http_done_fn *done;
    void *arg;
    struct connection *connection;
    struct sim_request request;
    const char *ip; /* of a service: its name */
    uint16_t port;
    service_fn *service;
    http_data_fn *on_data;
    bool begun;          /* a streamed answer's head is there */
    const char *session; /* identity that the request carries */
    bool is_probe;
    enum fate fate;
    size_t max_answer;
    int64_t started_ms;
};

#define PIECE_MS 2 /* all pieces of an answer take as long: they stay in their order */

static uint64_t share_count, exchange_count, connection_count;
static struct connection *all_connections;

/* ---- what http_start is given ---- */

static const char *parse_url(struct http_exchange *x, const char *url)
{
    const char *host = strstr(url, "://");
    if (!host || (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0))
        return NULL;
    host += strlen("://");
    size_t len = strcspn(host, ":/");
    char *name = world_strdup(host);
    name[len] = '\0';
    x->ip = name;
    x->port = host[len] == ':' ? (uint16_t)strtoul(host + len + 1, NULL, 10) : 0;
    if (!x->port && strncmp(url, "http:", 5) == 0)
        x->port = 80;
    const char *slash = strchr(host, '/');
    return slash ? slash : "/";
}

static const struct http_header *copy_headers(const struct http_header *from, size_t count)
{
    struct http_header *to = world_alloc(sizeof *to * (count + 1));
    for (size_t i = 0; i < count; i++)
        to[i] = (struct http_header){world_strdup(from[i].name), world_strdup(from[i].value)};
    return to;
}

static void copy_request(struct http_exchange *x, const struct http_request *from,
                         const char *path)
{
    struct sim_request *to = &x->request;
    to->method = world_strdup(from->method);
    to->path = world_strdup(path);
    to->headers = copy_headers(from->headers, from->header_count);
    to->header_count = from->header_count;
    char *body = world_alloc(from->body_len + 1);
    if (from->body_len)
        memcpy(body, from->body, from->body_len);
    to->body = body;
    to->body_len = from->body_len;
    to->to_ip = x->ip;
    to->coordinator_life = world.me->life;
    to->arg = x;
}

static enum fate trapped_fate(const struct http_exchange *x)
{
    static const enum fate fates[MISHAPS] = {[MISHAP_ERROR] = FATE_5XX_UNSENT,
                                             [MISHAP_REFUSED] = FATE_REFUSED,
                                             [MISHAP_ANSWER_LOST] = FATE_ANSWER_LOST,
                                             [MISHAP_LATE] = FATE_TOO_LATE};
    enum mishap mishap = trap_request(&x->request, x->service != NULL);
    bool by_balancer = network_frontend(x->ip, x->port) != NULL;
    if (x->service && trap_engine_is_away())
        return FATE_REFUSED;
    return mishap == MISHAP_ANSWER_LOST && by_balancer ? FATE_5XX : fates[mishap];
}

static enum fate draw_fate(const struct http_exchange *x)
{
    const struct faults *f = &world.faults;
    enum fate trapped = trapped_fate(x);
    if (trapped != FATE_FINE)
        return trapped;
    const struct {
        unsigned chance;
        enum fate fate;
    } fates[] = {
        {f->http_refused, FATE_REFUSED},
        {f->http_lost, FATE_LOST},
        {f->http_answer_lost, FATE_ANSWER_LOST},
        {f->http_truncated, FATE_ANSWER_LOST},
        {f->http_late, FATE_LATE},
        {x->service ? 0 : f->http_doubled, FATE_DOUBLED},
        {x->service ? 0 : f->http_lying, FATE_LYING},
        {f->http_cut_body, FATE_CUT_BODY},
    };
    for (size_t i = 0; i < sizeof fates / sizeof *fates; i++)
        if (world_fault(fates[i].chance))
            return fates[i].fate;
    if ((x->service || network_frontend(x->ip, x->port)) && world_fault(f->http_5xx))
        return world_chance(5000) ? FATE_5XX : FATE_5XX_UNSENT;
    return FATE_FINE;
}

/* ---- connections ---- */

static struct connection *idle_connection(struct http_share *share, const char *peer)
{
    for (struct connection *c = share->connections; c; c = c->next)
        if (c->open && !c->busy && strcmp(c->peer, peer) == 0)
            return c;
    return NULL;
}

static struct connection *strangers_connection; /* sabotage: the last one of anybody's */
static const char *strangers_keys;              /* sabotage: the first ones */

static struct connection *connect_to(struct http_exchange *x)
{
    char peer[64];
    snprintf(peer, sizeof peer, "%s:%u", x->ip, x->port);
    struct connection *c = idle_connection(x->share, peer);
    if (world.sabotage == SABOTAGE_SHARED_CONNECTION && strangers_connection &&
        strcmp(strangers_connection->peer, peer) == 0)
        c = strangers_connection;
    if (!c) {
        c = world_alloc(sizeof *c);
        c->id = ++connection_count + 32768;
        c->open = true;
        c->share = x->share->id;
        mem_copy_string(c->peer, sizeof c->peer, peer);
        c->next = x->share->connections;
        x->share->connections = c;
        c->next_of_all = all_connections;
        all_connections = c;
        x->share->client->stats.connections_opened++;
        network_books.connections++;
        strangers_connection = c;
    }
    c->busy = true;
    return c;
}

static void close_surplus(struct http_share *share)
{
    unsigned idle = 0;
    for (struct connection *c = share->connections; c; c = c->next)
        if (c->open && !c->busy && ++idle > share->max_idle)
            c->open = false;
}

/* The exchange is over for cleat; what travels goes on. */
static void detach(struct http_exchange *x, bool keep_connection)
{
    struct http_share *share = x->share;
    x->share = NULL;
    share->in_flight--;
    share->client->probes_in_flight -= x->is_probe;
    x->connection->busy = false;
    if (!keep_connection)
        x->connection->open = false;
    close_surplus(share);
}

/* ---- the end of an exchange ---- */

static void finish(struct http_exchange *x, struct http_answer *answer)
{
    if (!x->share)
        return;
    detach(x, answer->error.code == ERR_NONE);
    snprintf(answer->connection, sizeof answer->connection, "127.0.0.1:%" PRIu64,
             answer->error.code == ERR_CONNECT ? 0 : x->connection->id);
    if (answer->error.code == ERR_CONNECT)
        answer->connection[0] = '\0';
    answer->elapsed_ms = world.now_ms - x->started_ms;
    world_log("http %" PRIu64 " done %s %d", x->id, error_name(answer->error.code),
              answer->status);
    sim_loop_enter(x->me);
    x->done(x->arg, answer);
    world_point("after an answer");
}

static void fail(struct http_exchange *x, enum error_code code, bool sent, const char *why)
{
    struct http_answer answer = {.sent = sent, .refused = code == ERR_CONNECT};
    error_set(&answer.error, code, "%s:%u: %s", x->ip, x->port, why);
    finish(x, &answer);
}

static void fail_refused(void *arg)
{
    fail(arg, ERR_CONNECT, false, "connection refused");
}

static void fail_reset(void *arg)
{
    fail(arg, ERR_RESET, true, "the connection broke");
}

static void fail_timeout(void *arg)
{
    fail(arg, ERR_TIMEOUT, true, "no answer in time");
}

static void fail_unbegun(void *arg)
{
    struct http_exchange *x = arg;
    if (!x->begun)
        fail_timeout(x);
}

/* ---- the answer ---- */

struct delivery {
    struct http_exchange *exchange;
    struct sim_answer *answer;
};

static void deliver(void *arg)
{
    struct delivery *d = arg;
    struct http_exchange *x = d->exchange;
    if (!x->share)
        return;
    struct http_answer answer = {.sent = true,
                                 .status = d->answer->status,
                                 .body = d->answer->body,
                                 .body_len = strlen(d->answer->body),
                                 .headers = d->answer->headers,
                                 .header_count = d->answer->header_count};
    if (x->on_data && x->begun)
        answer.body = "", answer.body_len = 0;
    if (answer.body_len > x->max_answer) {
        fail(x, ERR_TOO_LARGE, true, "the answer is too large");
        return;
    }
    if (!x->service)
        books_answer(&x->request, x->session, d->answer);
    finish(x, &answer);
}

static void set_header(struct sim_answer *a, const char *name, const char *value)
{
    for (size_t i = 0; i < a->header_count; i++)
        if (strcasecmp(a->headers[i].name, name) == 0)
            a->headers[i].value = value;
}

/* What a liar between the peers can do without the secret. With another session's or attempt's
 * name in front of a right proof nothing is gained: the proof says who it was. */
static void spoil(struct sim_answer *a)
{
    static const char made_up[] =
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const struct container *stranger = containers;
    while (stranger && (stranger == a->from || world_chance(5000)))
        stranger = stranger->next;
    switch (world_pick(0, 4)) {
    case 0:
        set_header(a, PROOF_HEADER_PROOF, "");
        a->status = a->status == 200 ? 500 : 200;
        a->honest = false;
        break;
    case 1:
        set_header(a, PROOF_HEADER_PROOF, made_up);
        a->honest = false;
        break;
    case 2:
        a->status = a->status == 200 ? 403 : 200;
        a->honest = false;
        break;
    case 3:
        set_header(a, PROOF_HEADER_SESSION, stranger ? stranger->session : "nobody");
        break;
    default:
        set_header(a, PROOF_HEADER_ATTEMPT, "77");
    }
}

/* Sabotage: another output under the container's own proof, which does not cover bodies. */
static const char *forge(const char *body)
{
    char *copy = world_strdup(body), *at = strstr(copy, "ran in container");
    if (at)
        memcpy(at, "is a forged text", strlen("ran in container"));
    return copy;
}

static void answered(struct sim_request *request, struct sim_answer *a)
{
    struct http_exchange *x = request->arg;
    int64_t delay_ms = x->on_data ? PIECE_MS : world_pick(1, 10);
    if (request->is_double)
        return;
    world.me = x->me;
    if (x->share)
        world_point("before an answer");
    if (a->status == 0 || x->fate == FATE_ANSWER_LOST) {
        world_at(delay_ms, fail_reset, x);
        return;
    }
    if (x->fate == FATE_LYING && a->from && !a->from->plain)
        spoil(a);
    if (x->fate == FATE_CUT_BODY && a->body[0]) {
        size_t len = strlen(a->body);
        a->body = world_printf("%.*s", (int)(len / 2), a->body);
    }
    if (world.sabotage == SABOTAGE_FORGED_RESULT && strcmp(request->path, "/execute") == 0)
        a->body = forge(a->body);
    if (x->fate == FATE_5XX) {
        static const int statuses[] = {500, 502, 504};
        a = answer_new(statuses[world_pick(0, 2)], "<html>the balancer is sorry</html>");
    }
    if (x->fate == FATE_LATE)
        delay_ms += world_pick(500, 90000);
    if (x->fate == FATE_TOO_LATE)
        delay_ms += TRAP_LATE_MS;
    struct delivery *d = world_alloc(sizeof *d);
    d->exchange = x;
    d->answer = a;
    world_at(delay_ms, deliver, d);
}

/* ---- an answer that comes in pieces ---- */

struct piece {
    struct http_exchange *exchange;
    const char *text;
};

static void deliver_piece(void *arg)
{
    struct piece *p = arg;
    struct http_exchange *x = p->exchange;
    if (!x->share)
        return;
    x->begun = true;
    sim_loop_enter(x->me);
    x->on_data(x->arg, p->text, strlen(p->text));
}

static void streamed(struct sim_request *request, const char *text)
{
    struct http_exchange *x = request->arg;
    if (!x->on_data) {
        world_violate("SIM", "a streamed answer to %s, which does not take one", request->path);
        return;
    }
    struct piece *p = world_alloc(sizeof *p);
    *p = (struct piece){x, world_strdup(text)};
    world_at(PIECE_MS, deliver_piece, p);
}

static bool is_heard(const struct sim_request *request)
{
    const struct http_exchange *x = request->arg;
    return x->share != NULL;
}

/* ---- the way there ---- */

static void hand_over(struct http_exchange *x, struct sim_request *request)
{
    struct node *node = network_frontend(x->ip, x->port);
    struct container *container = node ? NULL : container_at(x->ip, x->port);
    if (node && node->header_value)
        node = alb_choose(node, request);
    request->answered = answered;
    request->streamed = streamed;
    request->is_heard = is_heard;
    if (x->service)
        x->service(request);
    else if (node)
        haproxy_receive(node, request);
    else if (container && container->listening)
        container_receive(container, request);
    else if (static_listens(x->ip, x->port))
        service_answer(request, 403, "{}"); /* a host that is free */
    else
        world_at(1, fail_reset, x);
}

static void arrive(void *arg)
{
    struct http_exchange *x = arg;
    if (x->fate == FATE_LOST) {
        world_at(world_pick(0, 3000), fail_reset, x);
        return;
    }
    if (x->fate == FATE_5XX_UNSENT) {
        struct delivery *d = world_alloc(sizeof *d);
        d->exchange = x;
        d->answer = answer_new(world_chance(5000) ? 503 : 502, "<html>nobody there</html>");
        world_at(world_pick(1, 10), deliver, d);
        return;
    }
    if (x->fate == FATE_DOUBLED && !container_habits.plain) {
        struct sim_request *copy = world_alloc(sizeof *copy);
        *copy = x->request;
        copy->is_double = true;
        hand_over(x, copy);
    }
    hand_over(x, &x->request);
}

static void count_probe(struct http_exchange *x)
{
    x->is_probe = !x->session && network_frontend(x->ip, x->port) != NULL;
    struct http_client *client = x->share->client;
    client->probes_in_flight += x->is_probe;
    if (client->probes_in_flight > books_limits.probes_in_flight)
        world_violate("I8", "%" PRId64 " probes are under way at once",
                      client->probes_in_flight);
}

static void check_request(const struct http_request *r, const struct http_exchange *x)
{
    if (r->connect_timeout_ms <= 0 || r->first_byte_timeout_ms <= 0 || r->total_timeout_ms <= 0)
        world_violate("I8", "%s %s has no deadline", r->method, r->url);
    if (r->max_answer == 0 || r->max_answer > (size_t)1 << 30)
        world_violate("I8", "%s %s has no cap on its answer", r->method, r->url);
    if (x->share->in_flight > 64)
        world_violate("I8", "share %" PRIu64 " has %u requests in flight", x->share->id,
                      x->share->in_flight);
    if (!x->service)
        books_request(&x->request, x->session, x->connection, network_frontend(x->ip, x->port));
}

static void set_request_header(struct sim_request *r, const char *name, const char *value)
{
    struct http_header *headers = (struct http_header *)(uintptr_t)r->headers;
    for (size_t i = 0; i < r->header_count; i++)
        if (strcasecmp(headers[i].name, name) == 0)
            headers[i].value = value;
}

/* Sabotage: the keys of the first session that was given some go to all others, too, each time
 * under the right proof. */
static void swap_keys(struct http_exchange *x)
{
    struct sim_request *r = &x->request;
    const char *session = request_header(r, PROOF_HEADER_SESSION);
    const char *attempt = request_header(r, PROOF_HEADER_ATTEMPT);
    const char *nonce = request_header(r, PROOF_HEADER_NONCE);
    const struct container *c = session ? container_of_session(session) : NULL;
    char proof[PROOF_HEX_SIZE];
    if (!c || !attempt || !nonce)
        return;
    if (!strangers_keys)
        strangers_keys = r->body;
    json_t *keys = json_loads(strangers_keys, 0, NULL);
    json_object_set_new(keys, "session_id", json_string(session));
    char *text = json_dumps(keys, JSON_COMPACT);
    r->body = world_strdup(text);
    r->body_len = strlen(text);
    free(text);
    json_decref(keys);
    proof_request(proof, c->secret, r->method, r->path, session,
                  (unsigned)strtoul(attempt, NULL, 10), nonce, r->body, r->body_len);
    set_request_header(r, PROOF_HEADER_PROOF, world_strdup(proof));
}

static void depart(struct http_exchange *x, const struct http_request *from)
{
    bool there = x->service || network_frontend(x->ip, x->port) || container_at(x->ip, x->port);
    int64_t patience_ms = from->first_byte_timeout_ms < from->total_timeout_ms
                              ? from->first_byte_timeout_ms
                              : from->total_timeout_ms;
    const struct container *c = container_at(x->ip, x->port);
    there = there || static_listens(x->ip, x->port);
    if (x->fate == FATE_REFUSED || !there || (c && !c->listening && !x->service)) {
        world_at(world_pick(0, 5), fail_refused, x);
        return;
    }
    world_at(patience_ms, x->on_data ? fail_unbegun : fail_timeout, x);
    if (x->on_data)
        world_at(from->total_timeout_ms, fail_timeout, x);
    world_at(world_pick(1, 10), arrive, x);
}

/* ---- client.h ---- */

struct http_exchange *http_start(struct http_share *share, const struct http_request *from,
                                 http_done_fn *done, void *arg)
{
    struct http_exchange *x = world_alloc(sizeof *x);
    x->me = world.me;
    x->id = ++exchange_count;
    x->share = share;
    x->done = done;
    x->arg = arg;
    x->max_answer = from->max_answer;
    x->started_ms = world.now_ms;
    const char *path = parse_url(x, from->url);
    if (!path)
        world_violate("SIM", "a URL that the simulation cannot read: %s", from->url);
    if (from->unix_socket)
        x->ip = world_strdup(from->unix_socket), x->port = 0;
    x->service = service_at(x->ip);
    x->on_data = from->on_data;
    if (!x->service)
        x->service = static_service(x->ip, x->port, path ? path : "/");
    copy_request(x, from, path ? path : "/");
    x->request.is_signed = from->sign != NULL && world.sabotage != SABOTAGE_UNSIGNED;
    x->connection = connect_to(x);
    share->in_flight++;
    share->client->stats.exchanges++;
    world_point("before a request");
    if (world.frozen || !path)
        return x;
    x->fate = draw_fate(x);
    if (world.sabotage == SABOTAGE_SWAPPED_COOKIE && strcmp(x->request.path, "/execute") == 0)
        set_request_header(&x->request, "Cookie", "AWSALB=never-proven");
    if (world.sabotage == SABOTAGE_STRANGERS_KEYS &&
        strcmp(x->request.path, "/session/credentials") == 0)
        swap_keys(x);
    x->session = x->service ? NULL : books_identity(&x->request);
    world_log("http %" PRIu64 " %s %s:%u%s share %" PRIu64 " conn %" PRIu64 " session %s %s",
              x->id, x->request.method, x->ip, x->port, x->request.path, share->id,
              x->connection->id, x->session ? x->session : "-", fate_names[x->fate]);
    count_probe(x);
    check_request(from, x);
    depart(x, from);
    return x;
}

void http_cancel(struct http_exchange *x)
{
    if (x->share)
        detach(x, false);
    else
        world_violate("SIM", "http %" PRIu64 " is cancelled after it was done", x->id);
}

struct http_client *http_client_new(struct loop *loop)
{
    (void)loop;
    struct http_client *client = mem_alloc(sizeof *client);
    client->me = world.me;
    return client;
}

void http_client_free(struct http_client *client)
{
    if (client->stats.shares)
        world_violate("SIM", "%zu shares are left when the client is freed",
                      client->stats.shares);
    free(client);
}

void http_client_get_stats(const struct http_client *client, struct http_client_stats *out)
{
    *out = client->stats;
}

struct http_share *http_share_new(struct http_client *client, unsigned max_idle)
{
    struct http_share *share = mem_alloc(sizeof *share);
    share->client = client;
    share->id = ++share_count;
    share->max_idle = max_idle;
    client->stats.shares++;
    return share;
}

void http_share_free(struct http_share *share)
{
    if (share->in_flight)
        world_violate("SIM", "share %" PRIu64 " is freed with requests in flight", share->id);
    for (struct connection *c = share->connections; c; c = c->next)
        c->open = false;
    share->client->stats.shares--;
    free(share);
}

const char *http_answer_header(const struct http_answer *answer, const char *name)
{
    for (size_t i = 0; i < answer->header_count; i++)
        if (strcasecmp(answer->headers[i].name, name) == 0)
            return answer->headers[i].value;
    return NULL;
}

void sim_client_begin(void)
{
    share_count = exchange_count = connection_count = 0;
    strangers_connection = all_connections = NULL;
    strangers_keys = NULL;
}

const struct connection *network_kept_connection(void)
{
    for (const struct connection *c = all_connections; c; c = c->next_of_all)
        if (c->open && c->session)
            return c;
    return NULL;
}
