#include "session/input.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/backoff.h"
#include "base/log.h"
#include "base/mem.h"
#include "driver/s3_url.h"
#include "loop/child.h"
#include "loop/lines.h"
#include "session/adopt.h"
#include "session/attempt.h"
#include "session/event.h"
#include "session/session.h"

#define FILE_SCHEME "file://"
#define COPIES_MAX 8 /* at once */
#define COPY_WAIT_MS 250
#define RETRY_CAP_MS 60000
#define ENVIRONMENT_MAX 64

extern char **environ;

/* ---- what is allowed ---- */

/* Parts after the scheme: none empty, "." or ".."; one slash at the end is fine. */
static bool is_plain_path(const char *path)
{
    while (*path) {
        size_t n = strcspn(path, "/");
        if (n == 0 || (n == 1 && path[0] == '.') || (n == 2 && strncmp(path, "..", 2) == 0))
            return false;
        path += n + (path[n] == '/');
    }
    return true;
}

static bool is_input_url(const char *url)
{
    struct s3_url s3;
    for (const char *p = url; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            return false;
    if (strncmp(url, FILE_SCHEME "/", strlen(FILE_SCHEME "/")) == 0)
        return is_plain_path(url + strlen(FILE_SCHEME "/"));
    return s3_url_parse(&s3, url);
}

enum error_code input_check(const char *url, struct error *e)
{
    if (is_input_url(url))
        return ERR_NONE;
    return error_set(
        e, ERR_INVALID,
        "input: file:///DIRECTORY or s3://BUCKET/PREFIX without empty parts, \".\" "
        "and \"..\" is allowed");
}

/* source with every {tenant} replaced; free(). */
static char *fill_in(const char *source, const char *tenant)
{
    static const char mark[] = "{tenant}";
    char *out = mem_strdup(source), *at;
    while ((at = strstr(out, mark))) { /* a tenant's name has no braces */
        char *next = mem_printf("%.*s%s%s", (int)(at - out), out, tenant, at + strlen(mark));
        free(out);
        out = next;
    }
    return out;
}

static bool lies_below(const char *url, const char *source)
{
    size_t len = strlen(source);
    while (len > 0 && source[len - 1] == '/')
        len--;
    return strncmp(url, source, len) == 0 && (url[len] == '/' || !url[len]);
}

enum error_code input_allow(const struct class *class, const char *tenant, const char *url,
                            struct error *e)
{
    for (size_t i = 0; class->input_sources && class->input_sources[i]; i++) {
        const char *source = class->input_sources[i];
        size_t name = strcspn(source, "=");
        bool any = name == 1 && source[0] == '*';
        if (!any && (name != strlen(tenant) || strncmp(source, tenant, name) != 0))
            continue;
        char *root = fill_in(source + name + 1, tenant);
        bool fine = is_input_url(root) && lies_below(url, root);
        free(root);
        if (fine)
            return ERR_NONE;
    }
    return error_set(e, ERR_FORBIDDEN, "input: class %s allows this tenant no input from there",
                     class->name);
}

/* ---- the copy ---- */

bool input_is_running(const struct session *s)
{
    return s->input.child != NULL;
}

/* Whose place in the store it is: the container finds it under the identity that it has. */
static const char *place_of(const struct session *s)
{
    return s->attempt ? s->attempt->identity.session : s->id;
}

bool input_is_there(const struct session *s)
{
    const struct input *in = &s->input;
    return !in->url || (in->done && strcmp(in->place, place_of(s)) == 0);
}

static void let_go(struct session *s)
{
    struct input *in = &s->input;
    if (!in->child)
        return;
    child_free(in->child);
    lines_close(in->lines);
    in->child = NULL;
    in->lines = NULL;
    s->core->copies--;
}

void input_stop(struct session *s)
{
    if (s->input.child)
        child_kill(s->input.child, SIGKILL, true);
    let_go(s);
    session_span_cut(s, "input", 0);
}

static void on_line(void *arg, const char *line)
{
    struct session *s = arg;
    int64_t files, bytes;
    if (strncmp(line, "failed ", 7) == 0)
        error_set(&s->input.error, ERR_INPUT, "%s", line + 7);
    else if (sscanf(line, "done %" SCNd64 " %" SCNd64, &files, &bytes) == 2)
        s->input.files = files;
}

static void on_copied(void *arg, int status)
{
    struct session *s = arg;
    struct input *in = &s->input;
    lines_drain(in->lines);
    let_go(s);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        in->done = true;
        in->error = (struct error){0};
        session_dirty(s); /* it is not copied again */
        session_span_close(s, "input", 0, NULL);
        log_info("input.staged", KV("session", s->id), KI("files", in->files));
        event_emit(s, "input.staged", KI("files", in->files));
    } else {
        if (in->error.code == ERR_NONE)
            error_set(&in->error, ERR_INPUT, "the copying process ended with status %d",
                      status);
        in->tries++;
        in->retry_at = core_now(s->core) +
                       backoff_ms(s->group->class->backoff_base_ms, in->tries, RETRY_CAP_MS);
        log_warn("input.failed", KV("session", s->id), KI("try", in->tries),
                 KV("error", in->error.message));
        event_emit(s, "retry", KV("step", "input"), KI("try", in->tries),
                   KV("error", in->error.message));
    }
    session_wake(s);
}

