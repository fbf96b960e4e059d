/* A simulated Docker engine: what Docker Engine API 1.41 says of the calls that cleat makes.
 * Its containers are the simulated ones, each at a port of its own on 127.0.0.1. */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include "base/mem.h"
#include "books.h"
#include "container.h"
#include "files.h"
#include "service.h"
#include "world.h"

#define FIRST_PORT 40000
#define PORTS 4000
#define VERSION "/v1.41"
#define EVENTS 1024 /* that a new listener is told again */

enum box_state { BOX_CREATED, BOX_RUNNING, BOX_EXITED };

struct box {
    const char *name, *session, *attempt, *owner, *secret, *workspace, *label;
    enum box_state state;
    uint16_t port;
    struct container *container;
    int exit_code;
    bool removed;
    struct stop_wait *stops;
    struct box *next;
};

/* A request that is answered when the box has ended. */
struct stop_wait {
    struct sim_request *request;
    struct box *box;
    bool removes;
    struct stop_wait *next;
};

struct listener {
    struct sim_request *request;
    struct listener *next;
};

struct event {
    int64_t wall_s;
    const char *owner;
    const char *line;
};

struct docker_habits docker_habits;
static struct box *boxes, **boxes_end;
static struct listener *listeners;
static struct event events[EVENTS];
static unsigned event_count, next_port;
static bool down;

void docker_begin(void)
{
    boxes = NULL;
    boxes_end = &boxes;
    listeners = NULL;
    event_count = next_port = 0;
    down = false;
    docker_habits = (struct docker_habits){.has_image = true, .pull_ms = 3000};
}

/* What a lost upload left behind stays, for somebody who looks after it. */
static bool is_kept(const struct box *b)
{
    return b->state == BOX_EXITED && !b->container->stop_asked;
}

unsigned docker_left(void)
{
    unsigned count = 0;
    for (const struct box *b = boxes; b; b = b->next)
        count += !b->removed && !is_kept(b);
    return count;
}

static struct box *find(const char *name)
{
    for (struct box *b = boxes; b; b = b->next)
        if (!b->removed && strcmp(b->name, name) == 0)
            return b;
    return NULL;
}

static void refuse(struct sim_request *r, int status, const char *message)
{
    service_answer_json(r, status, json_pack("{s:s}", "message", message));
}

/* ---- events ---- */

/* Its filter names an owner: "cleat.owner=NAME", percent-encoded. */
static bool asks_for(const struct sim_request *r, const char *owner)
{
    return strstr(r->path, world_printf("cleat.owner%%3D%s%%22", owner)) != NULL;
}

static void tell(const struct box *b, const char *action)
{
    json_t *o = json_pack("{s:s, s:s, s:{s:s, s:{s:s, s:s, s:s, s:o}}}", "Type", "container",
                          "Action", action, "Actor", "ID", b->name, "Attributes", "cleat.owner",
                          b->owner, "cleat.session", b->session, "cleat.attempt", b->attempt,
                          "exitCode", json_sprintf("%d", b->exit_code));
    char *text = json_dumps(o, JSON_COMPACT);
    struct event *e = &events[event_count++ % EVENTS];
    *e = (struct event){(WORLD_EPOCH_MS + world.now_ms) / 1000, b->owner,
                        world_printf("%s\n", text)};
    free(text);
    json_decref(o);
    for (struct listener *l = listeners; l; l = l->next)
        if (asks_for(l->request, b->owner) && service_is_heard(l->request) &&
            !world_fault(docker_habits.event_lost))
            service_stream(l->request, e->line);
}

static void listen_to_events(struct sim_request *r)
{
    const char *since = strstr(r->path, "since=");
    int64_t from_s = since ? strtoll(since + strlen("since="), NULL, 10) : INT64_MAX;
    struct listener *l = world_alloc(sizeof *l);
    l->request = r;
    l->next = listeners;
    listeners = l;
    service_stream(r, "");
    unsigned first = event_count > EVENTS ? event_count - EVENTS : 0;
    for (unsigned i = first; i < event_count; i++)
        if (events[i % EVENTS].wall_s >= from_s && asks_for(r, events[i % EVENTS].owner))
            service_stream(r, events[i % EVENTS].line);
}

