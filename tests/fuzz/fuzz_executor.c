/* The executor's contract: requests in any order, with a right proof or a wrong one. Each is
 * answered once, nothing is done for who cannot prove himself, and every answer to a nonce is
 * proven. There is no socket and no process: the server, helpers and spawns are ours.
 *
 * Bytes: for each request a byte of method and proof, its target and its body, a line each. */
#include <event2/event.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "executor/executor.h"
#include "executor/helper.h"
#include "executor/workspace.h"
#include "fuzz.h"
#include "http/json.h"
#include "loop/child.h"

#define SESSION "019aa000-0000-7000-8000-000000000001"
#define SECRET "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define ADDRESS "10.0.0.9:8080"

struct child *__wrap_child_spawn(struct loop *, const struct child_spec *, child_exit_fn *,
                                 void *, struct error *);

static struct executor executor;
static unsigned started; /* programs and helpers */

/* ---- no process is made */

struct child *__wrap_child_spawn(struct loop *loop, const struct child_spec *spec,
                                 child_exit_fn *on_exit, void *arg, struct error *e)
{
    (void)loop, (void)spec, (void)on_exit, (void)arg;
    started++;
    error_set(e, ERR_INTERNAL, "no process is started here");
    return NULL;
}

struct helper {
    helper_fn *done;
    void *arg;
};
static struct helper helpers[HELPERS_MAX];
static size_t helper_count;
static struct helper_progress progress = {1, 2, 1, 2};

struct helper *helper_start(struct loop *loop, const char *const *arguments, helper_fn *done,
                            void *arg, struct error *e)
{
    (void)loop;
    started++;
    for (; *arguments; arguments++)
        must(!strstr(*arguments, SECRET) && strcmp(*arguments, "..") != 0);
    if (helper_count == HELPERS_MAX) {
        error_set(e, ERR_FULL, "%d copies run already", HELPERS_MAX);
        return NULL;
    }
    helpers[helper_count] = (struct helper){done, arg};
    return &helpers[helper_count++];
}

const struct helper_progress *helper_progress(const struct helper *h)
{
    must(h >= helpers && h < helpers + HELPERS_MAX);
    return &progress;
}

size_t helper_pids(pid_t out[HELPERS_MAX])
{
    (void)out;
    return 0;
}

void helper_settings(char *line)
{
    must(!line || strchr(line, '\n') == line + strlen(line) - 1);
    free(line);
}

void helper_end_all(void)
{
    helper_count = 0;
}

/* The oldest ends, well or not. */
static void end_helper(bool well)
{
    struct error e = {0};
    if (helper_count == 0)
        return;
    struct helper h = helpers[0];
    memmove(helpers, helpers + 1, --helper_count * sizeof *helpers);
    error_set(&e, ERR_INTERNAL, "it failed");
    h.done(h.arg, well ? NULL : &e, &progress);
}

/* ---- a server without a socket */

struct server_request {
    const char *method;
    char *target, *path, *query, *body;
    size_t body_len;
    char nonce[PROOF_NONCE_SIZE], proof[PROOF_HEX_SIZE];
    const char *session, *attempt, *prefer;
    char *answer_proof;
    server_gone_fn *gone;
    void *gone_arg;
};
static unsigned asked, answered;
static int last_status;

struct server *server_new(struct loop *loop, const struct server_options *o,
                          server_request_fn *fn, void *arg, struct error *e)
{
    (void)loop, (void)o, (void)e;
    must(fn == contract_request && arg == &executor);
    return (struct server *)&executor;
}

void server_free(struct server *s)
{
    (void)s;
}

uint16_t server_port(const struct server *s)
{
    (void)s;
    return 8080;
}

void server_stop_listening(struct server *s)
{
    (void)s;
}

const char *server_method(const struct server_request *r)
{
    return r->method;
}

const char *server_target(const struct server_request *r)
{
    return r->target;
}

const char *server_path(const struct server_request *r)
{
    return r->path;
}

const char *server_query(struct server_request *r, const char *name)
{
    const char *at = strstr(r->query, name);
    return at && at[strlen(name)] == '=' ? at + strlen(name) + 1 : NULL;
}

