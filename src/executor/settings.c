#include "executor/settings.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "http/json.h"

#define WAIT_MS 10000

/* ---- keys */

static void wipe_text(char *text)
{
    if (text)
        mem_wipe(text, strlen(text));
    free(text);
}

void settings_release_keys(struct aws_keys *k)
{
    wipe_text(k->access_key);
    wipe_text(k->secret_key);
    wipe_text(k->session_token);
    *k = (struct aws_keys){0};
}

enum error_code settings_read_keys(const json_t *o, struct aws_keys *k, struct error *e)
{
    const char *access = NULL, *secret = NULL, *token = NULL;
    int64_t expires_ms = 0;
    js_string(o, "access_key_id", true, 128, &access, e);
    js_string(o, "secret_access_key", true, 256, &secret, e);
    js_string(o, "session_token", false, 16384, &token, e);
    js_int(o, "expires_ms", false, 0, INT64_MAX, &expires_ms, e);
    if (!e->code && (!*access || !*secret))
        error_set(e, ERR_INVALID, "the credentials are empty");
    if (e->code)
        return e->code;
    *k = (struct aws_keys){.access_key = mem_strdup(access),
                           .secret_key = mem_strdup(secret),
                           .session_token = token && *token ? mem_strdup(token) : NULL,
                           .expires_ms = expires_ms};
    return ERR_NONE;
}

char *settings_line(json_t *env, const struct aws_keys *k)
{
    json_t *o = json_pack("{s:O}", "env", env);
    if (k && k->access_key)
        json_object_set_new(o, "keys",
                            json_pack("{s:s,s:s,s:s*,s:I}", "access_key_id", k->access_key,
                                      "secret_access_key", k->secret_key, "session_token",
                                      k->session_token, "expires_ms",
                                      (json_int_t)k->expires_ms));
    char *text = js_text(o), *line = mem_printf("%s\n", text);
    wipe_text(text);
    json_decref(o);
    return line;
}

/* ---- in the helper */

static void set_environment(json_t *env)
{
    const char *name;
    json_t *value;
    json_object_foreach (env, name, value)
        if (json_is_string(value))
            setenv(name, json_string_value(value), 1);
}

static void take_line(const char *line, size_t len, struct aws_keys *keys, struct error *e)
{
    json_t *env = NULL, *k = NULL, *o = js_parse_object(line, len, e);
    if (!o)
        return;
    js_object(o, "env", true, &env, e);
    js_object(o, "keys", false, &k, e);
    if (env)
        set_environment(env);
    settings_release_keys(keys);
    if (k)
        settings_read_keys(k, keys, e);
    json_decref(o);
}

/* Takes the whole lines out of told; the last one counts. False: there is none. */
static bool take_lines(struct buf *told, struct aws_keys *keys, struct error *e)
{
    bool taken = false;
    for (char *end; told->len && (end = memchr(told->data, '\n', told->len)); taken = true) {
        size_t len = (size_t)(end - told->data);
        take_line(told->data, len, keys, e);
        mem_wipe(told->data, len);
        buf_drop(told, len + 1);
    }
    return taken;
}

/* False: nothing more will come. */
static bool take_bytes(struct buf *told)
{
    char chunk[4096];
    ssize_t n = recv(STDOUT_FILENO, chunk, sizeof chunk, MSG_DONTWAIT);
    bool open = n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
    if (n > 0)
        buf_add(told, chunk, (size_t)n);
    mem_wipe(chunk, sizeof chunk);
    return open;
}

enum error_code settings_await(struct buf *told, struct aws_keys *keys, struct error *e)
{
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLIN};
    dprintf(STDOUT_FILENO, SETTINGS_READY "\n");
    while (!take_lines(told, keys, e))
        if (poll(&p, 1, WAIT_MS) != 1 || !take_bytes(told))
            return error_set(e, ERR_INTERNAL, "the executor handed no settings over");
    return e->code;
}

bool settings_receive(struct buf *told, struct aws_keys *keys)
{
    struct error ignored = {0};
    bool open = take_bytes(told);
    take_lines(told, keys, &ignored);
    return open;
}

void settings_release(struct buf *told)
{
    if (told->data)
        mem_wipe(told->data, told->cap);
    buf_free(told);
}
