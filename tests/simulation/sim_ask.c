/* src/loop/ask.h: HAProxy 2.6's Runtime API as text, its answers as measured on the real one.
 */
#include "loop/ask.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "books.h"
#include "haproxy.h"
#include "trap.h"
#include "world.h"

struct ask {
    struct instance *me;
    struct node *node;
    const char *question, *answer;
    size_t max_answer;
    ask_fn *done; /* NULL: over */
    void *arg;
    struct error error;
    bool changes; /* it does not only ask */
    bool answer_is_lost;
    enum mishap mishap;
};

/* ---- commands ---- */

/* The listings are most of what is said here: no formats. */
static void put(struct buf *out, const char *a, const char *b, const char *c)
{
    buf_puts(out, a);
    if (b)
        buf_puts(out, b);
    if (c)
        buf_puts(out, c);
}

static void put_number(struct buf *out, int64_t n)
{
    char digits[24], *at = digits + sizeof digits;
    *--at = '\0';
    do
        *--at = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    buf_puts(out, at);
}

static void show_state(struct node *node, const char *backend, struct buf *out)
{
    if (strcmp(backend, node->backend) != 0) {
        buf_puts(out, "Can't find backend.\n\n");
        return;
    }
    buf_puts(out, "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state "
                  "srv_uweight srv_iweight srv_time_since_last_change srv_check_status "
                  "srv_check_result srv_check_health srv_check_state srv_agent_state "
                  "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl "
                  "srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n");
    for (const struct server *s = node->servers; s; s = s->next) {
        if (s->deleted || s->hidden)
            continue;
        put(out, "3 ", node->backend, " ");
        put_number(out, s->id);
        put(out, " ", s->name, " ");
        put(out, s->ip, s->up ? " 2 " : " 0 ", s->maint ? "1 1 1 " : "0 1 1 ");
        put_number(out, (world.now_ms - s->changed_ms) / 1000);
        put(out, " ", NULL, NULL);
        put_number(out, s->check_status);
        put(out, " ", NULL, NULL);
        put_number(out, s->check_result);
        put(out, " ", NULL, NULL);
        put_number(out, s->health);
        put(out, " ", NULL, NULL);
        put_number(out, s->check_state);
        put(out, " 0 0 0 - ", NULL, NULL);
        put_number(out, s->port);
        put(out, " - 0 0 - - 0\n", NULL, NULL);
    }
    buf_puts(out, "\n");
}

static const char *check_word(const struct server *s)
{
    switch (s->check_status) {
    case 8:
        return "L4CON";
    case 12:
        return "L7TOUT";
    case 15:
        return "L7OK";
    case 17:
        return "L7STS";
    default:
        return s->check_state == CHECKS_OFF ? "" : "INI";
    }
}

static const char *status_word(const struct server *s)
{
    return s->maint ? "MAINT" : s->up ? "UP" : "DOWN";
}

static void show_stat(struct node *node, const char *backend, struct buf *out)
{
    if (strcmp(backend, node->backend) != 0) {
        buf_puts(out, "No such proxy.\n\n");
        return;
    }
    buf_puts(
        out,
        "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,"
        "wretr,wredis,status,weight,act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,"
        "sid,throttle,lbtot,tracked,type,rate,rate_lim,rate_max,check_status,check_code,"
        "check_duration,check_rise,check_fall,check_health,addr,\n");
    for (const struct server *s = node->servers; s; s = s->next) {
        if (s->deleted || s->hidden)
            continue;
        put(out, node->backend, ",", s->name);
        put(out, ",0,0,", NULL, NULL);
        put_number(out, s->busy);
        put(out, ",0,,0,0,0,,0,,0,0,0,0,", status_word(s), ",1,1,0,0,0,0,0,,1,3,");
        put_number(out, s->id);
        put(out, ",,0,,2,0,,0,", check_word(s), ",200,0,");
        put_number(out, s->rise);
        put(out, ",", NULL, NULL);
        put_number(out, s->fall);
        put(out, ",", NULL, NULL);
        put_number(out, s->health);
        put(out, ",", s->ip, ":");
        put_number(out, s->port);
        put(out, ",\n", NULL, NULL);
    }
    buf_puts(out, "\n");
}

static int64_t read_number(const char *command, const char *option, int64_t fallback)
{
    const char *at = strstr(command, option);
    return at ? strtoll(at + strlen(option), NULL, 10) : fallback;
}

static bool number_is_taken(const struct node *node, int64_t id)
{
    for (const struct server *s = node->servers; s; s = s->next)
        if (!s->deleted && s->id == id)
            return true;
    return false;
}

