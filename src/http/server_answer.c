/* Answers as they go out. */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/mem.h"
#include "http/connection.h"
#include "http/json.h"

/* RFC 9110 section 15, RFC 6585. A reason may be empty. */
static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {{200, "OK"},
                   {201, "Created"},
                   {202, "Accepted"},
                   {400, "Bad Request"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {408, "Request Timeout"},
                   {409, "Conflict"},
                   {410, "Gone"},
                   {413, "Content Too Large"},
                   {415, "Unsupported Media Type"},
                   {417, "Expectation Failed"},
                   {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"},
                   {500, "Internal Server Error"},
                   {501, "Not Implemented"},
                   {502, "Bad Gateway"},
                   {503, "Service Unavailable"},
                   {504, "Gateway Timeout"},
                   {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "";
}

static void add_date(struct buf *head, const struct connection *c)
{
    char text[40];
    struct tm tm;
    time_t now = (time_t)(loop_wall_ms(c->server->loop) / 1000);
    gmtime_r(&now, &tm);
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    buf_printf(head, "Date: %s\r\n", text);
}

void answer_head(struct buf *head, const struct connection *c, const struct server_request *r,
                 int status, const char *content_type)
{
    const struct field *f;
    buf_printf(head, "HTTP/1.%d %d %s\r\n", !c->head.http10, status, reason_of(status));
    add_date(head, c);
    buf_printf(head, "Content-Type: %s\r\n", content_type ? content_type : "application/json");
    if (r)
        STAILQ_FOREACH(f, &r->answer_headers, entry)
    buf_printf(head, "%s: %s\r\n", f->name, f->value);
    if (c->closing)
        buf_puts(head, "Connection: close\r\n");
    else if (c->head.http10)
        buf_puts(head, "Connection: keep-alive\r\n");
}

size_t connection_unsent(const struct connection *c)
{
    return evbuffer_get_length(bufferevent_get_output(c->bev));
}

/* RFC 9110 section 9.3.2: HEAD is answered with the length but without the body. r may be NULL.
 */
static void send_answer(struct connection *c, const struct server_request *r, int status,
                        const char *content_type, const void *body, size_t len, bool head_only)
{
    struct buf head = {0};
    c->closing |= c->server->stopped;
    answer_head(&head, c, r, status, content_type);
    buf_printf(&head, "Content-Length: %zu\r\n\r\n", len);
    bufferevent_write(c->bev, head.data, head.len);
    buf_free(&head);
    if (len && !head_only)
        bufferevent_write(c->bev, body, len);
    connection_end_answer(c);
}

/* ---- errors */

/* A message may quote a client's bytes. */
static json_t *text_value(const char *message)
{
    json_t *value = json_string(message);
    if (value)
        return value;
    char *ascii = mem_strdup(message);
    for (char *c = ascii; *c; c++)
        if (*c & ~0x7f)
            *c = '?';
    value = json_string(ascii);
    free(ascii);
    return value;
}

static char *error_text(enum error_code code, const char *message)
{
    json_t *o = json_pack("{s:{s:s,s:o,s:b}}", "error", "code", error_name(code), "message",
                          text_value(message), "retryable", (int)error_retryable(code));
    char *text = js_text(o);
    json_decref(o);
    return text;
}

void connection_answer_error(struct connection *c, int status, enum error_code code,
                             const char *message, bool head_only)
{
    char *text = error_text(code, message);
    send_answer(c, NULL, status, NULL, text, strlen(text), head_only);
    free(text);
}

/* ---- of the handler */

void server_answer(struct server_request *r, int status, const char *content_type,
                   const void *body, size_t len)
{
    struct connection *c = r->connection;
    if (c) {
        if (content_type && !guard_is_value(content_type, strlen(content_type)))
            content_type = "application/octet-stream";
        c->request = NULL;
        send_answer(c, r, status, content_type, body, body ? len : 0, request_is_head(r));
    }
    request_free(r);
}

void server_answer_error(struct server_request *r, const struct error *e)
{
    char *text = error_text(e->code, e->message);
    server_answer(r, error_http_status(e->code), NULL, text, strlen(text));
    free(text);
}
