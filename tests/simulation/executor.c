/* The simulated container: life and death, who is allowed what, and who answers. */
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "books.h"
#include "container.h"
#include "files.h"
#include "haproxy.h"
#include "world.h"

struct held {
    struct sim_request *request;
    struct held *next;
};

struct container *containers;
struct container_habits container_habits;
static struct container **containers_end;
static unsigned container_count;

void containers_begin(void)
{
    containers = NULL;
    containers_end = &containers;
    container_count = 0;
    container_habits = (struct container_habits){
        .start_min_ms = 20, .start_max_ms = 400, .upload_min_ms = 5, .upload_max_ms = 800};
}

/* ---- life ---- */

static void start_listening(void *arg)
{
    struct container *c = arg;
    if (!c->alive)
        return;
    c->listening = true;
    world_log("container %u listens on %s", c->index, c->address);
}

static void die_by_itself(void *arg)
{
    struct container *c = arg;
    if (!c->alive)
        return;
    world_log("container %u dies by itself", c->index);
    container_end(c, SIGKILL);
}

static void wake_up(void *arg)
{
    container_hang(arg, false);
}

static void fall_asleep(void *arg)
{
    container_hang(arg, true);
    world_at(world_pick(500, 60000), wake_up, arg);
}

static void start_posing(void *arg)
{
    struct container *c = arg;
    const struct container *victim = containers;
    while (victim && (victim == c || !victim->alive))
        victim = victim->next;
    if (!c->alive || !victim)
        return;
    c->poses_as = victim->session;
    world_log("container %u: its user's code poses as %s", c->index, c->poses_as);
}

static void draw_fate(struct container *c)
{
    const struct faults *f = &world.faults;
    int64_t start_ms = world_pick(container_habits.start_min_ms, container_habits.start_max_ms);
    if (world_fault(f->spawn_slow))
        start_ms += world_pick(1000, 50000);
    if (world_fault(f->spawn_dies))
        world_at(world_pick(0, start_ms * 2), die_by_itself, c);
    else if (world_fault(f->spawn_dies_later))
        world_at(world_pick(500, 60000), die_by_itself, c);
    else if (world_fault(f->spawn_hangs))
        world_at(world_pick(0, 20000), fall_asleep, c);
    if (!c->plain && world_chance(container_habits.posing))
        world_at(world_pick(0, 5000), start_posing, c);
    if (!world_fault(f->spawn_never_listens))
        world_at(start_ms, start_listening, c);
}

struct container *container_start(const struct launch_order *order)
{
    struct container *c = world_alloc(sizeof *c);
    c->index = container_count++;
    c->pid = (pid_t)(1000 + c->index);
    c->key = world_strdup(order->key);
    c->session = world_strdup(order->session);
    c->attempt = world_strdup(order->attempt);
    c->secret_hex = world_strdup(order->secret);
    c->workspace = world_strdup(order->workspace);
    mem_copy_string(c->address, sizeof c->address, order->listen);
    mem_copy_string(c->ip, sizeof c->ip, order->listen);
    char *colon = strchr(c->ip, ':');
    if (!colon || !hex_decode(c->secret, sizeof c->secret, c->secret_hex)) {
        world_violate("SIM", "a container with address %s", c->address);
        return c;
    }
    *colon = '\0';
    c->port = (uint16_t)strtoul(colon + 1, NULL, 10);
    c->plain = container_habits.plain;
    c->remote = order->remote;
    c->leased = order->leased;
    c->planted = order->planted;
    c->alive = true;
    c->spawned_ms = world.now_ms;
    c->held_end = &c->held;
    world_log("container %u starts: %s attempt %s at %s", c->index, c->session, c->attempt,
              c->address);
    books_container_starts(c);
    *containers_end = c;
    containers_end = &c->next;
    draw_fate(c);
    return c;
}

static const char *secret_of(const char *session, unsigned attempt)
{
    uint8_t master[PROOF_SECRET_SIZE] = {0}, secret[PROOF_SECRET_SIZE];
    char hex[2 * PROOF_SECRET_SIZE + 1];
    const char *key = files_get("/simulated/state/master.key");
    char *line = world_strdup(key ? key : "");
    line[strcspn(line, "\n")] = '\0';
    hex_decode(master, sizeof master, line);
    proof_secret(secret, master, session, attempt);
    hex_encode(hex, secret, sizeof secret);
    return world_strdup(hex);
}