/* ---- the end of a container ---- */

static void remove_box(struct box *b)
{
    b->removed = true;
    tell(b, "destroy");
}

static void on_end(struct container *c)
{
    struct box *b = c->engine;
    struct stop_wait *waiting = b->stops;
    b->stops = NULL;
    b->state = BOX_EXITED;
    b->exit_code = WIFSIGNALED(c->exit_status) ? 128 + WTERMSIG(c->exit_status)
                                               : WEXITSTATUS(c->exit_status);
    tell(b, "die");
    for (; waiting; waiting = waiting->next) {
        if (waiting->removes && !b->removed)
            remove_box(b);
        service_answer(waiting->request, 204, "");
    }
}

static void wait_for_end(struct box *b, struct sim_request *r, bool removes)
{
    struct stop_wait *w = world_alloc(sizeof *w);
    *w = (struct stop_wait){r, b, removes, b->stops};
    b->stops = w;
}

static void kill_due(void *arg)
{
    struct box *b = arg;
    if (b->state == BOX_RUNNING)
        container_signal(b->container, SIGKILL);
}

static void stop(struct box *b, struct sim_request *r)
{
    const char *t = strstr(r->path, "t=");
    if (b->state != BOX_RUNNING) {
        service_answer(r, 304, "");
        return;
    }
    if (world.sabotage == SABOTAGE_LASTING_BOX) {
        b->state = BOX_EXITED;
        service_answer(r, 204, "");
        return;
    }
    wait_for_end(b, r, false);
    books_container_stopped(b->container, SIGTERM);
    world_at(t ? strtoll(t + 2, NULL, 10) * 1000 : 10000, kill_due, b);
    container_signal(b->container, SIGTERM);
}

static void delete (struct box *b, struct sim_request *r)
{
    if (b->stops && world_chance(2000)) {
        refuse(r, 409, "removal of container is already in progress");
        return;
    }
    if (b->state == BOX_RUNNING && !strstr(r->path, "force=1")) {
        refuse(r, 409, "cannot remove a running container");
        return;
    }
    if (b->state == BOX_RUNNING) {
        wait_for_end(b, r, true);
        if (!books_is_late_removal(b->container, r->coordinator_life))
            books_container_stopped(b->container, SIGKILL);
        container_signal(b->container, SIGKILL);
        return;
    }
    remove_box(b);
    service_answer(r, 204, "");
}

/* ---- create and start ---- */

static const char *variable(const json_t *env, const char *name)
{
    size_t i, len = strlen(name);
    const json_t *v;
    json_array_foreach (env, i, v) {
        const char *text = json_string_value(v);
        if (text && strncmp(text, name, len) == 0 && text[len] == '=')
            return world_strdup(text + len + 1);
    }
    return NULL;
}

/* The engine would make it, as root's. */
static void check_mounts(const json_t *o)
{
    size_t i;
    const json_t *mount;
    json_array_foreach (json_object_get(json_object_get(o, "HostConfig"), "Mounts"), i, mount) {
        const char *source = json_string_value(json_object_get(mount, "Source"));
        if (!files_get(source))
            world_violate("SIM", "nobody has made %s", source);
    }
}

static void create(struct sim_request *r, const char *name)
{
    if (find(name)) {
        refuse(r, 409, "Conflict. The container name is already in use");
        return;
    }
    if (!docker_habits.has_image) {
        refuse(r, 404, "No such image: simulated:1");
        return;
    }
    json_t *o = json_loads(r->body, 0, NULL);
    const json_t *env = json_object_get(o, "Env");
    struct box *b = world_alloc(sizeof *b);
    b->name = world_strdup(name);
    b->session = variable(env, "SESSION_ID");
    b->attempt = variable(env, "CLEAT_ATTEMPT");
    b->owner = variable(env, "CLEAT_OWNER");
    b->secret = variable(env, "CLEAT_SECRET");
    b->workspace = variable(env, "CLEAT_WORKSPACE");
    b->label = world_strdup(
        json_string_value(json_object_get(json_object_get(o, "Labels"), "cleat.label")));
    check_mounts(o);
    json_decref(o);
    if (!b->session || !b->attempt || !b->owner || !b->secret || !b->workspace) {
        world_violate("SIM", "a container without identity: %s", r->body);
        return;
    }
    *boxes_end = b;
    boxes_end = &b->next;
    tell(b, "create");
    service_answer_json(r, 201, json_pack("{s:s, s:[]}", "Id", name, "Warnings"));
}

