#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "http/json.h"
#include "session/message.h"
#include "session/route.h"
#include "session/session.h"

#define MAX_HEADERS 8
#define RENEW_AT_PERCENT 80 /* of the cookies' life */
#define RENEW_MIN_MS 1000   /* never one renewal after the other without a pause */

static char *own_url(const struct container *c)
{
    bool v6 = strchr(c->ip, ':') != NULL;
    return mem_printf("http://%s%s%s:%u", v6 ? "[" : "", c->ip, v6 ? "]" : "",
                      (unsigned)c->port);
}

/* Where requests go, without the path; free(). node NULL: to the container itself. */
static char *base_url(const struct attempt *a, const struct balancer_node *node)
{
    if (!node)
        return own_url(&a->container);
    size_t len = strlen(node->url);
    while (len > 0 && node->url[len - 1] == '/')
        len--;
    return mem_strndup(node->url, len);
}

static bool is_proven(const struct message *m, const struct http_answer *answer)
{
    const struct attempt *a = m->attempt;
    const char *address = http_answer_header(answer, PROOF_HEADER_ADDRESS);
    char wanted[PROOF_HEX_SIZE];
    if (!address)
        return false;
    proof_answer(wanted, a->secret, m->nonce, a->identity.session, a->identity.number, address,
                 answer->status);
    return proof_equal(http_answer_header(answer, PROOF_HEADER_PROOF), wanted);
}

/* A container of the plain contract has only its word: session id, and its address where it
 * tells. The one answer that it gives without its id is that of a failed upload. */
static enum verdict judge_plain(const struct message *m, int status)
{
    const struct attempt *a = m->attempt;
    const char *id = json_string_value(json_object_get(m->body, "session_id"));
    const char *ip = json_string_value(json_object_get(m->body, "private_ip"));
    if (id)
        return strcmp(id, a->identity.session) == 0 && (!ip || strcmp(ip, a->container.ip) == 0)
                   ? VERDICT_PROVEN
                   : VERDICT_MISROUTE;
    if (m->nameless && m->body && status < 500)
        return VERDICT_PROVEN;
    if (status == 500 && json_is_false(json_object_get(m->body, "upload_completed")))
        return VERDICT_PROVEN;
    return status >= 500 ? VERDICT_BALANCER : VERDICT_MISROUTE;
}

static enum verdict judge(const struct message *m, const struct http_answer *answer)
{
    if (answer->error.code != ERR_NONE)
        return VERDICT_FAILED;
    if (m->attempt->session->group->class->proof == PROOF_NONE)
        return judge_plain(m, answer->status);
    if (is_proven(m, answer))
        return VERDICT_PROVEN;
    bool from_executor = http_answer_header(answer, PROOF_HEADER_SESSION) != NULL;
    return answer->status >= 500 && !from_executor ? VERDICT_BALANCER : VERDICT_MISROUTE;
}

/* Only an answer that proved itself may replace the cookies. */
static void take_cookies(struct attempt *a, const struct http_answer *answer)
{
    struct cleat *core = a->session->core;
    struct cookie_set fresh = {0};
    if (!cookie_set_read(&fresh, answer, a->session->group->class->cookies,
                         loop_wall_ms(core->loop)))
        return;
    if (fresh.header) {
        int64_t life = fresh.expires_ms - fresh.set_ms;
        int64_t wait = life / 100 * RENEW_AT_PERCENT;
        a->route.renew_at =
            life > 0 ? core_now(core) + (wait > RENEW_MIN_MS ? wait : RENEW_MIN_MS) : 0;
        cookie_set_move(&a->route.cookies, &fresh);
    }
    cookie_set_clear(&fresh);
}