struct container *container_plant(const char *owner, const char *session, unsigned attempt,
                                  const char *address, bool with_targets)
{
    const char *key = world_printf("%s.%s.%u", owner, session, attempt);
    const char *workspace = world_printf("/simulated/state/workspaces/%s", key);
    struct launch_order order = {.session = session,
                                 .attempt = world_printf("%u", attempt),
                                 .secret = secret_of(session, attempt),
                                 .listen = address,
                                 .workspace = workspace,
                                 .key = key,
                                 .planted = true};
    struct container *c = container_start(&order);
    container_give_artifact(c);
    files_put(world_printf("%s/address", workspace), world_printf("%s\n", address));
    files_lock(world_printf("%s/lock", workspace), c);
    for (struct node *node = with_targets ? nodes : NULL; node; node = node->next) {
        struct server *s = haproxy_add_server(node, key, c->ip, c->port, 1000, 3, 2);
        s->passed = true;
        haproxy_enable(s);
    }
    return c;
}

void container_give_artifact(struct container *c)
{
    struct execution *e = world_alloc(sizeof *e);
    *e = (struct execution){.id = "planted",
                            .request = "",
                            .stdout_text = "",
                            .num = 1,
                            .state = EXECUTION_DONE,
                            .container = c,
                            .next = c->executions};
    c->executions = e;
    c->executions_done++;
    c->artifacts++;
}

struct container *container_at(const char *ip, uint16_t port)
{
    for (struct container *c = containers; c; c = c->next)
        if (c->alive && c->port == port && strcmp(c->ip, ip) == 0)
            return c;
    return NULL;
}

struct container *container_of_session(const char *session)
{
    struct container *found = NULL;
    for (struct container *c = containers; c; c = c->next)
        if (c->alive && books_is_of(c, books_owner(session)) &&
            (!found || books_attempt(c) >= books_attempt(found)))
            found = c;
    return found;
}

unsigned containers_alive(void)
{
    unsigned count = 0;
    for (const struct container *c = containers; c; c = c->next)
        count += c->alive;
    return count;
}

/* ---- death ---- */

static void break_waiters(struct container *c)
{
    struct sim_answer *broken = answer_new(0, "");
    for (struct held *h = c->held; h; h = h->next)
        h->request->answered(h->request, broken);
    c->held = NULL;
    c->held_end = &c->held;
    executor_break_waiters(c);
}

void container_end(struct container *c, int exit_status)
{
    if (!c->alive)
        return;
    c->alive = c->listening = c->hung = false;
    c->ended_ms = world.now_ms;
    c->exit_status = exit_status;
    world.dirty = true;
    world_log("container %u is gone, status %d", c->index, exit_status);
    break_waiters(c);
    files_unlock(c);
    if (c->on_end)
        c->on_end(c);
}

void container_end_first(void *unused)
{
    (void)unused;
    if (containers)
        container_end(containers, 9);
}

/* What could not be uploaded in the end is told by the status. */
static void exit_calmly(void *arg)
{
    struct container *c = arg;
    container_end(c, c->upload == UPLOAD_FAILED ? 1 << 8 : 0);
}

void container_exit_soon(struct container *c)
{
    world_at(world_pick(1, 300), exit_calmly, c);
}

static void on_term(struct container *c)
{
    struct session_facts *facts = books_session(books_owner(c->session));
    c->ending = true;
    if (executor_end_execution(c) && facts)
        facts->ended = true;
    if (!c->plain && c->executions && c->upload != UPLOAD_DONE) {
        if (c->upload != UPLOAD_RUNNING)
            executor_begin_upload(c, "");
    } else {
        container_exit_soon(c);
    }
}

void container_signal(struct container *c, int signo)
{
    if (!c->alive)
        return;
    world_log("container %u gets signal %d", c->index, signo);
    if (signo == SIGKILL && world.sabotage == SABOTAGE_IMMORTAL)
        files_unlock(c);
    else if (signo == SIGKILL)
        container_end(c, SIGKILL);
    else if (signo == SIGTERM && world.sabotage != SABOTAGE_IMMORTAL && !c->hung && !c->ending)
        on_term(c);
    else if (signo == SIGTERM)
        c->ending = true;
}

void container_refuse(struct container *c, bool refuses)
{
    if (!c->alive)
        return;
    c->listening = !refuses;
    world_log("container %u %s connections", c->index, refuses ? "refuses" : "takes");
}

void container_hang(struct container *c, bool hung)
{
    if (!c->alive || c->hung == hung)
        return;
    c->hung = hung;
    world_log("container %u %s", c->index, hung ? "hangs" : "wakes up");
    if (hung)
        return;
    struct held *waiting = c->held;
    c->held = NULL;
    c->held_end = &c->held;
    if (c->ending)
        on_term(c);
    for (; waiting; waiting = waiting->next)
        container_receive(c, waiting->request);
}

