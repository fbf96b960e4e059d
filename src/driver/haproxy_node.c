#include "driver/haproxy_node.h"
#include "base/log.h"

#define ASK_DEADLINE_MS 5000
#define ANSWER_MAX (16u << 20) /* some 30,000 servers */

/* A HAProxy without the backend has an empty listing, which is an answer; its complaint is
 * kept. */
static bool take_listing(struct haproxy_node *n, const char *answer, size_t len,
                         struct error *problem)
{
    struct haproxy_state fresh;
    enum error_code code = haproxy_state_read(&fresh, n->backend, answer, len, problem);
    if (code != ERR_NONE && code != ERR_CONFIG)
        return false;
    haproxy_state_free(&n->state);
    n->state = fresh;
    n->known = true;
    n->away = n->dead = false;
    n->failing_since_ms = n->refused_since_ms = 0;
    return true;
}

/* A refusal comes at once. A connect that took until the deadline waited in the full queue of
 * somebody who listens, busy or stopped, and who may route again. */
static bool refused(const struct haproxy_node *n, const struct error *problem)
{
    return problem->code == ERR_CONNECT && loop_now_ms(n->loop) - n->asked_ms < ASK_DEADLINE_MS;
}

static void note_failure(struct haproxy_node *n, const struct error *problem)
{
    int64_t now = loop_now_ms(n->loop);
    if (n->failing_since_ms == 0)
        n->failing_since_ms = now;
    if (!refused(n, problem))
        n->refused_since_ms = 0;
    else if (n->refused_since_ms == 0)
        n->refused_since_ms = now;
    if (now - n->failing_since_ms < HAPROXY_AWAY_MS)
        return;
    n->away = true;
    n->dead = n->refused_since_ms != 0 && now - n->refused_since_ms >= HAPROXY_AWAY_MS;
    n->known = false;
    haproxy_state_free(&n->state);
}

static void note_problem(struct haproxy_node *n, const struct error *problem)
{
    if (problem->code != ERR_NONE && n->problem.code != problem->code)
        log_warn("haproxy.problem", KV("socket", n->socket), KV("reason", problem->message));
    if (problem->code == ERR_NONE && n->problem.code != ERR_NONE)
        log_info("haproxy.recovered", KV("socket", n->socket));
    n->problem = *problem;
}

static void take_answer(void *arg, const struct error *e, const char *answer, size_t len)
{
    struct haproxy_node *n = arg;
    struct error problem = {.code = ERR_NONE};
    bool answered = false;
    n->ask = NULL;
    if (answer == NULL)
        error_set(&problem, e->code, "HAProxy: %s", e->message);
    else
        answered = take_listing(n, answer, len, &problem);
    if (!answered)
        note_failure(n, &problem);
    else if (problem.code == ERR_NONE)
        haproxy_refusal(answer, len, &problem);
    note_problem(n, &problem);
    timer_arm(&n->timer, n->read(n->arg, n, answered, &n->problem));
}

static void ask_now(void *arg)
{
    struct haproxy_node *n = arg;
    struct buf question = {0};
    n->write(n->arg, n, &question);
    buf_printf(&question, "show servers state %s;show stat %s 4 -1\n", n->backend, n->backend);
    n->asked_ms = loop_now_ms(n->loop);
    n->ask = ask_start(n->loop, n->socket, question.data, ANSWER_MAX, ASK_DEADLINE_MS,
                       take_answer, n);
    buf_free(&question);
}

void haproxy_node_start(struct haproxy_node *n)
{
    timer_init(&n->timer, n->loop, ask_now, n);
    timer_arm(&n->timer, 0);
}

void haproxy_node_stop(struct haproxy_node *n)
{
    if (n->ask != NULL)
        ask_cancel(n->ask);
    timer_stop(&n->timer);
    haproxy_state_free(&n->state);
}

void haproxy_node_hurry(struct haproxy_node *n, int64_t in_ms)
{
    if (n->ask == NULL &&
        (!timer_armed(&n->timer) || n->timer.at_ms > loop_now_ms(n->loop) + in_ms))
        timer_arm(&n->timer, in_ms);
}
