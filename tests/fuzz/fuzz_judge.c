/* The judgement of one answer of a container: whatever it says, it is believed only with a
 * right proof for this very request, or by the plain contract's rules; and only then are its
 * cookies taken. Bytes: who is asked and how, the kind of proof, the status, headers a line
 * each, an empty line, the body. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "cleat.h"
#include "fuzz.h"
#include "http/pool.h"
#include "session/attempt.h"
#include "session/config.h"
#include "session/message.h"
#include "session/request.h"
#include "session/session.h"

#define SESSION "019aa000-0000-7000-8000-000000000001"
#define STRANGER "019aa000-0000-7000-8000-000000000002"
#define HEADERS_MAX 12

/* ---- a pool that keeps the request for us to answer */

static http_done_fn *asked_done;
static void *asked_arg;
static char one;

struct pool *pool_new(struct http_client *client, struct loop *loop,
                      const struct pool_limits *l)
{
    (void)client, (void)loop;
    must(l->max_connections > 0 && l->max_queue > 0);
    return (struct pool *)&one;
}

void pool_free(struct pool *p)
{
    must(p == (struct pool *)&one);
}

struct pool_request *pool_send(struct pool *p, const struct http_request *r, http_done_fn *done,
                               void *arg)
{
    const struct message *m = arg;
    char secret[65];
    must(p == (struct pool *)&one && !asked_done);
    hex_encode(secret, m->attempt->secret, sizeof m->attempt->secret);
    for (size_t i = 0; i < r->header_count; i++) {
        must(!strstr(r->headers[i].value, secret));
        must(!m->anonymous || !strstr(r->headers[i].value, SESSION));
        must(!m->direct || strcmp(r->headers[i].name, "Cookie") != 0);
    }
    must(strncmp(r->url, m->direct ? "http://10.0.0.7:8080/" : "http://balancer/",
                 m->direct ? 21 : 16) == 0);
    asked_done = done;
    asked_arg = arg;
    return (struct pool_request *)&one;
}

void pool_cancel(struct pool_request *r)
{
    must(r == (struct pool_request *)&one);
    asked_done = NULL;
}

void pool_retire_connections(struct pool *p)
{
    (void)p;
}

size_t pool_connections(const struct pool *p, const char *out[16], uint64_t *total)
{
    (void)p, (void)out;
    *total = 0;
    return 0;
}

bool pool_has_share(const struct pool *p)
{
    return p != NULL;
}

/* ---- a session with one attempt, behind a balancer with one node */

static bool sweeps(const struct balancer *b)
{
    (void)b;
    return true;
}

static size_t group_of(const struct balancer *b, const char *id)
{
    (void)b, (void)id;
    return 0;
}

static size_t nodes(const struct balancer *b, size_t group, const struct balancer_node **out)
{
    static const struct balancer_node node = {.url = "http://balancer/"};
    (void)b, (void)group;
    *out = &node;
    return 1;
}

static struct cleat core;
static struct group groups[2];

static void set_up(void)
{
    static const struct balancer_ops ops = {
        .name = "one", .sweeps = sweeps, .group_of = group_of, .nodes = nodes};
    if (core.config)
        return;
    core.config = cleat_config_new();
    must(cleat_config_set(core.config, "default", "cookies", "AWSALB*", NULL, 0));
    must(cleat_config_set(core.config, "plain", "proof", "none", NULL, 0));
    must(cleat_config_set(core.config, "plain", "cookies", "AWSALB*", NULL, 0));
    core.settings = &core.config->settings;
    core.loop = loop_new(NULL);
    TAILQ_INIT(&core.sessions);
    TAILQ_INIT(&core.open);
    TAILQ_INIT(&core.over);
    TAILQ_INIT(&core.events.readers);
    TAILQ_INIT(&core.dropped_jobs);
    TAILQ_INIT(&core.journal);
    for (size_t i = 0; i < 2; i++)
        groups[i] = (struct group){
            .core = &core, .class = &core.config->classes[i], .balancer_ops = &ops};
}

static struct attempt *attempt_of(struct group *g)
{
    struct session *s = session_new(&core, g, SESSION, "acme", "r");
    struct attempt *a = s->attempt = attempt_new(s, 3);
    a->launched = true;
    a->container = (struct container){.id = "c", .ip = "10.0.0.7", .port = 8080};
    a->route.cookies.header = mem_strdup("AWSALB=old");
    return a;
}

/* ---- answers */

enum proof { NO_PROOF, RIGHT, OTHER_STATUS, OTHER_NONCE, OTHER_SECRET, OTHER_SESSION, PROOFS };

static void prove(char out[PROOF_HEX_SIZE], const struct message *m, enum proof kind,
                  int status)
{
    uint8_t secret[PROOF_SECRET_SIZE];
    char nonce[PROOF_NONCE_SIZE];
    memcpy(secret, m->attempt->secret, sizeof secret);
    memcpy(nonce, m->nonce, sizeof nonce);
    secret[0] ^= kind == OTHER_SECRET;
    nonce[0] = kind == OTHER_NONCE ? nonce[0] == '0' ? '1' : '0' : nonce[0];
    proof_answer(out, secret, nonce, kind == OTHER_SESSION ? STRANGER : SESSION, 3,
                 "10.0.0.7:8080", kind == OTHER_STATUS ? status + 1 : status);
}

