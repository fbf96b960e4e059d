#include "executor/record.h"

#include <openssl/evp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "executor/enter.h"
#include "executor/utf8.h"

#define TAIL 4096

static void digest_of(const void *data, size_t len, char out[65])
{
    uint8_t digest[32] = {0};
    if (!EVP_Q_digest(NULL, "SHA256", NULL, data, len, digest, NULL)) {
        log_error("execution.digest_failed");
        abort();
    }
    hex_encode(out, digest, sizeof digest);
}

void record_digest(const struct execution_request *r, char out[65])
{
    json_t *o = json_pack("{s:s?,s:O?,s:O?,s:I,s:I,s:b}", "code", r->code, "argv", r->argv,
                          "env", r->env, "timeout_s", (json_int_t)r->timeout_s, "output_limit",
                          (json_int_t)r->output_limit, "collect", (int)r->collected);
    if (r->input) {
        char input[65];
        digest_of(r->input, r->input_len, input);
        json_object_set_new(o, "stdin", json_string(input));
    }
    char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        abort();
    digest_of(text, strlen(text), out);
    free(text);
    json_decref(o);
}

void record_status(struct execution *x, int status, bool from_bwrap)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    x->exit_code = x->signal = -1;
    if (WIFSIGNALED(status))
        x->signal = WTERMSIG(status);
    else if (from_bwrap && code > 128 && code < 128 + SIGRTMIN)
        x->signal = code - 128;
    else
        x->exit_code = code;
}

/* The last line that is not empty; free(). NULL: none. */
static char *last_line(const struct output *o)
{
    struct buf tail = {0}, text = {0};
    struct error e;
    output_read(o, o->kept > TAIL ? o->kept - TAIL : 0, TAIL, &tail, &e);
    if (tail.len)
        utf8_add(&text, tail.data, tail.len);
    buf_free(&tail);
    while (text.len && strchr("\n\r \t", text.data[text.len - 1]))
        text.data[--text.len] = '\0';
    char *line = text.len ? strrchr(text.data, '\n') : NULL;
    line = text.len ? mem_strdup(line ? line + 1 : text.data) : NULL;
    buf_free(&text);
    return line;
}

char *record_error(const struct execution *x)
{
    if (x->cancelled)
        return mem_strdup("cancelled");
    if (x->timed_out)
        return mem_printf("timed out after %lld s", (long long)x->timeout_s);
    if (x->signal >= 0)
        return mem_printf("killed by signal %d", x->signal);
    if (x->exit_code == 0)
        return NULL;
    char *line = x->is_python || x->exit_code == ENTER_FAILED ? last_line(&x->err) : NULL;
    return line ? line : mem_printf("exit code %d", x->exit_code);
}

static json_t *number_or_null(int n)
{
    return n >= 0 ? json_integer(n) : json_null();
}

static void add_output(json_t *doc, const char *key, const struct output *o)
{
    struct buf text = {0};
    struct error e;
    if (o->path && output_text(o, &text, &e))
        log_error("execution.output_lost", KV("file", o->path), KV("error", e.message));
    json_object_set_new(doc, key, json_stringn(text.len ? text.data : "", text.len));
    buf_free(&text);
}

static void add_outcome(json_t *doc, const struct execution *x)
{
    const struct executions *all = x->owner;
    int64_t ms = x->running ? loop_now_ms(all->loop) - x->started_ms : x->elapsed_ms;
    json_object_set_new(doc, "error", x->error ? json_string(x->error) : json_null());
    json_object_set_new(doc, "execution_time_ms", json_integer(ms));
    json_object_set_new(doc, "total_executions", json_integer(all->ended));
    json_object_set_new(doc, "exit_code", number_or_null(x->exit_code));
    json_object_set_new(doc, "signal", number_or_null(x->signal));
    json_object_set_new(doc, "timed_out", json_boolean(x->timed_out));
    json_object_set_new(doc, "cancelled", json_boolean(x->cancelled));
    json_object_set_new(doc, "truncated",
                        json_pack("{s:b,s:b}", "stdout", output_truncated(&x->out), "stderr",
                                  output_truncated(&x->err)));
}

json_t *execution_document(const struct execution *x, bool with_output)
{
    const char *status = x->running ? "running" : x->error ? "failed" : "completed";
    json_t *doc =
        json_pack("{s:s,s:s,s:I,s:s}", "session_id", x->owner->config->session, "execution_id",
                  x->id, "execution_num", (json_int_t)x->num, "status", status);
    if (with_output && !x->collected) {
        add_output(doc, "stdout", &x->out);
        add_output(doc, "stderr", &x->err);
    }
    add_outcome(doc, x);
    return doc;
}