const char *server_header(const struct server_request *r, const char *name)
{
    const struct {
        const char *name, *value;
    } headers[] = {{PROOF_HEADER_NONCE, r->nonce},
                   {PROOF_HEADER_PROOF, r->proof},
                   {PROOF_HEADER_SESSION, r->session},
                   {PROOF_HEADER_ATTEMPT, r->attempt},
                   {"Prefer", r->prefer}};
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        if (strcasecmp(headers[i].name, name) == 0)
            return headers[i].value && *headers[i].value ? headers[i].value : NULL;
    return NULL;
}

const void *server_body(const struct server_request *r, size_t *len)
{
    *len = r->body_len;
    return r->body;
}

const char *server_local_address(const struct server_request *r)
{
    (void)r;
    return ADDRESS;
}

void server_on_gone(struct server_request *r, server_gone_fn *fn, void *arg)
{
    r->gone = fn;
    r->gone_arg = arg;
}

void server_add_header(struct server_request *r, const char *name, const char *value)
{
    must(value && !strstr(value, SECRET) && !strpbrk(value, "\r\n"));
    if (strcmp(name, PROOF_HEADER_PROOF) == 0)
        r->answer_proof = mem_strdup(value);
}

static void free_request(struct server_request *r)
{
    free(r->target);
    free(r->path);
    free(r->query);
    free(r->body);
    free(r->answer_proof);
    free(r);
}

void server_answer(struct server_request *r, int status, const char *type, const void *body,
                   size_t len)
{
    char proof[PROOF_HEX_SIZE];
    (void)type;
    must(status >= 200 && status < 600 && (!len || !memmem(body, len, SECRET, 64)));
    if (proof_nonce_valid(r->nonce) && body) {
        proof_answer(proof, executor.config.secret, r->nonce, SESSION, 1, ADDRESS, status);
        must(r->answer_proof && strcmp(r->answer_proof, proof) == 0);
    }
    answered++;
    last_status = status;
    free_request(r);
}

void server_answer_error(struct server_request *r, const struct error *e)
{
    fuzz_check_error(e->code, e);
    server_answer(r, error_http_status(e->code), NULL, "{}", 2);
}

/* ---- one container */

enum { REQUESTS_MAX = 16 };

static char in_memory[] = "/dev/shm/cleat-fuzz-XXXXXX", on_disk[] = "/tmp/cleat-fuzz-XXXXXX";
static char *workspace; /* executions sync their files: in memory that costs nothing */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type;
    return at->level > 0 ? remove(path) : 0;
}

