#include "books.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include "base/id.h"
#include "sim_aws.h"
#include "world.h"

struct known_session {
    struct session_facts facts;
    UT_hash_handle hh;
};

/* A container that was made before anybody asked for it, by its identity. */
struct warm_container {
    const char *identity, *owner; /* owner NULL: nobody's */
    int number;                   /* of its attempt, in its owner */
    bool stored;                  /* the journal has a row for it */
    bool given_up; /* its launch failed: the driver clears away what there is of it */
    UT_hash_handle hh;
};

struct known_nonce {
    const char *nonce;
    UT_hash_handle hh;
};

/* A container's own address, proven to cleat. */
struct proven_address {
    const char *session, *address;
    struct proven_address *next;
};

static struct known_session *sessions;
static struct warm_container *warm_containers;

/* An attempt whose container is being closed, by the journal. */
static struct orphan {
    const char *key; /* SESSION.NUMBER */
    bool is;
    UT_hash_handle hh;
} * orphans;

/* Whether the journal ever meant a container to be a balancer's target. */
static struct intent {
    const char *key; /* SESSION.NUMBER of the launch */
    bool registered;
    UT_hash_handle hh;
} * intents;
static struct known_nonce *nonces;
static struct proven_address *proven_addresses;
struct books_limits books_limits;

void books_begin(void)
{
    HASH_CLEAR(hh, sessions);
    HASH_CLEAR(hh, warm_containers);
    HASH_CLEAR(hh, orphans);
    HASH_CLEAR(hh, intents);
    HASH_CLEAR(hh, nonces);
    proven_addresses = NULL;
    books_limits = (struct books_limits){0};
}

/* ---- sessions ---- */

struct session_facts *books_session(const char *session)
{
    struct known_session *known = NULL;
    session = books_owner(session);
    HASH_FIND_STR(sessions, session, known);
    return known ? &known->facts : NULL;
}

struct session_facts *books_session_new(const char *session, const char *tenant,
                                        const char *life)
{
    struct known_session *known = world_alloc(sizeof *known);
    known->facts.session = world_strdup(session);
    known->facts.tenant = tenant;
    known->facts.life = life;
    known->facts.closing_ms = -1;
    HASH_ADD_KEYPTR(hh, sessions, known->facts.session, strlen(known->facts.session), known);
    return &known->facts;
}

/* ---- warm containers ---- */

static struct warm_container *find_warm(const char *identity)
{
    struct warm_container *w = NULL;
    HASH_FIND_STR(warm_containers, identity, w);
    return w;
}

bool books_is_warm(const char *session)
{
    const struct warm_container *w = find_warm(session);
    return w && !w->owner;
}

const char *books_owner(const char *session)
{
    const struct warm_container *w = find_warm(session);
    return w && w->owner ? w->owner : session;
}

bool books_is_of(const struct container *c, const char *session)
{
    return strcmp(books_owner(c->session), session) == 0;
}

unsigned books_containers(const char *session)
{
    unsigned count = 0;
    for (const struct container *c = containers; c; c = c->next)
        count += books_is_of(c, session);
    return count;
}

int books_attempt(const struct container *c)
{
    const struct warm_container *w = find_warm(c->session);
    return w && w->owner ? w->number : atoi(c->attempt);
}

static void note_warm(const char *key, const char *row)
{
    struct warm_container *w = find_warm(key);
    if (w) {
        w->stored = row != NULL;
        w->given_up = w->given_up || (row && strstr(row, "\"state\":\"FAILED\""));
    }
    if (w || !row || !strstr(row, "\"warm\":{"))
        return;
    w = world_alloc(sizeof *w);
    w->identity = world_strdup(key);
    w->stored = true;
    HASH_ADD_KEYPTR(hh, warm_containers, w->identity, strlen(w->identity), w);
}