static bool port_is_free(unsigned port)
{
    for (const struct box *b = boxes; b; b = b->next)
        if (b->state == BOX_RUNNING && b->port == port)
            return false;
    return true;
}

/* Ports that were given back are given out again soon. */
static uint16_t take_port(void)
{
    unsigned port = FIRST_PORT;
    if (world_chance(5000))
        port += next_port++ % PORTS;
    while (!port_is_free(port))
        port++;
    return (uint16_t)port;
}

static void start(struct box *b, struct sim_request *r)
{
    if (b->state != BOX_CREATED) {
        service_answer(r, 304, "");
        return;
    }
    if (world_fault(docker_habits.fails)) {
        refuse(r, 500, "failed to create task for container: resource temporarily unavailable");
        return;
    }
    b->state = BOX_RUNNING;
    b->port = take_port();
    b->container = container_start(
        &(struct launch_order){.session = b->session,
                               .attempt = b->attempt,
                               .secret = b->secret,
                               .listen = world_printf("127.0.0.1:%u", (unsigned)b->port),
                               .workspace = b->workspace,
                               .key = b->name,
                               .remote = true});
    b->container->engine = b;
    b->container->on_end = on_end;
    tell(b, "start");
    service_answer(r, 204, "");
}

/* ---- looking ---- */

static json_t *labels(const struct box *b)
{
    return json_pack("{s:s, s:s, s:s, s:s*}", "cleat.owner", b->owner, "cleat.session",
                     b->session, "cleat.attempt", b->attempt, "cleat.label", b->label);
}

static const char *const state_names[] = {"created", "running", "exited"};

static void inspect(const struct box *b, struct sim_request *r)
{
    json_t *ports = json_object();
    if (b->state == BOX_RUNNING)
        json_object_set_new(ports, "8080/tcp",
                            json_pack("[{s:s, s:o}]", "HostIp", "127.0.0.1", "HostPort",
                                      json_sprintf("%u", (unsigned)b->port)));
    service_answer_json(r, 200,
                        json_pack("{s:s, s:{s:s, s:i, s:b}, s:{s:o}, s:{s:o}}", "Id", b->name,
                                  "State", "Status", state_names[b->state], "ExitCode",
                                  b->exit_code, "OOMKilled", 0, "Config", "Labels", labels(b),
                                  "NetworkSettings", "Ports", ports));
}

static void list(struct sim_request *r)
{
    json_t *all = json_array();
    for (const struct box *b = boxes; b; b = b->next) {
        if (b->removed || !asks_for(r, b->owner))
            continue;
        json_t *ports = json_array();
        if (b->state == BOX_RUNNING)
            json_array_append_new(ports, json_pack("{s:s, s:i, s:i, s:s}", "IP", "127.0.0.1",
                                                   "PrivatePort", 8080, "PublicPort",
                                                   (int)b->port, "Type", "tcp"));
        json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:o, s:o}", "Id", b->name,
                                             "State", state_names[b->state], "Status",
                                             "simulated", "Labels", labels(b), "Ports", ports));
    }
    service_answer_json(r, 200, all);
}

/* ---- the image ---- */

static void pull_ends(void *arg)
{
    struct sim_request *r = arg;
    bool fails = world_fault(docker_habits.fails);
    docker_habits.has_image |= !fails;
    service_stream(r, fails ? "{\"error\":\"unexpected EOF\"}\n"
                            : "{\"status\":\"Status: Downloaded newer image\"}\n");
    service_answer(r, 200, "");
}