/* What a right proof is, said once more. */
static bool has_proof(const struct message *m, const struct http_answer *answer)
{
    const char *address = http_answer_header(answer, "x-cleat-address");
    const char *proof = http_answer_header(answer, "x-cleat-proof");
    char wanted[PROOF_HEX_SIZE];
    if (!address || !proof)
        return false;
    proof_answer(wanted, m->attempt->secret, m->nonce, SESSION, 3, address, answer->status);
    return strcmp(proof, wanted) == 0;
}

static bool is_plainly_ours(const struct message *m, int status)
{
    const char *id = json_string_value(json_object_get(m->body, "session_id"));
    const char *ip = json_string_value(json_object_get(m->body, "private_ip"));
    if (id)
        return strcmp(id, SESSION) == 0 && (!ip || strcmp(ip, "10.0.0.7") == 0);
    return (m->nameless && m->body && status < 500) ||
           (status == 500 && json_is_false(json_object_get(m->body, "upload_completed")));
}

static void check_verdict(const struct message *m, const struct http_answer *answer, bool plain)
{
    const struct attempt *a = m->attempt;
    bool ours = plain ? is_plainly_ours(m, answer->status) : has_proof(m, answer);
    must(m->state == OP_DONE && m->status == answer->status);
    must((m->verdict == VERDICT_PROVEN) == ours);
    must(!m->body || json_is_object(m->body));
    must(m->verdict != VERDICT_BALANCER || answer->status >= 500);
    must((m->error.code == ERR_NONE) == ours);
    bool fresh = !a->route.cookies.header || strcmp(a->route.cookies.header, "AWSALB=old") != 0;
    must(!fresh || (ours && !m->direct && answer->status < 500 && !(plain && m->nameless)));
    must(a->route.cookies.header); /* never lost by an answer alone */
    must(a->contact == 0 || (ours && !m->anonymous));
    const char *who = http_answer_header(answer, "X-Cleat-Session");
    must(m->stranger == (who && strcmp(who, SESSION) != 0));
}

static size_t take_headers(struct fuzz *f, struct http_header *headers, char **lines)
{
    size_t count = 0;
    while (count < HEADERS_MAX) {
        char *line = fuzz_line(f), *colon = strchr(line, ':');
        if (!colon) {
            free(line);
            break;
        }
        *colon = '\0';
        lines[count] = line;
        headers[count++] = (struct http_header){line, colon + 1};
    }
    return count;
}

static void answer(struct fuzz *f, const struct message *m, bool plain)
{
    static const int statuses[] = {200, 202, 403, 404, 500, 502, 504, 301};
    struct http_header headers[HEADERS_MAX + 3];
    char *lines[HEADERS_MAX], proof[PROOF_HEX_SIZE];
    enum proof kind = fuzz_number(f, PROOFS);
    int status = statuses[fuzz_number(f, 8)];
    size_t count = take_headers(f, headers, lines), theirs = count, len;
    prove(proof, m, kind, status);
    if (kind != NO_PROOF) {
        headers[count++] = (struct http_header){PROOF_HEADER_ADDRESS, "10.0.0.7:8080"};
        headers[count++] = (struct http_header){PROOF_HEADER_SESSION, SESSION};
        headers[count++] = (struct http_header){PROOF_HEADER_PROOF, proof};
    }
    char *bytes = fuzz_bytes(f, &len), *body = mem_alloc(len + 1);
    memcpy(body, bytes, len);
    struct http_answer a = {.sent = true,
                            .status = status,
                            .body = body,
                            .body_len = len,
                            .headers = headers,
                            .header_count = count};
    http_done_fn *done = asked_done;
    asked_done = NULL;
    done(asked_arg, &a);
    check_verdict(m, &a, plain);
    for (size_t i = 0; i < theirs; i++)
        free(lines[i]);
    free(bytes);
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    struct message m = {0};
    set_up();
    unsigned how = fuzz_byte(&f);
    bool plain = how & 1;
    struct attempt *a = attempt_of(&groups[plain]);
    json_t *body = how & 2 ? json_pack("{s:s}", "session_id", SESSION) : NULL;
    message_send(&m, a,
                 &(struct message_options){.method = how & 2 ? "POST" : "GET",
                                           .path = "/container-info",
                                           .body = body,
                                           .direct = how & 4,
                                           .anonymous = how & 8,
                                           .nameless = how & 16,
                                           .connect_timeout_ms = 1000,
                                           .timeout_ms = 1000,
                                           .max_answer = 65536});
    must(asked_done);
    answer(&f, &m, plain);
    json_decref(body);
    message_reset(&m);
    session_free(a->session);
    return 0;
}