static void note_owner(const char *key, const char *row)
{
    static const char field[] = "\"identity\":[\"";
    const char *at = strstr(row, field);
    struct warm_container *w =
        at ? find_warm(world_printf("%.*s", ID_SIZE - 1, at + strlen(field))) : NULL;
    const char *owner = world_printf("%.*s", ID_SIZE - 1, key);
    if (at && !w)
        world_violate("I6", "%s has a container that was never warm", owner);
    else if (w && w->owner && strcmp(w->owner, owner) != 0)
        world_violate("I6", "%s and %s have the container of %s", w->owner, owner, w->identity);
    if (!w || world.violation[0])
        return;
    w->owner = owner;
    w->number = atoi(key + ID_SIZE);
}

/* Of a container that was taken over, or claimed, the row names the launch. */
static void note_intent(const char *key, const char *row)
{
    static const char field[] = "\"identity\":[\"";
    const char *at = strstr(row, field);
    struct intent *i = NULL;
    if (at)
        key = world_printf("%.*s.%d", ID_SIZE - 1, at + strlen(field),
                           atoi(at + strlen(field) + ID_SIZE + 1));
    HASH_FIND_STR(intents, key, i);
    if (!i) {
        i = world_alloc(sizeof *i);
        i->key = world_strdup(key);
        HASH_ADD_KEYPTR(hh, intents, i->key, strlen(i->key), i);
    }
    i->registered = i->registered || strstr(row, "\"registered\":true");
}

static void note_orphan(const char *key, bool is)
{
    struct orphan *o = NULL;
    HASH_FIND_STR(orphans, key, o);
    if (!o && !is)
        return;
    if (!o) {
        o = world_alloc(sizeof *o);
        o->key = world_strdup(key);
        HASH_ADD_KEYPTR(hh, orphans, o->key, strlen(o->key), o);
    }
    o->is = is;
}

bool books_is_late_removal(const struct container *c, unsigned coordinator_life)
{
    struct orphan *o = NULL;
    const char *key = world_printf("%s.%s", c->session, c->attempt);
    HASH_FIND_STR(orphans, key, o);
    return coordinator_life != world.me->life && !c->executions && o && o->is;
}

void books_row(enum store_kind kind, const char *key, const char *row)
{
    if (kind == STORE_SESSION)
        note_warm(key, row);
    else if (kind == STORE_ATTEMPT && row)
        note_owner(key, row);
    if (kind == STORE_ATTEMPT && row)
        note_intent(key, row);
    if (kind == STORE_ATTEMPT)
        note_orphan(key, row && strstr(row, "\"orphan\":true"));
}

/* One commit moves it: there is no moment at which two rows own it. */
void books_commit_ends(void)
{
    struct warm_container *w, *next;
    HASH_ITER (hh, warm_containers, w, next)
        if (w->owner && w->stored)
            world_violate("I6", "%s has the container of %s, which waits for another", w->owner,
                          w->identity);
}

static void check_warm_max(const struct container *fresh)
{
    unsigned alive = 1;
    if (!books_is_warm(fresh->session))
        return;
    for (const struct container *c = containers; c; c = c->next)
        alive += c->alive && books_is_warm(c->session) && !find_warm(c->session)->given_up;
    if (alive > books_limits.warm_max)
        world_violate("WARM", "%u warm containers, at most %u are wanted", alive,
                      books_limits.warm_max);
}

/* ---- I1: connections; I2: what is sent ---- */

static const char *session_in_body(const struct sim_request *request)
{
    static const char field[] = "\"session_id\":\"";
    const char *at = strstr(request->body, field);
    if (!at)
        return NULL;
    char *session = world_strdup(at + strlen(field));
    session[strcspn(session, "\"")] = '\0';
    return session;
}

/* A plain container's /file-sync names a session by its place in the store alone:
 * "…/SESSION/input". */