/* The driver gives the interval in milliseconds. */
static void register_server(struct node *node, const char *name, const char *ip, uint16_t port,
                            const char *command, struct buf *out)
{
    int64_t id = read_number(command, " id ", 0);
    if (id > 0 && number_is_taken(node, id)) {
        buf_printf(out, "'id' : custom id %" PRId64 " already used\n\n", id);
        return;
    }
    struct server *s = haproxy_add_server(
        node, name, ip, port, read_number(command, " inter ", 2000),
        read_number(command, " fall ", 3), read_number(command, " rise ", 2));
    if (id > 0)
        s->id = id;
    buf_puts(out, "New server registered.\n\n");
}

static void add_server(struct node *node, const char *name, const char *command,
                       struct buf *out)
{
    char ip[46];
    unsigned port;
    const char *address = strchr(strstr(command, name), ' ');
    if (haproxy_find(node, name)) {
        buf_puts(out, "Already exists a server with the same name in backend.\n\n");
    } else if (!address || sscanf(address, " %45[0-9.]:%u", ip, &port) != 2) {
        buf_puts(out, "'server' expects <name> and <addr>[:<port>] as arguments.\n\n");
    } else if (strstr(command, " cookie ")) {
        buf_puts(out, "'cookie' option is not accepted for dynamic server\n\n");
    } else {
        register_server(node, name, ip, (uint16_t)port, command, out);
    }
}

static void delete_server(struct server *s, struct buf *out)
{
    if (!s->maint) {
        buf_puts(out, "Only servers in maintenance mode can be deleted.\n");
    } else if (s->busy) {
        buf_puts(out, "Server still has connections attached to it, cannot remove it.\n");
    } else {
        haproxy_delete(s);
        buf_puts(out, "Server deleted.\n");
    }
}

/* "VERB BE/NAME…": NAME, or NULL and the answer. */
static const char *server_name(struct node *node, const char *at, struct buf *out)
{
    char *name = world_strdup(at), *slash = strchr(name, '/');
    name[strcspn(name, " ")] = '\0';
    size_t len = strlen(node->backend);
    if (slash && (size_t)(slash - name) == len && strncmp(name, node->backend, len) == 0)
        return slash + 1;
    buf_puts(out, "No such backend.\n\n");
    return NULL;
}

enum verb { ADD, ENABLE_HEALTH, ENABLE, SET, SHUTDOWN, DELETE, VERBS };
static const char *const verbs[VERBS] = {"add server ",
                                         "enable health ",
                                         "enable server ",
                                         "set server ",
                                         "shutdown sessions server ",
                                         "del server "};

static void act(struct node *node, enum verb verb, const char *command, struct buf *out)
{
    const char *name = server_name(node, command + strlen(verbs[verb]), out);
    if (!name)
        return;
    struct server *s = haproxy_find(node, name);
    if (verb == ADD) {
        add_server(node, name, command, out);
        return;
    }
    if (!s) {
        buf_puts(out, verb == DELETE ? "No such server.\n" : "No such server.\n\n");
        return;
    }
    world_log("node %u: %s", node->index, command);
    books_acts_on(name);
    if (verb == DELETE) {
        delete_server(s, out);
        return;
    }
    if (verb == ENABLE_HEALTH)
        haproxy_enable_health(s);
    else if (verb == ENABLE)
        haproxy_enable(s);
    else if (verb == SET && strstr(command, " state maint"))
        haproxy_maint(s);
    else if (verb == SET && strstr(command, " state ready"))
        haproxy_enable(s);
    else if (verb == SHUTDOWN)
        haproxy_break_requests(s);
    buf_puts(out, "\n");
}

static void run_command(struct node *node, const char *command, struct buf *out)
{
    if (strncmp(command, "show servers state ", 19) == 0) {
        show_state(node, command + 19, out);
        return;
    }
    if (strncmp(command, "show stat ", 10) == 0) {
        char *backend = world_strdup(command + 10);
        backend[strcspn(backend, " ")] = '\0';
        show_stat(node, backend, out);
        return;
    }
    if (strncmp(command, "set dynamic-cookie-key backend ", 31) == 0 ||
        strncmp(command, "enable dynamic-cookie backend ", 30) == 0) {
        buf_puts(out, "\n");
        return;
    }
    for (enum verb v = 0; v < VERBS; v++) {
        if (strncmp(command, verbs[v], strlen(verbs[v])) == 0) {
            act(node, v, command, out);
            return;
        }
    }
    buf_puts(out, "Unknown command, but maybe one of the following ones is a better match:\n"
                  "  add acl ...\n\n");
}

