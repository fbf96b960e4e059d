#include "session/orphan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "session/attempt.h"
#include "session/launch.h"
#include "session/message.h"
#include "session/request.h"
#include "session/route.h"
#include "session/session.h"

#define UNKNOWN_TENANT "unknown" /* nobody can ask for it: it is refused as a placeholder */
#define ASK_TRIES 5              /* on its own address */
#define ASK_WAIT_MS 500
#define ASK_CONNECT_TIMEOUT_MS 1000
#define ASK_TIMEOUT_MS 2000
#define MAX_ANSWER 65536
/* Of an attempt that a name tells: others may follow it. */
#define NUMBER_MAX (UINT16_MAX / 2)

bool orphan_read_key(const struct cleat *core, const char *key, char session[ID_SIZE],
                     unsigned *number)
{
    size_t owner = strlen(core->settings->owner);
    if (strncmp(key, core->settings->owner, owner) != 0 || key[owner] != '.' ||
        strlen(key) < owner + 1 + ID_SIZE)
        return false;
    mem_copy_string(session, ID_SIZE, key + owner + 1);
    const char *digits = key + owner + 1 + ID_SIZE;
    size_t len = strspn(digits, "0123456789");
    unsigned long n = strtoul(digits, NULL, 10);
    if (digits[-1] != '.' || len == 0 || len > 5 || digits[len] || *digits == '0' ||
        n > NUMBER_MAX || !id_valid(session))
        return false;
    *number = (unsigned)n;
    return true;
}

struct session *orphan_session(const struct cleat *core, const char *session, const char *key)
{
    const struct attempt *a = core_find_attempt(core, key);
    return a ? a->session : core_find(core, session);
}

/* ---- the attempt ---- */

static struct session *make_session(struct group *g, const char *id, const char *tenant)
{
    struct cleat *core = g->core;
    if (!tenant)
        tenant = UNKNOWN_TENANT;
    struct session *s = session_new(core, g, id, tenant, id);
    struct create_request r = {.class_name = g->class->name};
    r.parameters = mem_printf("{\"class\":\"%s\",\"tenant\":\"%s\"}", g->class->name, tenant);
    session_fill(s, &r);
    free(r.parameters);
    int64_t made = id_time_ms(id);
    s->created = made < core_now(core) ? made : core_now(core);
    session_close(s, "orphan", NULL);
    return s;
}

/* Nobody ever sent anything to one that is there beside its attempt's own container, nor to one
 * that has no address yet; of an attempt that has ended its row tells. */
static struct attempt *choose_attempt(struct session *s, const char *key, unsigned number,
                                      const struct container *c)
{
    struct attempt *a = core_find_attempt(s->core, key);
    bool surplus = a && !attempt_has_ended(a);
    if (a && !surplus)
        return a;
    if (surplus)
        number = s->attempts_used + 1;
    if (number > s->attempts_used) {
        s->attempts_used = number;
        session_dirty(s);
    }
    a = attempt_new(s, number);
    a->touched = !surplus && *c->ip;
    return a;
}

/* Whether its own address may lead to it and has to be asked, because no balancer's node does.
 */
static bool may_be_asked(const struct attempt *a)
{
    const struct group *g = a->session->group;
    const struct balancer_node *nodes;
    return *a->container.ip && g->class->proof == PROOF_REQUIRED &&
           g->class->direct_path != DIRECT_PATH_NEVER &&
           g->balancer_ops->nodes(g->balancer, 0, &nodes) > 0;
}

static bool is_plain(const struct attempt *a)
{
    return a->session->group->class->proof == PROOF_NONE;
}

static bool needs_target(const struct attempt *a)
{
    const struct group *g = a->session->group;
    const struct balancer_node *nodes;
    bool plain = is_plain(a); /* its balancer's word says when to ask it */
    return a->orphan && *a->container.ip && !a->registered &&
           (plain || g->balancer_ops->nodes(g->balancer, 0, &nodes) > 0);
}

struct attempt *orphan_begin(struct group *g, const char *session, const char *tenant,
                             unsigned number, const struct container *c, bool has_target)
{
    char key[KEY_SIZE];
    snprintf(key, sizeof(key), "%s.%s.%u", g->core->settings->owner, session, number);
    struct session *s = orphan_session(g->core, session, key);
    if (!s)
        s = make_session(g, session, tenant);
    struct attempt *a = choose_attempt(s, key, number, c);
    attempt_take_over(a, c);
    a->orphan = true;
    a->registered = has_target;
    session_dirty(s); /* its row as well: the commit that forgets it may be under way */
    attempt_go(a, ATTEMPT_ENDING);
    g->runtime_ops->adopt(g->runtime, c);
    return a;
}

/* ---- the path to it ---- */

static void take_answer(struct attempt *a)
{
    const struct message *m = &a->message;
    a->direct = m->verdict == VERDICT_PROVEN && m->status == 200;
    if (a->direct)
        attempt_learn(a, m->body);
    if (m->verdict == VERDICT_MISROUTE)
        attempt_misrouted(a, "close");
    message_reset(&a->message);
    a->retry_at = core_now(a->session->core) + ASK_WAIT_MS;
    if (a->direct)
        attempt_dirty(a);
    else if (++a->unreachable == ASK_TRIES)
        a->session->again = true; /* the balancer is next */
}

static void ask(struct attempt *a)
{
    message_send(&a->message, a,
                 &(struct message_options){.method = "GET",
                                           .path = "/container-info",
                                           .anonymous = true,
                                           .direct = true,
                                           .connect_timeout_ms = ASK_CONNECT_TIMEOUT_MS,
                                           .timeout_ms = ASK_TIMEOUT_MS,
                                           .max_answer = MAX_ANSWER});
}

/* Its session's own attempt goes first, unless that waits for this one's target to be gone. */
static bool waits_for_twin(const struct attempt *a)
{
    const struct attempt *own = a->session->attempt;
    return own && own != a && (own->registered || !a->registered) && route_may_confuse(a, own);
}

/* The way through the balancer; intent before effect. */
static bool has_route(struct attempt *a)
{
    const struct group *g = a->session->group;
    if (!attempt_durable(a) || waits_for_twin(a))
        return false;
    if (needs_target(a)) {
        launch_intends_target(a);
        return false;
    }
    if (a->registered && a->target == TARGET_UNKNOWN) {
        struct target t = launch_target(a);
        g->balancer_ops->adopt(g->balancer, &t);
    }
    return route_step(a);
}

bool orphan_has_path(struct attempt *a)
{
    if (a->direct && !a->cleanup.doubtful)
        return true;
    if (!may_be_asked(a) || a->unreachable >= ASK_TRIES)
        return has_route(a);
    if (a->message.state == OP_DONE)
        take_answer(a);
    else if (a->message.state == OP_IDLE && !session_not_before(a->session, a->retry_at))
        ask(a);
    if (!a->direct && a->unreachable < ASK_TRIES && a->message.state == OP_IDLE)
        session_at(a->session, a->retry_at);
    return a->direct;
}