static const char *session_in_prefix(const struct sim_request *request)
{
    const char *field = strstr(request->body, "\"s3_key_prefix\":\"");
    const char *end = field ? strstr(field, "/input") : NULL, *begin = end;
    while (begin && begin[-1] != '/' && begin[-1] != '"')
        begin--;
    return begin ? world_printf("%.*s", (int)(end - begin), begin) : NULL;
}

const char *books_identity(const struct sim_request *request)
{
    const char *session = request_header(request, PROOF_HEADER_SESSION);
    if (!session)
        session = session_in_body(request);
    if (!session && strcmp(request->path, "/file-sync") == 0)
        session = session_in_prefix(request);
    if (!session && request_header(request, "Cookie")) {
        const struct cookie_fact *fact = cookie_of_request(request);
        session = fact ? fact->session : NULL;
    }
    return session;
}

static void check_connection(const struct sim_request *request, const char *session,
                             struct connection *connection, const struct node *frontend)
{
    bool sweeps = frontend && !frontend->header_value;
    if (!session) {
        if (sweeps && connection->session)
            world_violate("I1", "connection %" PRIu64 " of session %s carries a probe",
                          connection->id, connection->session);
        connection->probed |= sweeps;
        return;
    }
    if (connection->probed)
        world_violate("I1", "connection %" PRIu64 " of a sweep carries %s %s of session %s",
                      connection->id, request->method, request->path, session);
    if (connection->session && strcmp(connection->session, session) != 0)
        world_violate("I1", "connection %" PRIu64 " carried requests of sessions %s and %s",
                      connection->id, connection->session, session);
    connection->session = world_strdup(session);
}

static bool is_harmless(const struct sim_request *request)
{
    return strcmp(request->path, "/container-info") == 0 ||
           strcmp(request->path, "/health") == 0;
}

static const char *slot_of(const struct sim_request *request)
{
    const char *slot = request_header(request, "X-Cleat-Slot");
    return world_printf("slot %s", slot ? slot : "none");
}

static bool is_address_proven(const char *session, const char *address)
{
    for (const struct proven_address *p = proven_addresses; p; p = p->next)
        if (strcmp(p->session, session) == 0 && strcmp(p->address, address) == 0)
            return true;
    return false;
}

static void check_proven(const struct sim_request *request, const char *session,
                         const struct connection *connection, const struct node *frontend)
{
    if (is_harmless(request))
        return;
    if (!session) {
        world_violate("I2", "%s %s without any identity", request->method, request->path);
        return;
    }
    if (frontend && !frontend->header_value) {
        const struct cookie_fact *fact = cookie_of_request(request);
        if (!fact || !fact->proven_for || strcmp(fact->proven_for, session) != 0)
            world_violate("I2", "%s %s of session %s leaves with a cookie that was not proven",
                          request->method, request->path, session);
        return;
    }
    const char *where = frontend ? slot_of(request) : connection->peer;
    if (!is_address_proven(session, where))
        world_violate("I2", "%s %s of session %s goes to %s, which was not proven",
                      request->method, request->path, session, where);
}

static void check_secret(const struct sim_request *request, const char *session)
{
    for (const struct container *c = containers; session && c; c = c->next) {
        if (strcmp(c->session, session) != 0)
            continue;
        bool found =
            strstr(request->body, c->secret_hex) || strstr(request->path, c->secret_hex);
        for (size_t i = 0; i < request->header_count; i++)
            found |= strstr(request->headers[i].value, c->secret_hex) != NULL;
        if (found)
            world_violate("I2", "the secret of session %s travels over HTTP", session);
    }
}

static void check_nonce(const struct sim_request *request)
{
    const char *nonce = request_header(request, PROOF_HEADER_NONCE);
    struct known_nonce *known = NULL;
    if (!nonce)
        return;
    HASH_FIND_STR(nonces, nonce, known);
    if (known) {
        world_violate("I2", "nonce %s is used twice", nonce);
        return;
    }
    known = world_alloc(sizeof *known);
    known->nonce = nonce;
    HASH_ADD_KEYPTR(hh, nonces, known->nonce, strlen(known->nonce), known);
}