static const char *run_question(struct node *node, const char *question)
{
    struct buf out = {0};
    char *rest = mem_strdup(question);
    rest[strcspn(rest, "\n")] = '\0';
    char *next = rest, *command;
    while ((command = strsep(&next, ";"))) {
        while (*command == ' ')
            command++;
        if (*command)
            run_command(node, command, &out);
    }
    free(rest);
    const char *answer = world_strdup(out.data ? out.data : "");
    buf_free(&out);
    return answer;
}

/* ---- questions ---- */

static void point(const struct ask *ask, const char *what)
{
    if (ask->changes)
        world_point(what);
}

static void finish(void *arg)
{
    struct ask *ask = arg;
    ask_fn *done = ask->done;
    ask->done = NULL;
    if (!done)
        return;
    const char *answer = ask->error.code == ERR_NONE ? ask->answer : NULL;
    if (answer && strlen(answer) > ask->max_answer) {
        error_set(&ask->error, ERR_TOO_LARGE, "the answer is too large");
        answer = NULL;
    }
    sim_loop_enter(ask->me);
    done(ask->arg, answer ? NULL : &ask->error, answer, answer ? strlen(answer) : 0);
    point(ask, "after an answer on a socket");
    world_free(ask->answer);
    ask->answer = NULL;
}

static void time_out(void *arg)
{
    struct ask *ask = arg;
    error_set(&ask->error, ERR_TIMEOUT, "no answer in time");
    finish(ask);
}

static void arrive(void *arg)
{
    struct ask *ask = arg;
    int64_t delay_ms = world_pick(0, 3);
    if (ask->node->down) {
        error_set(&ask->error, ERR_RESET, "the connection broke");
        world_at(1, finish, ask);
        return;
    }
    const char *answer = run_question(ask->node, ask->question);
    point(ask, "before an answer on a socket");
    world_free(ask->question);
    if (ask->answer_is_lost)
        error_set(&ask->error, ERR_RESET, "the connection broke");
    if (world_fault(world.faults.ask_truncated))
        answer = world_printf("%.*s", (int)world_pick(0, (int64_t)strlen(answer)), answer);
    if (world_fault(world.faults.ask_nonsense) || ask->mishap == MISHAP_ERROR)
        answer = world_strdup("1\n# what is this\n\n");
    if (world_fault(world.faults.ask_late))
        delay_ms += world_pick(100, 8000);
    if (ask->mishap == MISHAP_LATE)
        delay_ms += TRAP_LATE_MS;
    ask->answer = answer;
    world_at(delay_ms, finish, ask);
}

static void fail_reset(void *arg)
{
    struct ask *ask = arg;
    error_set(&ask->error, ERR_RESET, "the connection broke");
    finish(ask);
}

static void fail_connect(void *arg)
{
    struct ask *ask = arg;
    error_set(&ask->error, ERR_CONNECT, "connection refused");
    finish(ask);
}

static bool is_mute(const struct node *node)
{
    return world.now_ms >= node->mute_from_ms && world.now_ms < node->mute_to_ms;
}

struct ask *ask_start(struct loop *loop, const char *socket_path, const char *text,
                      size_t max_answer, int64_t deadline_ms, ask_fn *done, void *arg)
{
    (void)loop;
    struct ask *ask = world_alloc(sizeof *ask);
    ask->node = haproxy_at_socket(socket_path);
    ask->question = world_strdup(text);
    ask->max_answer = max_answer;
    ask->done = done;
    ask->arg = arg;
    if (deadline_ms <= 0 || max_answer == 0)
        world_violate("I8", "a question to %s without deadline or cap", socket_path);
    ask->me = world.me;
    ask->changes = strncmp(text, "show ", strlen("show ")) != 0;
    point(ask, "before a question on a socket");
    if (world.frozen)
        return ask;
    ask->mishap = trap_question(text);
    if (!ask->node || ask->node->down || world_fault(world.faults.ask_refused) ||
        ask->mishap == MISHAP_REFUSED) {
        world_at(1, fail_connect, ask);
        return ask;
    }
    world_at(deadline_ms, time_out, ask);
    if (is_mute(ask->node))
        return ask;
    if (world_fault(world.faults.ask_lost)) {
        world_at(world_pick(1, 10), fail_reset, ask);
        return ask;
    }
    ask->answer_is_lost =
        world_fault(world.faults.ask_answer_lost) || ask->mishap == MISHAP_ANSWER_LOST;
    world_at(world_pick(0, 3), arrive, ask);
    return ask;
}

void ask_cancel(struct ask *ask)
{
    if (!ask->done)
        world_violate("SIM", "a question is cancelled after it was answered");
    ask->done = NULL;
}
