#include "driver/docker_pull.h"
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "driver/docker_answer.h"
#include "driver/docker_auth.h"
#include "driver/docker_fields.h"
#include "driver/docker_lines.h"

#define TELL_EVERY_MS 500
#define LAYERS_MAX 1024
#define MB 1e6

struct layer {
    char id[72];
    bool done;
    int64_t current, total; /* bytes of its download */
    UT_hash_handle hh;
};

struct docker_pull {
    LIST_ENTRY(docker_pull) entry;
    struct docker_pull_env env;
    char *image;
    struct docker_auth auth;
    struct docker_call *call;
    struct buf pending;
    struct layer *layers;
    char status[64], text[200];
    struct error error; /* what the stream says */
    struct timer tell;
};

static void free_pull(struct docker_pull *p)
{
    struct layer *l, *next;
    LIST_REMOVE(p, entry);
    HASH_ITER (hh, p->layers, l, next) {
        HASH_DEL(p->layers, l);
        free(l);
    }
    docker_auth_clear(&p->auth);
    timer_stop(&p->tell);
    buf_free(&p->pending);
    free(p->image);
    free(p);
}

static struct layer *layer_of(struct docker_pull *p, const char *id)
{
    struct layer *l;
    HASH_FIND_STR(p->layers, id, l);
    if (l == NULL && HASH_COUNT(p->layers) < LAYERS_MAX) {
        l = mem_alloc(sizeof(*l));
        mem_copy_string(l->id, sizeof(l->id), id);
        HASH_ADD_STR(p->layers, id, l);
    }
    return l;
}

/* Only of a layer that something is done with: other lines have an id as well, the tag's. */
static void take_layer(struct docker_pull *p, const struct docker_progress *line)
{
    static const char *const begun[] = {"Pulling fs layer", "Waiting",           "Downloading",
                                        "Extracting",       "Download complete", NULL};
    static const char *const done[] = {"Pull complete", "Already exists", NULL};
    bool is_done = false, is_layer = false;
    for (size_t i = 0; done[i] != NULL; i++)
        is_done = is_done || strcmp(line->status, done[i]) == 0;
    for (size_t i = 0; begun[i] != NULL; i++)
        is_layer = is_layer || strcmp(line->status, begun[i]) == 0;
    struct layer *l = is_done || is_layer ? layer_of(p, line->layer) : NULL;
    if (l == NULL)
        return;
    l->done = l->done || is_done;
    if (strcmp(line->status, "Downloading") == 0) {
        l->current = line->current;
        l->total = line->total;
    } else if (is_done || line->status[0] == 'E' || line->status[0] == 'D') {
        l->current = l->total;
    }
}

static void say(struct docker_pull *p)
{
    unsigned done = 0;
    int64_t current = 0, total = 0;
    struct buf text = {0};
    for (const struct layer *l = p->layers; l != NULL; l = l->hh.next) {
        done += l->done;
        current += l->current;
        total += l->total;
    }
    buf_printf(&text, "pulling %.100s", p->image);
    if (p->layers != NULL)
        buf_printf(&text, ": %u of %u layers", done, HASH_COUNT(p->layers));
    else if (p->status[0] != '\0')
        buf_printf(&text, ": %s", p->status);
    if (total > 0)
        buf_printf(&text, ", %.1f of %.1f MB", (double)current / MB, (double)total / MB);
    mem_copy_string(p->text, sizeof(p->text), text.data);
    buf_free(&text);
}

static void tell(void *arg)
{
    struct docker_pull *p = arg;
    char before[sizeof(p->text)];
    mem_copy_string(before, sizeof(before), p->text);
    say(p);
    if (strcmp(before, p->text) == 0)
        return;
    log_info("image.pulling", KV("image", p->image), KV("progress", p->text));
    p->env.on_progress(p->env.arg, p, p->text);
}

static bool progress_line(void *arg, const char *text, size_t len)
{
    struct docker_pull *p = arg;
    struct docker_progress line;
    docker_read_progress(text, len, &line, &p->error);
    if (line.status[0] == '\0')
        return true;
    take_layer(p, &line);
    mem_copy_string(p->status, sizeof(p->status), line.status);
    if (!timer_armed(&p->tell))
        timer_arm(&p->tell, TELL_EVERY_MS);
    return true;
}

/* After a line without end nothing more is understood; done says it. */
static void pull_data(void *arg, const char *data, size_t len)
{
    struct docker_pull *p = arg;
    if (docker_split(&p->pending, data, len, progress_line, p))
        return;
    error_set(&p->error, ERR_PROTOCOL, "pull: a line without end");
    p->pending.len = 0;
}

/* "pull: why" as "pull of IMAGE: why (hint)" */
static void explain(const struct docker_pull *p, struct error *e)
{
    struct error plain = *e;
    const char *why =
        strncmp(plain.message, "pull: ", 6) == 0 ? plain.message + 6 : plain.message;
    bool refused = e->code == ERR_PERMANENT && p->auth.hint[0] != '\0';
    error_set(e, plain.code, "pull of %.100s: %.*s%s%s%s", p->image, refused ? 70 : 180, why,
              refused ? " (" : "", refused ? p->auth.hint : "", refused ? ")" : "");
}

/* The engine answers 200 before it knows whether it works: then the last line says it. */
static void pull_ended(void *arg, const struct http_answer *answer)
{
    struct docker_pull *p = arg;
    struct docker_pull_env env = p->env;
    struct error e = {0};
    if (answer->error.code != ERR_NONE)
        error_set(&e, ERR_LAUNCH, "pull: %.180s", answer->error.message);
    else if (docker_refusal(answer->status, answer->body, answer->body_len, "pull", &e) ==
             ERR_NONE)
        e = p->error;
    if (e.code == ERR_NONE) {
        log_info("image.pulled", KV("image", p->image));
    } else {
        explain(p, &e);
        log_warn("image.pull_failed", KV("image", p->image), KV("error", e.message));
    }
    free_pull(p);
    env.done(env.arg, p, e.code != ERR_NONE ? &e : NULL);
}

static struct docker_pull *start(struct docker_pulls *pulls, const struct docker_pull_env *env)
{
    struct docker_pull *p = mem_alloc(sizeof(*p));
    char *path = docker_pull_path(env->image);
    p->env = *env;
    p->image = mem_strdup(env->image);
    LIST_INSERT_HEAD(pulls, p, entry);
    timer_init(&p->tell, env->loop, tell, p);
    docker_auth_find(env->image, &p->auth);
    say(p);
    log_info("image.pull", KV("image", p->image), KV("login", p->auth.header ? "yes" : "no"));
    p->call = docker_ask(env->engine,
                         &(struct docker_request){.method = "POST",
                                                  .path = path,
                                                  .registry_auth = p->auth.header,
                                                  .timeout_ms = env->timeout_ms,
                                                  .on_data = pull_data},
                         pull_ended, p);
    free(path);
    return p;
}

struct docker_pull *docker_pull_join(struct docker_pulls *pulls,
                                     const struct docker_pull_env *env)
{
    struct docker_pull *p;
    LIST_FOREACH (p, pulls, entry)
        if (strcmp(p->image, env->image) == 0)
            return p;
    return start(pulls, env);
}

void docker_pull_drop(struct docker_pulls *pulls)
{
    struct docker_pull *p;
    while ((p = LIST_FIRST(pulls)) != NULL) {
        docker_cancel(p->call);
        free_pull(p);
    }
}

const char *docker_pull_text(const struct docker_pull *p)
{
    return p->text;
}