/* A session that ends by itself (its lifetime, its container's death) is closing since then. */
static void note_completion(const struct sim_request *request, const char *session)
{
    struct session_facts *facts = session ? books_session(session) : NULL;
    if (facts && facts->closing_ms < 0 && strcmp(request->path, "/session/complete") == 0)
        facts->closing_ms = world.now_ms;
}

void books_request(const struct sim_request *request, const char *session,
                   struct connection *connection, const struct node *frontend)
{
    note_completion(request, session);
    check_connection(request, session, connection, frontend);
    check_proven(request, session, connection, frontend);
    check_secret(request, session);
    check_nonce(request);
}

void books_forwarded(const struct server *server, const struct sim_request *request)
{
    (void)server;
    network_books.requests++;
    if (strcmp(request->path, "/container-info") != 0)
        return;
    if (!request_header(request, "Cookie"))
        network_books.probes++;
    else
        network_books.confirms++;
}

/* ---- I2: what is proven; I4: what is confirmed ---- */

static void prove_cookies(const struct sim_request *request, const struct sim_answer *answer,
                          const char *session)
{
    static const char name[] = "AWSALB=";
    struct cookie_fact *fact = cookie_of_request(request);
    if (fact)
        fact->proven_for = session;
    for (size_t i = 0; i < answer->header_count; i++) {
        if (strncmp(answer->headers[i].value, name, strlen(name)) != 0)
            continue;
        char *value = world_strdup(answer->headers[i].value + strlen(name));
        value[strcspn(value, ";")] = '\0';
        fact = cookie_find(value);
        if (fact)
            fact->proven_for = session;
    }
}

static void prove_address(const char *session, const char *address)
{
    if (is_address_proven(session, address))
        return;
    struct proven_address *p = world_alloc(sizeof *p);
    p->session = session;
    p->address = address;
    p->next = proven_addresses;
    proven_addresses = p;
}

static bool says_uploaded(const struct sim_request *request, const struct sim_answer *answer)
{
    if (strcmp(request->path, "/health") == 0)
        return answer->from->plain && answer->status == 503;
    return strcmp(request->path, "/session/complete") == 0 && answer->status == 200 &&
           strstr(answer->body, "\"upload_completed\":true");
}

void books_answer(const struct sim_request *request, const char *session,
                  const struct sim_answer *answer)
{
    struct container *c = answer->from;
    bool slot = request->node && request->node->header_value;
    bool is_probe = request->node && !slot && !request_header(request, "Cookie");
    /* Without a session's headers the nonce alone asks for the proof; only its session can
     * check it. */
    if (!c || !answer->honest || is_probe || (session && strcmp(c->session, session) != 0))
        return;
    if (slot)
        prove_address(c->session, slot_of(request));
    else if (request->node)
        prove_cookies(request, answer, c->session);
    else
        prove_address(c->session, c->address);
    if (says_uploaded(request, answer))
        c->confirmed_to_cleat = true;
}

void books_file_read(const char *path)
{
    static const char manifest[] = "/manifest.json";
    size_t len = strlen(path), tail = strlen(manifest);
    if (len < tail || strcmp(path + len - tail, manifest) != 0)
        return;
    for (struct container *c = containers; c; c = c->next)
        if (c->upload == UPLOAD_DONE && strstr(path, c->session))
            c->confirmed_to_cleat = true;
}

/* ---- I3, I5, I6: containers ---- */

/* cleat chose this address, which no target of its own may lead to. */
static void check_given_out(const struct container *fresh)
{
    size_t owner = (size_t)(strstr(fresh->key, fresh->session) - fresh->key);
    for (struct node *node = nodes; node; node = node->next)
        for (struct server *s = node->servers; s; s = s->next)
            if (!s->deleted && s->port == fresh->port && strcmp(s->ip, fresh->ip) == 0 &&
                strncmp(s->name, fresh->key, owner) == 0 && !strstr(s->name, fresh->session))
                world_violate("I3", "%s is given out while node %u still lists it as %s",
                              fresh->address, node->index, s->name);
}