static void empty_workspace(void)
{
    nftw(workspace, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void tidy(void)
{
    empty_workspace();
    rmdir(workspace);
    config_release(&executor.config);
}

static void set_up(void)
{
    struct error e = {0};
    if (executor.config.session)
        return;
    workspace = mkdtemp(in_memory) ? in_memory : mkdtemp(on_disk);
    must(workspace);
    char *artifacts = mem_printf("file://%s/store", workspace);
    setenv("SESSION_ID", SESSION, 1);
    setenv("CLEAT_ATTEMPT", "1", 1);
    setenv("CLEAT_OWNER", "cleat", 1);
    setenv("CLEAT_SECRET", SECRET, 1);
    setenv("CLEAT_LISTEN", ADDRESS, 1);
    setenv("CLEAT_WORKSPACE", workspace, 1);
    setenv("CLEAT_SANDBOX", "none", 1);
    setenv("CLEAT_ARTIFACTS", artifacts, 1);
    if (config_read(&executor.config, &e) != ERR_NONE)
        fprintf(stderr, "%s\n", e.message);
    must(executor.config.session && !e.code);
    executor.config.sandbox = SANDBOX_NONE;
    free(artifacts);
    atexit(tidy);
}

static void start(void)
{
    struct config config = executor.config;
    struct error e = {0};
    executor = (struct executor){.config = config};
    asked = answered = started = 0;
    helper_count = 0;
    must(workspace_prepare(&executor.config, &e) == ERR_NONE);
    must(executor_start(&executor, &e) == ERR_NONE);
}

static void turn(void)
{
    for (int i = 0; i < 3; i++)
        event_base_loop(loop_base(executor.loop), EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

/* ---- requests */

enum proof {
    RIGHT,
    RIGHT_AGAIN,
    NONE,
    WRONG_PROOF,
    WRONG_SESSION,
    WRONG_ATTEMPT,
    NO_NONCE,
    PROOFS
};

static bool may_act(enum proof kind)
{
    return kind == RIGHT;
}

static void prove(struct server_request *r, enum proof kind)
{
    static unsigned nonces;
    nonces += kind != RIGHT_AGAIN; /* else the nonce of the one before */
    r->session = kind == WRONG_SESSION ? "019aa000-0000-7000-8000-000000000002" : SESSION;
    r->attempt = kind == WRONG_ATTEMPT ? "2" : "1";
    snprintf(r->nonce, sizeof r->nonce, "%032x", nonces);
    proof_request(r->proof, executor.config.secret, r->method, r->target, r->session,
                  kind == WRONG_ATTEMPT ? 2 : 1, r->nonce, r->body, r->body_len);
    if (kind == WRONG_PROOF)
        r->proof[5] = r->proof[5] == '0' ? '1' : '0';
    if (kind == NO_NONCE)
        r->nonce[0] = '\0';
    if (kind == NONE) {
        r->session = r->attempt = NULL;
        r->proof[0] = '\0';
    }
}

static bool is_public(const struct server_request *r, enum proof kind)
{
    return kind == NONE && strcmp(r->method, "GET") == 0 &&
           (strcmp(r->path, "/health") == 0 || strcmp(r->path, "/container-info") == 0);
}

static struct server_request *next_request(struct fuzz *f, enum proof *kind)
{
    static const char *const methods[] = {"POST", "GET", "DELETE", "POST"};
    struct server_request *r = mem_alloc(sizeof *r);
    unsigned choice = fuzz_byte(f);
    r->method = methods[choice % 4];
    *kind = choice & 32 ? choice / 64 + 1 + fuzz_number(f, PROOFS - 4) : RIGHT;
    r->prefer = choice & 8 ? "respond-async" : NULL;
    r->target = fuzz_line(f);
    r->path = mem_strndup(r->target, strcspn(r->target, "?"));
    r->query = mem_strdup(strchr(r->target, '?') ? strchr(r->target, '?') : "");
    r->body = fuzz_line(f);
    r->body_len = strlen(r->body);
    prove(r, *kind);
    return r;
}

/* What a request may have changed. */
struct marks {
    unsigned started, executions;
    size_t nonces;
    enum claim_state claim;
    enum closing_state closing;
    const char *keys;
};

static struct marks take_marks(void)
{
    return (struct marks){started,
                          executor.executions.started,
                          executor.nonces.count,
                          executor.claim_state,
                          executor.closing.state,
                          executor.keys.access_key};
}

static void one_request(struct fuzz *f)
{
    enum proof kind;
    struct server_request *r = next_request(f, &kind);
    bool public = is_public(r, kind), reads = strcmp(r->method, "GET") == 0;
    struct marks before = take_marks();
    unsigned count = answered;
    asked++;
    contract_request(&executor, r);
    struct marks after = take_marks();
    bool again = kind == RIGHT_AGAIN && reads;
    if (!may_act(kind) && !again && !(kind == RIGHT_AGAIN && after.nonces > before.nonces)) {
        must(answered == count + 1 && (public ? last_status == 200 : last_status == 403));
        must(memcmp(&before, &after, sizeof before) == 0);
    }
    turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    set_up();
    start();
    while (f.left > 0 && asked < REQUESTS_MAX) {
        if (*f.at & 16)
            end_helper(*f.at & 4);
        one_request(&f);
        must(answered <= asked);
    }
    while (helper_count > 0) {
        end_helper(true);
        turn();
    }
    turn();
    executor_release(&executor);
    must(answered == asked);
    empty_workspace();
    return 0;
}
