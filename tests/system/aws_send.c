/* Sends AWS calls for the tests. Each line on stdin is a JSON object: a request as struct
 * aws_request has it (service, action, method, bucket, key, query, headers, body or body_size,
 * tries, timeout_ms) with an "id", {"cancel": ID}, {"status": true}, or {"keys": [access,
 * secret, token]}. Each answer is such a line on stdout. Ends when stdin has ended and every
 * call was answered. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/mem.h"
#include "http/aws.h"
#include "http/aws_error.h"
#include "http/json.h"

#define CALLS_MAX 1000

struct program;

struct send {
    struct program *program;
    struct aws_call *call; /* NULL: answered */
};

static struct program {
    struct loop *loop;
    struct http_client *client;
    struct aws *aws;
    struct fd_watch *input;
    struct buf text;
    struct send sends[CALLS_MAX];
    unsigned open;
    bool ended;
} program;

static void print(json_t *o)
{
    char *text = js_text(o);
    puts(text);
    fflush(stdout);
    free(text);
    json_decref(o);
}

static void stop_when_done(void)
{
    if (program.ended && program.open == 0)
        loop_stop(program.loop);
}

static void done(void *arg, const struct aws_answer *a)
{
    struct send *s = arg;
    json_t *headers = json_object();
    for (size_t i = 0; i < a->header_count; i++)
        json_object_set_new(headers, a->headers[i].name, json_string(a->headers[i].value));
    print(json_pack("{sI ss si ss ss ss sb si ss so}", "id", (json_int_t)(s - program.sends),
                    "class", aws_class_name(a->class), "status", a->status, "code", a->code,
                    "error", a->error.code ? error_name(a->error.code) : "", "message",
                    a->error.message, "sent", a->sent, "tries", (int)a->tries, "body", a->body,
                    "headers", headers));
    s->call = NULL;
    program.open--;
    stop_when_done();
}

static enum aws_service service_of(const char *name)
{
    static const char *const names[] = {"ecs", "elb", "s3", "sts", "ec2"};
    for (int i = 0; i < AWS_SERVICES; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum aws_service)i;
    fprintf(stderr, "no service %s\n", name);
    exit(2);
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static void start(const json_t *o)
{
    struct http_header headers[16];
    size_t count = 0;
    const char *name;
    json_t *value;
    json_object_foreach (json_object_get(o, "headers"), name, value)
        headers[count++] = (struct http_header){name, json_string_value(value)};
    size_t size = (size_t)json_integer_value(json_object_get(o, "body_size"));
    char *filler = size ? mem_alloc(size) : NULL;
    const char *body = filler ? filler : text_of(o, "body");
    struct send *s = &program.sends[json_integer_value(json_object_get(o, "id"))];
    struct aws_request r = {
        .service = service_of(text_of(o, "service")),
        .action = text_of(o, "action"),
        .method = text_of(o, "method"),
        .bucket = text_of(o, "bucket"),
        .key = text_of(o, "key"),
        .query = text_of(o, "query"),
        .headers = headers,
        .header_count = count,
        .body = body,
        .body_len = filler ? size
                    : body ? strlen(body)
                           : 0,
        .tries = (unsigned)json_integer_value(json_object_get(o, "tries")),
        .timeout_ms = json_integer_value(json_object_get(o, "timeout_ms")),
    };
    s->call = aws_start(program.aws, &r, done, s);
    program.open++;
    free(filler);
}

static void cancel(json_int_t id)
{
    aws_cancel(program.sends[id].call);
    program.sends[id].call = NULL;
    program.open--;
    print(json_pack("{sIss}", "id", id, "class", "cancelled"));
}

static void obey(const char *line, size_t len)
{
    struct error e;
    json_t *o = js_parse_object(line, len, &e), *keys;
    if (!o) {
        fprintf(stderr, "%s\n", e.message);
        exit(2);
    }
    if (json_object_get(o, "cancel"))
        cancel(json_integer_value(json_object_get(o, "cancel")));
    else if (json_object_get(o, "status"))
        print(aws_status(program.aws));
    else if ((keys = json_object_get(o, "keys")))
        aws_set_keys(program.aws,
                     &(struct aws_keys){(char *)json_string_value(json_array_get(keys, 0)),
                                        (char *)json_string_value(json_array_get(keys, 1)),
                                        (char *)json_string_value(json_array_get(keys, 2)), 0});
    else
        start(o);
    json_decref(o);
}

static void read_input(void *arg)
{
    char piece[65536], *end;
    ssize_t n = read(0, piece, sizeof piece);
    (void)arg;
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        program.ended = true;
        fd_watch_free(program.input);
        program.input = NULL;
        stop_when_done();
        return;
    }
    buf_add(&program.text, piece, (size_t)n);
    while ((end = memchr(program.text.data, '\n', program.text.len))) {
        size_t len = (size_t)(end - program.text.data);
        obey(program.text.data, len);
        buf_drop(&program.text, len + 1);
    }
}

int main(void)
{
    program.loop = loop_new(NULL);
    program.client = http_client_new(program.loop);
    program.aws = aws_new(program.loop, program.client, NULL, NULL);
    fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
    program.input = fd_watch_new(program.loop, 0, false, read_input, NULL);
    if (!program.input) {
        fprintf(stderr, "stdin must be a pipe\n");
        return 2;
    }
    loop_run(program.loop);
    aws_free(program.aws);
    http_client_free(program.client);
    loop_free(program.loop);
    buf_free(&program.text);
    return 0;
}