static const struct intent *intent_of(const struct container *c)
{
    struct intent *i = NULL;
    const char *key = world_printf("%s.%s", c->session, c->attempt);
    HASH_FIND_STR(intents, key, i);
    return i;
}

void books_container_starts(const struct container *fresh)
{
    const struct session_facts *facts = books_session(fresh->session);
    world.dirty = true;
    if (fresh->planted)
        return;
    check_warm_max(fresh);
    if (!intent_of(fresh))
        world_violate("I6", "attempt %s of %s is launched before the journal knows of it",
                      fresh->attempt, fresh->session);
    if (facts && facts->closed && !fresh->remote && !books_limits.forgetful)
        world_violate("I6", "a container starts for %s, which is closed", fresh->session);
    for (const struct container *c = containers; c; c = c->next)
        if (c->alive && strcmp(c->session, fresh->session) == 0 &&
            strcmp(c->attempt, fresh->attempt) == 0)
            world_violate("I6", "attempt %s of %s has two containers", fresh->attempt,
                          fresh->session);
    if (!fresh->remote || fresh->leased)
        check_given_out(fresh);
}

static int64_t closing_for_ms(const struct container *c, const struct session_facts *facts)
{
    return world.now_ms - (facts && facts->closing_ms >= 0 ? facts->closing_ms : c->spawned_ms);
}

/* An engine gives the address of a dead container out again at once; the target that is left of
 * it leads to a stranger, which the proof tells. */
static bool is_stale(const struct server *s)
{
    if (ecs_has_left(s->name))
        return true;
    for (const struct container *c = containers; c; c = c->next)
        if (c->remote && !c->alive && strcmp(c->key, s->name) == 0)
            return true;
    return false;
}

/* Where the engine gives an address again at once, a request to register its last holder may
 * arrive after that: such a target is not this container's, which was to have none. */
static bool has_no_target(const struct container *c)
{
    const struct intent *i = intent_of(c);
    return c->remote && i && !i->registered;
}

/* No balancer sends requests to a container that is being stopped. */
static void check_deregistered(const struct container *c, const struct session_facts *facts)
{
    if (has_no_target(c))
        return;
    for (const struct node *node = nodes; node; node = node->next)
        for (const struct server *s = node->servers; s; s = s->next)
            if (!s->deleted && !s->maint && !s->draining && strcmp(s->ip, c->ip) == 0 &&
                s->port == c->port && !is_stale(s) &&
                closing_for_ms(c, facts) < books_limits.salvage_limit_ms)
                world_violate("I4", "container %u is stopped while node %u routes to it",
                              c->index, node->index);
}

void books_container_stopped(struct container *c, int signo)
{
    const struct session_facts *facts = books_session(c->session);
    if (c->stop_asked || !c->alive)
        return;
    c->stop_asked = true;
    check_deregistered(c, facts);
    world_log("cleat stops container %u with %d%s", c->index, signo,
              c->confirmed_to_cleat ? "" : ", unconfirmed");
    if (!c->executions || c->confirmed_to_cleat)
        return;
    if (closing_for_ms(c, facts) < books_limits.salvage_limit_ms)
        world_violate("I4",
                      "container %u of %s is stopped without a confirmed upload after %" PRId64
                      " ms",
                      c->index, c->session, closing_for_ms(c, facts));
}

void books_acts_on(const char *key)
{
    size_t len = strlen(world.me->owner);
    if (strncmp(key, world.me->owner, len) != 0 || key[len] != '.')
        world_violate("OWNER", "%s touches %s", world.me->owner, key);
}

