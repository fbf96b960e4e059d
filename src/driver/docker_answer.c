#include "driver/docker_answer.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "";
}

/* For people: one line, whatever the engine wrote. */
static void copy_line(char *to, size_t size, const char *from)
{
    mem_copy_string(to, size, from);
    for (char *p = to; *p != '\0'; p++)
        if (iscntrl((unsigned char)*p))
            *p = ' ';
}

/* Labels, or an event's attributes, which hold them as well. */
static void read_key(const json_t *labels, char key[KEY_SIZE])
{
    const char *owner = text_of(labels, "cleat.owner");
    const char *session = text_of(labels, "cleat.session");
    const char *attempt = text_of(labels, "cleat.attempt");
    key[0] = '\0';
    if (*owner && *session && *attempt &&
        snprintf(key, KEY_SIZE, "%s.%s.%s", owner, session, attempt) >= KEY_SIZE)
        key[0] = '\0';
}

/* created; running, restarting, paused and removing while it still runs; exited, dead and
 * Podman's stopped. */
static enum docker_status read_status(const char *status)
{
    static const char *const created[] = {"created", "initialized", "configured"};
    static const char *const running[] = {"running", "restarting", "paused", "stopping"};
    for (size_t i = 0; i < sizeof(created) / sizeof(created[0]); i++)
        if (strcmp(status, created[i]) == 0)
            return DOCKER_CREATED;
    for (size_t i = 0; i < sizeof(running) / sizeof(running[0]); i++)
        if (strcmp(status, running[i]) == 0)
            return DOCKER_RUNNING;
    return DOCKER_ENDED;
}

static void say_exit(char *cause, size_t size, int64_t code, bool out_of_memory)
{
    if (out_of_memory && code == 128 + 9)
        mem_copy_string(cause, size, DOCKER_OUT_OF_MEMORY_CAUSE);
    else if (code > 128 && code < 128 + 65)
        snprintf(cause, size, "killed by signal %d", (int)(code - 128));
    else
        snprintf(cause, size, "exited with status %" PRId64, code);
}

static void set_address(struct docker_view *v, const char *ip, int64_t port)
{
    if (*ip == '\0' || port < 1 || port > UINT16_MAX)
        return;
    mem_copy_string(v->ip, sizeof(v->ip), ip);
    v->port = (uint16_t)port;
}

bool docker_read_inspect(const char *text, size_t len, int64_t port, struct docker_view *v)
{
    char name[16];
    json_t *o = json_loadb(text, len, 0, NULL);
    const json_t *state = json_object_get(o, "State");
    const json_t *ports = json_object_get(json_object_get(o, "NetworkSettings"), "Ports");
    *v = (struct docker_view){.status = DOCKER_ENDED};
    bool good = json_is_string(json_object_get(state, "Status"));
    if (good) {
        snprintf(name, sizeof(name), "%" PRId64 "/tcp", port);
        const json_t *first = json_array_get(json_object_get(ports, name), 0);
        read_key(json_object_get(json_object_get(o, "Config"), "Labels"), v->key);
        v->status = read_status(text_of(state, "Status"));
        set_address(v, text_of(first, "HostIp"), strtoll(text_of(first, "HostPort"), NULL, 10));
        say_exit(v->cause, sizeof(v->cause),
                 json_integer_value(json_object_get(state, "ExitCode")),
                 json_is_true(json_object_get(state, "OOMKilled")));
    }
    json_decref(o);
    return good;
}

static void read_listed(const json_t *o, int64_t port, struct docker_view *v)
{
    size_t i;
    const json_t *p;
    *v = (struct docker_view){.status = read_status(text_of(o, "State")),
                              .created_s = json_integer_value(json_object_get(o, "Created"))};
    const json_t *labels = json_object_get(o, "Labels");
    v->label = json_string_value(json_object_get(labels, "cleat.label"));
    read_key(labels, v->key);
    copy_line(v->cause, sizeof(v->cause), text_of(o, "Status"));
    json_array_foreach (json_object_get(o, "Ports"), i, p)
        if (json_integer_value(json_object_get(p, "PrivatePort")) == port && v->port == 0)
            set_address(v, text_of(p, "IP"),
                        json_integer_value(json_object_get(p, "PublicPort")));
}

bool docker_read_list(const char *text, size_t len, int64_t port, docker_view_fn *each,
                      void *arg)
{
    json_t *list = json_loadb(text, len, 0, NULL);
    bool good = json_is_array(list);
    struct docker_view v;
    size_t i;
    const json_t *o;
    json_array_foreach (list, i, o) {
        read_listed(o, port, &v);
        if (v.key[0] != '\0')
            each(arg, &v);
    }
    json_decref(list);
    return good;
}