static void answered(void *arg, const struct http_answer *answer)
{
    struct message *m = arg;
    struct attempt *a = m->attempt;
    m->request = NULL;
    m->state = OP_DONE;
    m->error = answer->error;
    m->sent = answer->sent;
    m->refused = answer->refused;
    m->status = answer->status;
    if (answer->error.code == ERR_NONE && answer->body_len > 0)
        m->body = js_parse_object(answer->body, answer->body_len, NULL);
    m->verdict = judge(m, answer);
    if (m->verdict == VERDICT_PROVEN && !m->anonymous)
        a->contact = core_now(a->session->core);
    const char *who = http_answer_header(answer, PROOF_HEADER_SESSION);
    m->stranger = who && strcmp(who, a->identity.session) != 0;
    bool plain = a->session->group->class->proof == PROOF_NONE;
    bool may_bring_cookies = m->verdict == VERDICT_PROVEN && !m->direct &&
                             answer->status < 500 && !(plain && m->nameless);
    if (may_bring_cookies &&
        a->session->group->balancer_ops->sweeps(a->session->group->balancer))
        take_cookies(a, answer);
    if (m->verdict == VERDICT_BALANCER)
        error_set(&m->error, ERR_RESET, "the balancer answered %d in place of the container",
                  answer->status);
    if (m->verdict == VERDICT_MISROUTE)
        error_set(&m->error, ERR_MISROUTE, "another container answered");
    session_wake(a->session);
}

static size_t add_identity(struct http_header *headers, char *number, size_t number_size,
                           char *proof, const struct message *m,
                           const struct message_options *o, const char *body)
{
    const struct attempt *a = m->attempt;
    size_t count = 0;
    headers[count++] = (struct http_header){PROOF_HEADER_NONCE, m->nonce};
    if (o->anonymous)
        return count;
    snprintf(number, number_size, "%u", a->identity.number);
    proof_request(proof, a->secret, o->method, o->path, a->identity.session, a->identity.number,
                  m->nonce, body, body ? strlen(body) : 0);
    headers[count++] = (struct http_header){PROOF_HEADER_SESSION, a->identity.session};
    headers[count++] = (struct http_header){PROOF_HEADER_ATTEMPT, number};
    headers[count++] = (struct http_header){PROOF_HEADER_PROOF, proof};
    return count;
}

static void make_pool(struct attempt *a)
{
    const struct class *class = a->session->group->class;
    struct pool_limits limits = {
        .max_connections = (unsigned)class->max_connections, .max_queue = 64, .idle_ms = 5000};
    a->pool = pool_new(a->session->core->client, a->session->core->loop, &limits);
}

void message_send(struct message *m, struct attempt *a, const struct message_options *o)
{
    struct http_header headers[MAX_HEADERS];
    size_t count = 0;
    char number[12], proof[PROOF_HEX_SIZE];
    uint8_t random[16];
    message_reset(m);
    m->attempt = a;
    m->direct = o->direct;
    m->anonymous = o->anonymous;
    m->nameless = o->nameless;
    m->state = OP_RUNNING;
    loop_random(a->session->core->loop, random, sizeof(random));
    proof_nonce(m->nonce, random);

    char *body = o->body ? js_text(o->body) : NULL;
    if (a->session->group->class->proof == PROOF_REQUIRED)
        count = add_identity(headers, number, sizeof(number), proof, m, o, body);
    if (body)
        headers[count++] = (struct http_header){"Content-Type", "application/json"};
    if (o->respond_async)
        headers[count++] = (struct http_header){"Prefer", "respond-async"};
    if (!o->direct && a->route.cookies.header)
        headers[count++] = (struct http_header){"Cookie", a->route.cookies.header};

    const struct balancer_node *node = o->direct ? NULL : route_node(a);
    if (node && node->header.name)
        headers[count++] = node->header;
    char *base = base_url(a, node);
    char *url = mem_printf("%s%s", base, o->path);
    struct http_request request = {.method = o->method,
                                   .url = url,
                                   .headers = headers,
                                   .header_count = count,
                                   .body = body,
                                   .body_len = body ? strlen(body) : 0,
                                   .connect_timeout_ms = o->connect_timeout_ms,
                                   .first_byte_timeout_ms = o->timeout_ms,
                                   .total_timeout_ms = o->timeout_ms,
                                   .max_answer = o->max_answer};
    if (!a->pool)
        make_pool(a);
    m->request = pool_send(a->pool, &request, answered, m);
    free(url);
    free(base);
    free(body);
}

bool message_count(const json_t *body, const char *key, int64_t *out)
{
    const json_t *n = json_object_get(body, key);
    int64_t count = json_integer_value(n);
    if (!json_is_integer(n) || count < 0 || count > UINT32_MAX)
        return false;
    *out = count;
    return true;
}

void message_reset(struct message *m)
{
    if (m->request)
        pool_cancel(m->request);
    json_decref(m->body);
    *m = (struct message){0};
}