static bool is_passed_on(const char *variable)
{
    static const char *const names[] = {"PATH=",          "HOME=",        "HTTP_PROXY=",
                                        "HTTPS_PROXY=",   "NO_PROXY=",    "http_proxy=",
                                        "https_proxy=",   "no_proxy=",    "AWS_",
                                        "SSL_CERT_FILE=", "SSL_CERT_DIR="};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* Credentials are found as ours are; everything else of our environment stays with us. */
static void make_environment(const char *envp[ENVIRONMENT_MAX], const char *region)
{
    size_t n = 0;
    if (region)
        envp[n++] = region;
    for (char **v = environ; *v && n < ENVIRONMENT_MAX - 1; v++)
        if (is_passed_on(*v) && !(region && strncmp(*v, "AWS_REGION=", 11) == 0))
            envp[n++] = *v;
    envp[n] = NULL;
}

static char *store_url(const struct session *s)
{
    const char *store = s->group->class->artifacts;
    size_t len = strlen(store);
    while (len > 0 && store[len - 1] == '/')
        len--;
    return mem_printf("%.*s/%s/input", (int)len, store, s->input.place);
}

static void start_copy(struct session *s)
{
    struct input *in = &s->input;
    const struct settings *set = s->core->settings;
    const char *envp[ENVIRONMENT_MAX];
    char *to = store_url(s);
    char *region = *set->aws_region ? mem_printf("AWS_REGION=%s", set->aws_region) : NULL;
    const char *argv[] = {set->executor, "--stage", in->url, to, NULL};
    int writer = -1;
    make_environment(envp, region);
    in->files = 0;
    in->error = (struct error){0};
    in->lines = lines_open(s->core->loop, &writer, on_line, s, &in->error);
    if (in->lines) {
        struct child_spec spec = {
            .argv = argv, .envp = envp, .pipe_fd = writer, .new_group = true};
        in->child = child_spawn(s->core->loop, &spec, on_copied, s, &in->error);
        close(writer);
    }
    free(region);
    free(to);
    if (in->child) {
        s->core->copies++;
        return;
    }
    lines_close(in->lines);
    in->lines = NULL;
    in->retry_at =
        core_now(s->core) + COPY_WAIT_MS; /* no process, no descriptor: not its fault */
}

static bool container_has_it(const struct session *s)
{
    return s->attempt && s->attempt->synced;
}

/* What was copied for another container is copied anew. */
static void aim(struct session *s)
{
    struct input *in = &s->input;
    if (strcmp(in->place, place_of(s)) == 0)
        return;
    if (in->child)
        child_kill(in->child, SIGKILL, true);
    let_go(s);
    in->done = false;
    mem_copy_string(in->place, sizeof(in->place), place_of(s));
}

void input_step(struct session *s)
{
    struct input *in = &s->input;
    if (!in->url || (s->attempt && !attempt_is_taken(s->attempt)))
        return;
    aim(s);
    if (in->done || in->child || adopted_unasked(s) || container_has_it(s))
        return;
    if (in->tries >= (unsigned)s->group->class->launch_attempts) {
        session_close(s, error_name(in->error.code), &in->error);
        return;
    }
    if (session_not_before(s, in->retry_at))
        return;
    if (s->core->copies >= COPIES_MAX) {
        session_at(s, core_now(s->core) + COPY_WAIT_MS);
        return;
    }
    if (in->tries == 0 && !in->shown)
        session_span_open(s, "input", 0, false);
    in->shown = true;
    start_copy(s);
    if (!in->child)
        session_not_before(s, in->retry_at);
}

json_t *input_request(const struct session *s)
{
    const struct class *class = s->group->class;
    struct s3_url store;
    json_t *o = json_pack("{s:s, s:s}", "action", "download", "local_path", class->input_path);
    if (!s3_url_parse(&store, class->artifacts)) {
        json_object_set_new(o, "bucket_name", json_string(""));
        json_object_set_new(o, "s3_key_prefix", json_sprintf("%s/input", s->input.place));
        return o;
    }
    json_object_set_new(o, "bucket_name", json_string(store.bucket));
    json_object_set_new(
        o, "s3_key_prefix",
        json_sprintf("%s%s%s/input/", store.prefix, *store.prefix ? "/" : "", s->input.place));
    return o;
}