/* Frames of one byte for the stream, three zeros, a length of four bytes (most significant
 * first), and as many bytes; API documentation of "attach". */
void docker_read_last_line(const char *body, size_t len, char *line, size_t size)
{
    struct buf text = {0};
    const unsigned char *p = (const unsigned char *)body;
    for (size_t at = 0, n; len - at > 8; at += 8 + n) {
        n = (size_t)p[at + 4] << 24 | (size_t)p[at + 5] << 16 | (size_t)p[at + 6] << 8 |
            p[at + 7];
        if (n > len - at - 8)
            n = len - at - 8;
        buf_add(&text, body + at + 8, n);
    }
    buf_add(&text, "", 0);
    while (text.len > 0 && text.data[text.len - 1] == '\n')
        text.data[--text.len] = '\0';
    const char *last = text.len > 0 ? strrchr(text.data, '\n') : NULL;
    copy_line(line, size, last != NULL ? last + 1 : text.len > 0 ? text.data : "");
    buf_free(&text);
}

bool docker_read_event(const char *line, size_t len, struct docker_event *event)
{
    json_t *o = json_loadb(line, len, 0, NULL);
    const json_t *attributes = json_object_get(json_object_get(o, "Actor"), "Attributes");
    const char *action = text_of(o, "Action"), *code = text_of(attributes, "exitCode");
    *event = (struct docker_event){
        .kind = DOCKER_OTHER,
        .time_ms = json_integer_value(json_object_get(o, "timeNano")) / 1000000};
    bool good = json_is_object(o);
    read_key(attributes, event->key);
    if (strcmp(action, "die") == 0 || strcmp(action, "died") == 0) { /* died: Podman's */
        event->kind = DOCKER_DIED;
        if (*code)
            say_exit(event->cause, sizeof(event->cause), strtoll(code, NULL, 10), false);
        else
            mem_copy_string(event->cause, sizeof(event->cause), "it has ended");
    } else if (strcmp(action, "oom") == 0) {
        event->kind = DOCKER_OUT_OF_MEMORY;
    }
    json_decref(o);
    return good;
}

/* ---- what goes wrong */

static bool has_any(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcasestr(text, *words) != NULL)
            return true;
    return false;
}

/* The engine's words are all there is to tell these from other failures. */
static const char *const no_room[] = {"no space left",
                                      "cannot allocate memory",
                                      "not enough memory",
                                      "resource temporarily unavailable",
                                      "too many open files",
                                      "port is already allocated",
                                      "all ports are allocated",
                                      "no available ipv4 addresses",
                                      NULL};
static const char *const no_image[] = {"not found",
                                       "manifest unknown",
                                       "name unknown",
                                       "no such image",
                                       "access denied",
                                       "no basic auth credentials",
                                       "unauthorized",
                                       "authentication required",
                                       "no matching manifest",
                                       "invalid reference",
                                       NULL};

void docker_read_progress(const char *line, size_t len, struct docker_progress *p,
                          struct error *e)
{
    char why[160];
    json_t *o = json_loadb(line, len, 0, NULL);
    const json_t *detail = json_object_get(o, "progressDetail");
    *p = (struct docker_progress){
        .current = json_integer_value(json_object_get(detail, "current")),
        .total = json_integer_value(json_object_get(detail, "total"))};
    copy_line(p->layer, sizeof(p->layer), text_of(o, "id"));
    copy_line(p->status, sizeof(p->status), text_of(o, "status"));
    copy_line(why, sizeof(why), text_of(o, "error"));
    if (*why)
        error_set(e,
                  has_any(why, no_room)    ? ERR_CAPACITY
                  : has_any(why, no_image) ? ERR_PERMANENT
                                           : ERR_LAUNCH,
                  "pull: %s", why);
    json_decref(o);
}

enum error_code docker_refusal(int status, const char *body, size_t len, const char *what,
                               struct error *e)
{
    if (status < 400)
        return ERR_NONE;
    char why[160];
    json_t *o = json_loadb(body, len, 0, NULL);
    copy_line(why, sizeof(why), text_of(o, "message"));
    json_decref(o);
    enum error_code code = status < 500 ? ERR_PERMANENT : ERR_LAUNCH;
    if (has_any(why, no_room))
        code = ERR_CAPACITY;
    else if (has_any(why, no_image)) /* some registries' refusals come as 500 */
        code = ERR_PERMANENT;
    else if (status == 408 || status == 409 || status == 429)
        code = ERR_LAUNCH;
    return error_set(e, code, "%s: the engine answered %d%s%s", what, status, *why ? ": " : "",
                     why);
}