/* ---- answers ---- */

struct outgoing {
    struct container *container;
    struct sim_request *request;
    struct sim_answer *answer;
};

static void send_answer(void *arg)
{
    struct outgoing *out = arg;
    if (!out->container->alive)
        out->answer->status = 0;
    out->request->answered(out->request, out->answer);
}

static void send_later(struct container *c, struct sim_request *request,
                       struct sim_answer *answer)
{
    struct outgoing *out = world_alloc(sizeof *out);
    out->container = c;
    out->request = request;
    out->answer = answer;
    answer->from = c;
    world_at(world_pick(0, 4), send_answer, out);
}

void executor_answer(struct container *c, struct sim_request *request, int status,
                     const char *body)
{
    struct sim_answer *answer = answer_new(status, body);
    const char *nonce = request_header(request, PROOF_HEADER_NONCE);
    answer->honest = true;
    if (!c->plain) {
        answer_add_header(answer, PROOF_HEADER_SESSION, c->session);
        answer_add_header(answer, PROOF_HEADER_ATTEMPT, c->attempt);
        answer_add_header(answer, PROOF_HEADER_ADDRESS, c->address);
    }
    if (!c->plain && nonce && proof_nonce_valid(nonce)) {
        char proof[PROOF_HEX_SIZE];
        proof_answer(proof, c->secret, nonce, c->session,
                     (unsigned)strtoul(c->attempt, NULL, 10), c->address, status);
        answer_add_header(answer, PROOF_HEADER_PROOF, proof);
    }
    send_later(c, request, answer);
}

void executor_answer_error(struct container *c, struct sim_request *request, int status,
                           const char *code, const char *message)
{
    executor_answer(
        c, request, status,
        world_printf("{\"error\":{\"code\":\"%s\",\"message\":\"%s\",\"retryable\":false}}",
                     code, message));
}

