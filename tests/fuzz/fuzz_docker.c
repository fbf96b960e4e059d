/* The Docker Engine's answers, its streams of lines however they are split, and a client's
 * config.json. Bytes: which reader, then the text. */
#include <arpa/inet.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "driver/docker_answer.h"
#include "driver/docker_auth.h"
#include "driver/docker_events.h"
#include "driver/docker_fields.h"
#include "driver/docker_lines.h"
#include "fuzz.h"

#define PORT 8080

static void check_view(const struct docker_view *v)
{
    must(strlen(v->key) < KEY_SIZE && fuzz_is_printable(v->cause));
    must((v->ip[0] == '\0') == (v->port == 0));
    must(v->status == DOCKER_CREATED || v->status == DOCKER_RUNNING ||
         v->status == DOCKER_ENDED);
}

static void each_listed(void *arg, const struct docker_view *v)
{
    (void)arg;
    must(v->key[0]);
    check_view(v);
}

static void try_answers(const char *text, size_t len)
{
    struct docker_view v;
    struct error e = {0};
    char last[80];
    if (docker_read_inspect(text, len, PORT, &v))
        check_view(&v);
    docker_read_list(text, len, PORT, each_listed, NULL);
    for (int status = 200; status < 600; status += 100) {
        enum error_code code = docker_refusal(status, text, len, "create", &e);
        must((status < 400) == (code == ERR_NONE));
        if (code != ERR_NONE)
            fuzz_check_error(code, &e);
    }
    docker_read_last_line(text, len, last, sizeof last);
    must(strlen(last) < sizeof last && !strpbrk(last, "\r\n\033")); /* of any bytes; logged */
}

/* ---- streams */

struct seen {
    struct buf lines;
    size_t limit; /* the line after which no more are wanted */
};

static bool see_line(void *arg, const char *line, size_t len)
{
    struct seen *s = arg;
    struct docker_event event;
    struct docker_progress p;
    struct error e = {0};
    must(len > 0 && !memchr(line, '\n', len));
    char *exact = malloc(len);
    memcpy(exact, line, len);
    if (docker_read_event(exact, len, &event))
        must(strlen(event.key) < KEY_SIZE && fuzz_is_printable(event.cause));
    docker_read_progress(exact, len, &p, &e);
    must(fuzz_is_printable(p.layer) && fuzz_is_printable(p.status));
    if (e.code != ERR_NONE)
        fuzz_check_error(e.code, &e);
    free(exact);
    buf_printf(&s->lines, "%zu:", len);
    buf_add(&s->lines, line, len);
    return s->limit == 0 || --s->limit > 0;
}

/* The same lines and the same verdict, whatever pieces the text came in. */
static void try_lines(const char *text, size_t len)
{
    size_t limit = len > 0 ? (unsigned char)text[0] % 4 : 0, step = 1 + len % 7;
    struct seen whole = {.limit = limit}, cut = {.limit = limit};
    struct buf rest = {0}, pending = {0};
    bool good = docker_split(&rest, text, len, see_line, &whole), fine = true;
    for (size_t at = 0; at < len && fine; at += step)
        fine = docker_split(&pending, text + at, step < len - at ? step : len - at, see_line,
                            &cut);
    must(good == fine && whole.lines.len == cut.lines.len);
    must(whole.lines.len == 0 ||
         memcmp(whole.lines.data, cut.lines.data, whole.lines.len) == 0);
    must(!good || rest.len == pending.len);
    buf_free(&whole.lines);
    buf_free(&cut.lines);
    buf_free(&rest);
    buf_free(&pending);
}

/* ---- the event stream, over an engine of ours */

static const struct docker_request *asked;
static struct docker_request request_copy;
static http_done_fn *asked_done;
static void *asked_arg;
static char call_of_ours;
static unsigned opened, died;

struct docker_call *docker_ask(struct docker_engine *engine, const struct docker_request *r,
                               http_done_fn *done, void *arg)
{
    (void)engine;
    must(!asked && strncmp(r->path, "/events?", 8) == 0);
    request_copy = *r;
    asked = &request_copy;
    asked_done = done;
    asked_arg = arg;
    return (struct docker_call *)&call_of_ours;
}

void docker_cancel(struct docker_call *call)
{
    must(call == (struct docker_call *)&call_of_ours && asked);
    asked = NULL;
}

static void on_event(void *arg, const struct docker_event *event)
{
    (void)arg;
    must(event->key[0] && opened == 1);
    died += event->kind == DOCKER_DIED;
}

static void on_open(void *arg)
{
    (void)arg;
    opened++;
}

static void try_events(const char *text, size_t len)
{
    static struct loop *loop;
    if (!loop)
        loop = loop_new(NULL);
    opened = died = 0;
    struct docker_events *s = docker_events_open(&(struct docker_events_env){
        .loop = loop, .owner = "cleat", .on_event = on_event, .on_open = on_open});
    size_t step = 1 + len % 13;
    for (size_t at = 0; at < len && asked; at += step)
        asked->on_data(asked_arg, text + at, step < len - at ? step : len - at);
    must(asked || docker_events_reconnects(s) == 1);
    if (asked) { /* it ends as well, or breaks off */
        struct http_answer end = {.status = len % 2 ? 200 : 0, .body = ""};
        if (len % 2 == 0)
            error_set(&end.error, ERR_RESET, "gone");
        asked = NULL;
        asked_done(asked_arg, &end);
    }
    must(!docker_events_connected(s) && docker_events_reconnects(s) == 1);
    docker_events_close(s);
}

/* ---- logins */

static void check_header(const char *header, const char *registry)
{
    size_t len = strlen(header);
    char *standard = mem_strdup(header), *text = mem_alloc(len + 1);
    must(len % 4 == 0 && header[strspn(header, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst"
                                               "uvwxyz0123456789-_=")] == '\0');
    for (char *c = standard; *c; c++)
        *c = *c == '-' ? '+' : *c == '_' ? '/' : *c;
    must(EVP_DecodeBlock((unsigned char *)text, (unsigned char *)standard, (int)len) >= 0);
    json_t *o = json_loads(text, 0, NULL);
    must(json_is_object(o));
    must(strcmp(json_string_value(json_object_get(o, "serveraddress")), registry) == 0);
    must(json_is_string(json_object_get(o, "identitytoken")) ||
         (json_is_string(json_object_get(o, "username")) &&
          json_is_string(json_object_get(o, "password"))));
    json_decref(o);
    free(text);
    free(standard);
}

static void try_auth(const char *bytes, size_t len)
{
    struct docker_auth auth;
    char registry[64];
    char *text = mem_strndup(bytes, len), *line = mem_strndup(text, strcspn(text, "\n"));
    docker_registry_of(line, registry, sizeof registry);
    must(*line == '/' || *registry || *line == '\0');
    docker_auth_read(text + strlen(line), registry, &auth);
    must(fuzz_is_printable(auth.hint));
    must(!auth.header || !auth.hint[0]);
    if (auth.header)
        check_header(auth.header, registry);
    docker_auth_clear(&auth);
    char *path = docker_pull_path(line);
    must(!strpbrk(path, " \r\n"));
    free(path);
    free(line);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(const char *, size_t) = {try_answers, try_lines, try_events,
                                                            try_auth};
    struct fuzz f = {data, size};
    size_t len;
    unsigned choice = fuzz_number(&f, 4);
    char *text = fuzz_bytes(&f, &len);
    readers[choice](text, len);
    free(text);
    return 0;
}