static void check_addresses(void)
{
    for (const struct container *a = containers; a; a = a->next)
        for (const struct container *b = a->alive ? a->next : NULL; b; b = b->next)
            if (b->alive && strcmp(a->address, b->address) == 0)
                world_violate("I3", "containers %u and %u live at %s", a->index, b->index,
                              a->address);
}

static void check_node(const struct node *node)
{
    for (const struct server *a = node->servers; a; a = a->next)
        for (const struct server *b = a->deleted ? NULL : a->next; b; b = b->next)
            if (!b->deleted && a->port == b->port && strcmp(a->ip, b->ip) == 0 &&
                !is_stale(a) && !is_stale(b))
                world_violate("I3", "node %u lists %s:%u as %s and as %s", node->index, a->ip,
                              a->port, a->name, b->name);
}

void books_check(void)
{
    if (!world.dirty)
        return;
    world.dirty = false;
    check_addresses();
    for (const struct node *node = nodes; node; node = node->next)
        check_node(node);
}

/* ---- I9 ---- */

static const struct session_facts *facts_of_target(const char *name)
{
    struct known_session *known, *next;
    HASH_ITER (hh, sessions, known, next)
        if (strstr(name, known->facts.session))
            return &known->facts;
    struct warm_container *w, *after;
    HASH_ITER (hh, warm_containers, w, after)
        if (w->owner && strstr(name, w->identity))
            return books_session(w->owner);
    return NULL;
}

void books_target_added(const struct server *fresh)
{
    const struct session_facts *mine = facts_of_target(fresh->name);
    world.dirty = true;
    if (!container_habits.plain || !mine)
        return;
    for (const struct server *s = fresh->node->servers; s; s = s->next) {
        const struct session_facts *theirs = s->deleted ? NULL : facts_of_target(s->name);
        if (theirs && strcmp(theirs->tenant, mine->tenant) != 0)
            world_violate("I9",
                          "containers without proof of tenants %s and %s share a target group",
                          mine->tenant, theirs->tenant);
    }
}

/* ---- executions ---- */

unsigned books_runs(const char *session, const char *execution_id)
{
    unsigned runs = 0;
    for (const struct container *c = containers; c; c = c->next) {
        const struct execution *e =
            books_is_of(c, session) ? executor_find(c, execution_id) : NULL;
        runs += e ? e->runs : 0;
    }
    return runs;
}

/* A program begins with the name of the life that it belongs to. */
void books_execution_starts(const struct container *c, const struct execution *e)
{
    const struct session_facts *facts = books_session(c->session);
    if (books_is_warm(c->session))
        world_violate("I2", "\"%s\" runs in a container that nobody took", e->request);
    if (!facts)
        return;
    size_t len = strlen(facts->life);
    if (strncmp(e->request, facts->life, len) != 0 || e->request[len] != ' ')
        world_violate("I2", "\"%s\" runs in a container of %s", e->request, facts->life);
    if (books_runs(facts->session, e->id) > 1)
        world_violate("I6", "execution %s of %s runs a second time", e->id, facts->life);
    if (facts->closed)
        world_violate("I7", "execution %s runs after %s was closed", e->id, facts->life);
}

/* ---- the end ---- */

bool books_session_lost_files(const char *session)
{
    for (const struct container *c = containers; c; c = c->next)
        if (books_is_of(c, session) && !c->alive && c->uploaded < c->artifacts)
            return true;
    return false;
}

void books_check_end(void)
{
    const struct connection *kept = network_kept_connection();
    if (kept)
        world_violate("I8", "connection %" PRIu64 " of %s outlives its session", kept->id,
                      kept->session);
    for (const struct container *c = containers; c; c = c->next)
        if (c->alive)
            world_violate("I5", "container %u of %s at %s is left", c->index, c->session,
                          c->address);
    for (const struct node *node = nodes; node; node = node->next)
        for (const struct server *s = node->servers; s; s = s->next)
            if (!s->deleted)
                world_violate("I5", "node %u still lists %s", node->index, s->name);
}