/* User code that took the port: it knows no secret, and says whatever serves it. */
static void pose(struct container *c, struct sim_request *request)
{
    const char *body = "{\"upload_completed\":true,\"status\":\"success\",\"state\":\"done\"}";
    if (strcmp(request->path, "/container-info") == 0 || strcmp(request->path, "/health") == 0)
        body =
            world_printf("{\"status\":\"healthy\",\"session_id\":\"%s\",\"private_ip\":\"%s\","
                         "\"hostname\":\"liar\",\"attempt\":1,\"known_sessions\":[\"%s\"],"
                         "\"executions_completed\":0,\"busy\":false}",
                         c->poses_as, c->ip, c->poses_as);
    else if (strcmp(request->path, "/execute") == 0)
        body = world_printf("{\"session_id\":\"%s\",\"execution_id\":\"x\",\"execution_num\":1,"
                            "\"status\":\"completed\",\"stdout\":\"a lie\",\"stderr\":\"\","
                            "\"error\":null,\"execution_time_ms\":1,\"total_executions\":1}",
                            c->poses_as);
    struct sim_answer *answer = answer_new(200, body);
    answer_add_header(answer, PROOF_HEADER_SESSION, c->poses_as);
    answer_add_header(answer, PROOF_HEADER_ATTEMPT, "1");
    answer_add_header(answer, PROOF_HEADER_ADDRESS, c->address);
    answer_add_header(answer, PROOF_HEADER_PROOF,
                      "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    send_later(c, request, answer);
}

/* ---- requests ---- */

static bool proof_is_right(const struct container *c, const struct sim_request *r)
{
    const char *session = request_header(r, PROOF_HEADER_SESSION);
    const char *attempt = request_header(r, PROOF_HEADER_ATTEMPT);
    const char *nonce = request_header(r, PROOF_HEADER_NONCE);
    if (!session || !attempt || !nonce || !proof_nonce_valid(nonce) ||
        strcmp(session, c->session) != 0 || strcmp(attempt, c->attempt) != 0)
        return false;
    char expected[PROOF_HEX_SIZE];
    proof_request(expected, c->secret, r->method, r->path, session,
                  (unsigned)strtoul(attempt, NULL, 10), nonce, r->body, r->body_len);
    return proof_equal(expected, request_header(r, PROOF_HEADER_PROOF));
}

static bool allowed(const struct container *c, const struct sim_request *r)
{
    bool open = strcmp(r->path, "/health") == 0 || strcmp(r->path, "/container-info") == 0;
    bool claims =
        request_header(r, PROOF_HEADER_SESSION) || request_header(r, PROOF_HEADER_PROOF);
    return c->plain || (open && !claims) || proof_is_right(c, r);
}

static void answer_info(struct container *c, struct sim_request *r)
{
    executor_answer(
        c, r, 200,
        world_printf(
            "{\"private_ip\":\"%s\",\"hostname\":\"c%u\",\"session_id\":\"%s\","
            "\"attempt\":%s,\"known_sessions\":[\"%s\"],"
            "\"executions_completed\":%" PRId64 ",\"busy\":%s,\"claimed\":%s,\"synced\":%s,"
            "\"executor\":\"simulated\"}",
            c->ip, c->index, c->session, c->attempt, c->session, c->executions_done,
            container_runs(c) ? "true" : "false", c->claim && !c->plain ? "true" : "false",
            c->synced && !c->plain ? "true" : "false"));
}

static void answer_health(struct container *c, struct sim_request *r)
{
    bool over = c->upload == UPLOAD_DONE && (c->plain || c->confirmation_read);
    executor_answer(c, r, over ? 503 : 200,
                    world_printf("{\"status\":\"%s\",\"session_id\":\"%s\","
                                 "\"executions_completed\":%" PRId64 "}",
                                 over ? "complete" : "healthy", c->session,
                                 c->executions_done));
}

static void answer_claim(struct container *c, struct sim_request *r)
{
    if (!strstr(r->body, world_printf("\"session_id\":\"%s\"", c->session))) {
        executor_answer_error(c, r, 400, "invalid_request", "'session_id' is missing");
        return;
    }
    if (c->claim && strcmp(c->claim, r->body) != 0) {
        executor_answer_error(c, r, 409, "conflict", "claimed with another body");
        return;
    }
    c->claim = r->body;
    executor_answer(c, r, 200, world_printf("{\"session_id\":\"%s\"}", c->session));
}

/* Only its own secret opens what was sealed for it. */
static void answer_credentials(struct container *c, struct sim_request *r)
{
    json_t *o = json_loads(r->body, 0, NULL);
    const char *sealed = json_string_value(json_object_get(o, "sealed"));
    char *text = NULL;
    if (!sealed || !proof_open(c->secret, sealed, &text)) {
        executor_answer_error(c, r, 403, "forbidden", "not sealed for this session");
        world_violate("I2", "container %u cannot open the credentials for %s", c->index,
                      c->session);
    } else {
        executor_answer(c, r, 200,
                        world_printf("{\"session_id\":\"%s\",\"expires_ms\":0}", c->session));
    }
    free(text);
    json_decref(o);
}

static void dispatch(struct container *c, struct sim_request *r)
{
    static const char executions[] = "/executions/";
    bool post = strcmp(r->method, "POST") == 0;
    if (strcmp(r->path, "/health") == 0)
        answer_health(c, r);
    else if (strcmp(r->path, "/container-info") == 0)
        answer_info(c, r);
    else if (strcmp(r->path, "/execute") == 0 && post)
        executor_execute(c, r);
    else if (strcmp(r->path, "/session/complete") == 0 && post)
        executor_complete(c, r);
    else if (strcmp(r->path, "/session/complete") == 0 && !c->plain)
        executor_upload_status(c, r);
    else if (strcmp(r->path, "/session/claim") == 0 && post && !c->plain)
        answer_claim(c, r);
    else if (strcmp(r->path, "/session/credentials") == 0 && post && !c->plain)
        answer_credentials(c, r);
    else if (strcmp(r->path, "/file-sync") == 0 && post)
        executor_sync(c, r);
    else if (strncmp(r->path, executions, strlen(executions)) == 0 && !c->plain)
        executor_record(c, r, r->path + strlen(executions));
    else
        executor_answer_error(c, r, 404, "not_found", "no such path");
}

void container_receive(struct container *c, struct sim_request *r)
{
    r->container = c;
    if (c->hung) {
        struct held *held = world_alloc(sizeof *held);
        held->request = r;
        *c->held_end = held;
        c->held_end = &held->next;
        return;
    }
    if (c->poses_as) {
        pose(c, r);
        return;
    }
    if (!allowed(c, r)) {
        world_log("container %u forbids %s %s", c->index, r->method, r->path);
        executor_answer_error(c, r, 403, "forbidden", "no valid proof of this session");
        return;
    }
    if (request_header(r, PROOF_HEADER_SESSION))
        c->heard_ms = world.now_ms;
    dispatch(c, r);
}

bool container_health_check(const struct container *c)
{
    if (!c->listening || c->hung || c->looks_ill)
        return false;
    if (c->plain && container_runs(c))
        return false;
    return c->upload != UPLOAD_DONE || !(c->plain || c->confirmation_read) || c->poses_as;
}
