#include "cleat/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"

#define MAX_ANSWER (256u * 1024 * 1024) /* two output streams, as JSON */
#define CONNECT_TIMEOUT_MS (5 * 1000)
#define RESTART_MS (15 * 1000)
#define RETRY_MS 250

static void keep_failure(struct call *c, enum exit_code code, const char *message,
                         const char *name)
{
    c->exit = code;
    c->message = name ? mem_printf("%s (%s)", message, name) : mem_strdup(message);
}

/* NULL: nobody knows; Retry-After is there all the same, for programs. */
static char *when_to_come_again(const json_t *error)
{
    const json_t *seconds = json_object_get(error, "retry_after_s");
    return json_is_integer(seconds)
               ? mem_printf("; try again in %" JSON_INTEGER_FORMAT " s", json_integer_value(seconds))
               : NULL;
}

static void read_error(struct call *c)
{
    json_t *e = json_object_get(c->document, "error");
    const char *name = json_string_value(json_object_get(e, "code"));
    const char *message = json_string_value(json_object_get(e, "message"));
    const char *reason = json_string_value(json_object_get(e, "reason"));
    bool retryable = json_is_true(json_object_get(e, "retryable"));
    if (!name) {
        char *text = mem_printf("cleatd answered %d without saying why", c->status);
        keep_failure(c, c->status >= 500 ? EXIT_RETRYABLE : EXIT_ERROR, text, NULL);
        free(text);
        return;
    }
    char *again = when_to_come_again(e);
    char *text = mem_printf("%s%s", message ? message : "", again ? again : "");
    char *full = reason ? mem_printf("%s: %s", name, reason) : NULL;
    keep_failure(c,
                 strcmp(name, "not_found") == 0 ? EXIT_NOT_FOUND
                 : retryable                    ? EXIT_RETRYABLE
                                                : EXIT_ERROR,
                 text, full ? full : name);
    free(full);
    free(text);
    free(again);
}

static void read_answer(struct call *c, const struct http_answer *a)
{
    if (a->error.code == ERR_CONNECT && c->lost_at > 0) {
        keep_failure(c, EXIT_RETRYABLE, "cleatd went away and did not come back",
                     error_name(ERR_RESET));
        return;
    }
    if (a->error.code == ERR_CONNECT) {
        char *text = mem_printf("cannot reach cleatd on %s; does it run there? (--socket and "
                                "CLEAT_SOCKET name another socket)",
                                c->cli->socket);
        keep_failure(c, EXIT_UNREACHABLE, text, NULL);
        free(text);
        return;
    }
    if (a->error.code != ERR_NONE) {
        keep_failure(c, error_retryable(a->error.code) ? EXIT_RETRYABLE : EXIT_ERROR,
                     a->error.message, error_name(a->error.code));
        return;
    }
    c->cli->answered = true;
    c->status = a->status;
    c->text = mem_strndup(a->body ? a->body : "", a->body_len);
    c->document = json_loadb(c->text, a->body_len, 0, NULL);
    if (a->status < 200 || a->status > 299)
        read_error(c);
    else if (!json_is_object(c->document))
        keep_failure(c, EXIT_ERROR, "the answer is not a JSON object", "protocol_error");
}

/* cleatd went away while it had the request or between two, or is still away after that. */
static bool may_be_restarting(struct call *c, const struct http_answer *a)
{
    int64_t now = loop_now_ms(c->cli->loop);
    bool met = c->lost_at > 0 || c->cli->answered;
    bool lost = a->error.code == ERR_RESET || (a->error.code == ERR_CONNECT && met);
    if (lost && c->lost_at == 0)
        c->lost_at = now;
    return lost && now - c->lost_at < RESTART_MS;
}

static void on_answer(void *arg, const struct http_answer *answer)
{
    struct call *c = arg;
    c->exchange = NULL;
    if (may_be_restarting(c, answer)) {
        timer_arm(&c->retry, RETRY_MS);
        return;
    }
    read_answer(c, answer);
    c->pending = false;
    if (--c->cli->pending == 0)
        loop_stop(c->cli->loop);
}

static void ask(void *arg)
{
    static const struct http_header json_type = {"Content-Type", "application/json"};
    struct call *c = arg;
    char *url = mem_printf("http://cleatd%s", c->path);
    struct http_request request = {
        .method = c->method,
        .url = url,
        .unix_socket = c->cli->socket,
        .headers = &json_type,
        .header_count = c->body ? 1 : 0,
        .body = c->body,
        .body_len = c->body ? strlen(c->body) : 0,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .first_byte_timeout_ms = c->timeout_ms,
        .total_timeout_ms = c->timeout_ms,
        .max_answer = MAX_ANSWER,
    };
    c->exchange = http_start(c->cli->share, &request, on_answer, c);
    free(url);
}

void call_start(struct call *c, struct cli *cli, const char *method, const char *path,
                const char *body, int64_t timeout_ms)
{
    *c = (struct call){.cli = cli,
                       .pending = true,
                       .method = mem_strdup(method),
                       .path = mem_strdup(path),
                       .body = mem_strdup(body),
                       .timeout_ms = timeout_ms};
    timer_init(&c->retry, cli->loop, ask, c);
    cli->pending++;
    ask(c);
}

void call_run_all(struct cli *cli)
{
    if (cli->pending > 0)
        loop_run(cli->loop);
}

void call_now(struct call *c, struct cli *cli, const char *method, const char *path,
              const char *body, int64_t timeout_ms)
{
    call_start(c, cli, method, path, body, timeout_ms);
    call_run_all(cli);
}

void call_clear(struct call *c)
{
    if (c->exchange)
        http_cancel(c->exchange);
    if (c->pending) {
        timer_stop(&c->retry);
        c->cli->pending--;
    }
    free(c->method);
    free(c->path);
    free(c->body);
    json_decref(c->document);
    free(c->text);
    free(c->message);
    *c = (struct call){0};
}

int call_report(const struct call *c, const char *what)
{
    if (c->exit != EXIT_FINE)
        fprintf(stderr, "cleat: %s: %s\n", what, c->message);
    return (int)c->exit;
}

void call_print(const struct call *c)
{
    puts(c->text);
}

void query_add(struct buf *path, const char *name, const char *value)
{
    if (!value)
        return;
    buf_printf(path, "%c%s=", strchr(path->data, '?') ? '&' : '?', name);
    for (const unsigned char *s = (const unsigned char *)value; *s; s++)
        buf_printf(path, "%%%02X", *s);
}
