/* What a static host is told under its claim key, and by those who have none. Only a lease
 * under the host's challenge gives it a session, the terms are taken whole or not at all, and
 * no answer shows a secret.
 *
 * Bytes: for each request a byte of path and seal, then a line: the message. "CHALLENGE" in it
 * is the host's. */
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/mem.h"
#include "executor/executor.h"
#include "executor/lease_wipe.h"
#include "fuzz.h"
#include "http/json.h"
#include "loop/child.h"

#define SECRET "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define ADDRESS "10.0.0.9:8080"
#define CHALLENGE "CHALLENGE"
#define REQUESTS_MAX 8

struct child *__wrap_child_spawn(struct loop *, const struct child_spec *, child_exit_fn *,
                                 void *, struct error *);
int __wrap_execve(const char *, char *const[], char *const[]);

static struct executor executor;
static char dir[] = "/tmp/cleat-fuzz-lease-XXXXXX";

/* ---- nothing is started, and no other program takes our place */

struct child *__wrap_child_spawn(struct loop *loop, const struct child_spec *spec,
                                 child_exit_fn *on_exit, void *arg, struct error *e)
{
    (void)loop, (void)spec, (void)on_exit, (void)arg;
    error_set(e, ERR_INTERNAL, "no process is started here");
    return NULL;
}

int __wrap_execve(const char *path, char *const argv[], char *const envp[])
{
    (void)path, (void)argv, (void)envp;
    fuzz_fail(__FILE__, __LINE__, "execve");
}

/* ---- a server without a socket */

struct server_request {
    const char *path;
    char *body;
};
static int last_status;
static json_t *said; /* under the claim key; NULL: nothing */

struct server *server_new(struct loop *loop, const struct server_options *o,
                          server_request_fn *fn, void *arg, struct error *e)
{
    (void)loop, (void)o, (void)fn, (void)arg, (void)e;
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
    (void)r;
    return "POST";
}

const char *server_target(const struct server_request *r)
{
    return r->path;
}

const char *server_path(const struct server_request *r)
{
    return r->path;
}

const char *server_query(struct server_request *r, const char *name)
{
    (void)r, (void)name;
    return NULL;
}

const char *server_header(const struct server_request *r, const char *name)
{
    (void)r, (void)name;
    return NULL;
}

const void *server_body(const struct server_request *r, size_t *len)
{
    *len = strlen(r->body);
    return r->body;
}

const char *server_local_address(const struct server_request *r)
{
    (void)r;
    return ADDRESS;
}

void server_on_gone(struct server_request *r, server_gone_fn *fn, void *arg)
{
    (void)r, (void)fn, (void)arg;
}

void server_add_header(struct server_request *r, const char *name, const char *value)
{
    (void)r, (void)name, (void)value;
}

void server_answer(struct server_request *r, int status, const char *type, const void *body,
                   size_t len)
{
    struct error e = {0};
    (void)type;
    must(status >= 200 && status < 600 && !memmem(body, len, SECRET, 64));
    last_status = status;
    json_decref(said);
    said = status == 200 ? lease_open(executor.lease.key, body, len, &e) : NULL;
    must(status != 200 || said);
    free(r->body);
    free(r);
}

void server_answer_error(struct server_request *r, const struct error *e)
{
    fuzz_check_error(e->code, e);
    server_answer(r, error_http_status(e->code), NULL, "{}", 2);
}

/* ---- one host */

static bool is_set_up;

static void tidy(void)
{
    struct error e = {0};
    wipe_tree(AT_FDCWD, dir, &e);
}

static void set_up(void)
{
    if (is_set_up)
        return;
    must(mkdtemp(dir));
    setenv("CLEAT_LISTEN", ADDRESS, 1);
    setenv("CLEAT_WORKSPACE", dir, 1);
    setenv("CLEAT_LEASE_KEY_FILE", "/dev/null", 1);
    atexit(tidy);
    is_set_up = true;
}

static void start(void)
{
    struct error e = {0};
    executor = (struct executor){.lease = {.key = {7}, .lock = -1}};
    must(config_read(&executor.config, &e) == ERR_NONE);
    executor.config.sandbox = SANDBOX_NONE;
    must(executor_start(&executor, &e) == ERR_NONE);
}

static char *fill_in(const char *line)
{
    struct buf text = {0};
    for (const char *at; (at = strstr(line, CHALLENGE)); line = at + strlen(CHALLENGE)) {
        buf_add(&text, line, (size_t)(at - line));
        buf_puts(&text, executor.lease.challenge);
    }
    buf_puts(&text, line);
    return buf_take(&text);
}

static char *seal(const char *text, bool rightly)
{
    uint8_t random[PROOF_SEAL_RANDOM] = {1}, key[PROOF_SECRET_SIZE] = {rightly ? 7 : 8};
    char *hex = proof_seal(key, random, text, strlen(text));
    char *body = mem_printf("{\"sealed\":\"%s\"}", hex);
    free(hex);
    return body;
}

static void one_request(struct fuzz *f)
{
    static const char *const paths[] = {LEASE_PATH, LEASE_STATE_PATH, LEASE_RELEASE_PATH};
    enum { SEALED, FORGED, BARE };
    unsigned choice = fuzz_byte(f), how = choice / 4 % 3;
    char *line = fuzz_line(f), *text = fill_in(line), *was = NULL;
    bool knows = strstr(line, CHALLENGE) != NULL, leaving = executor.lease.leaving;
    struct server_request *r = mem_alloc(sizeof *r);
    r->path = paths[choice % 3];
    r->body = how == BARE ? mem_strdup(text) : seal(text, how == SEALED);
    was = mem_strdup(executor.lease.holder);
    last_status = 0;
    contract_request(&executor, r);
    must(last_status != 0);
    const char *now = executor.lease.holder;
    must(how == SEALED || last_status == 403 || last_status == 400);
    if (!was && now)
        must(how == SEALED && knows && choice % 3 == 0);
    if (was)
        must(now && strcmp(was, now) == 0);
    if (!leaving && executor.lease.leaving)
        must(how == SEALED && now && choice % 3 != 1);
    if (now && !executor.lease.leaving) /* whole */
        must(executor.config.session[0] && executor.config.attempt > 0 &&
             executor.config.session[0] != '.' && !strchr(executor.config.session, '/'));
    free(was);
    free(text);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    set_up();
    start();
    for (int i = 0; f.left > 0 && i < REQUESTS_MAX; i++) {
        one_request(&f);
        event_base_loop(loop_base(executor.loop), EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    executor_release(&executor);
    lease_release(&executor.lease);
    config_release(&executor.config);
    json_decref(said);
    said = NULL;
    return 0;
}