static void pull(struct sim_request *r)
{
    service_stream(r, "{\"status\":\"Pulling from library/simulated\"}\n");
    world_at(docker_habits.pull_ms, pull_ends, r);
}

/* ---- requests ---- */

static void ping(struct sim_request *r)
{
    struct sim_answer *a = answer_new(200, "OK");
    answer_add_header(a, "Api-Version", "1.41");
    r->answered(r, a);
}

static const char *rest_of(const char *path, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(path, prefix, len) == 0 ? path + len : NULL;
}

static const char *part_of_container(const struct sim_request *r)
{
    const char *rest = rest_of(r->path, VERSION "/containers/");
    bool is_one = rest && !rest_of(rest, "create?") && !rest_of(rest, "json?");
    return is_one ? rest : NULL;
}

static struct box *find_named(const char *rest)
{
    char *name = world_strdup(rest);
    name[strcspn(name, "/?")] = '\0';
    return find(name);
}

static void change(struct sim_request *r, const char *what, struct box *b)
{
    books_acts_on(b->name);
    if (strcmp(r->method, "DELETE") == 0)
        delete (b, r);
    else if (rest_of(what, "/start"))
        start(b, r);
    else if (rest_of(what, "/stop"))
        stop(b, r);
    else
        world_violate("SIM", "the engine does not know %s %s", r->method, r->path);
}

static void of_container(struct sim_request *r, const char *rest, struct box *b)
{
    const char *what = rest + strcspn(rest, "/?");
    if (!b || b->removed)
        refuse(r, 404, "No such container");
    else if (strcmp(r->method, "GET") != 0)
        change(r, what, b);
    else if (rest_of(what, "/json"))
        inspect(b, r);
    else if (rest_of(what, "/logs"))
        service_answer(r, 200, "");
    else
        world_violate("SIM", "the engine does not know %s %s", r->method, r->path);
}

/* A request that the engine has read, and whom it is about: by then the name means one
 * container, however long the work takes. */
struct work {
    struct sim_request *request;
    struct box *box;
};

static void handle(void *arg)
{
    struct work *w = arg;
    struct sim_request *r = w->request;
    const char *path = rest_of(r->path, VERSION), *rest;
    if (down) {
        service_answer(r, 0, "");
        return;
    }
    if (strcmp(r->path, "/_ping") == 0) {
        ping(r);
    } else if (!path) {
        world_violate("SIM", "a request without the API's version: %s", r->path);
    } else if ((rest = rest_of(path, "/containers/create?name="))) {
        create(r, rest);
    } else if (rest_of(path, "/containers/json?")) {
        list(r);
    } else if (rest_of(path, "/events?")) {
        listen_to_events(r);
    } else if (rest_of(path, "/images/create?")) {
        pull(r);
    } else if ((rest = part_of_container(r))) {
        of_container(r, rest, w->box);
    } else {
        world_violate("SIM", "the engine does not know %s %s", r->method, r->path);
    }
}

/* A busy engine takes its time, also for one who is no longer there. */
static void read_request(void *arg)
{
    struct work *w = arg;
    const char *rest = part_of_container(w->request);
    w->box = rest ? find_named(rest) : NULL;
    world_at(world_fault(docker_habits.slow) ? world_pick(1000, 90000) : world_pick(0, 15),
             handle, w);
}

static void receive(struct sim_request *r)
{
    struct work *w = world_alloc(sizeof *w);
    w->request = r;
    world_at(world_pick(1, 15), read_request, w);
}

void docker_start(void)
{
    service_listen(DOCKER_SOCKET, receive);
}

static void come_back(void *arg)
{
    (void)arg;
    down = false;
    world_log("the engine is back");
}

void docker_restart(int64_t for_ms)
{
    world_log("the engine restarts");
    down = true;
    for (struct listener *l = listeners; l; l = l->next)
        service_answer(l->request, 0, "");
    listeners = NULL;
    for (struct box *b = boxes; b; b = b->next)
        if (b->state == BOX_RUNNING)
            container_end(b->container, SIGKILL);
    world_at(for_ms, come_back, NULL);
}
