#include "cleatd/scrape.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleatd/metrics.h"
#include "http/listen.h"
#include "http/prometheus.h"
#include "http/server.h"

#define MAX_HEAD (8 * 1024)
#define MAX_CONNECTIONS 16
#define IDLE_TIMEOUT_MS (90 * 1000) /* a collector that comes once a minute keeps its own */

struct scrape {
    struct loop *loop;
    struct cleat *cleat;
    struct server *server;
};

static void answer(struct server_request *r, int status, const char *type, const char *text)
{
    metrics_note_answer(status);
    server_answer(r, status, type, text, strlen(text));
}

static void on_request(void *arg, struct server_request *r)
{
    const struct scrape *s = arg;
    const char *method = server_method(r), *path = server_path(r);
    bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    if (strcmp(path, "/metrics") != 0 && strcmp(path, "/healthz") != 0) {
        answer(r, 404, "text/plain", "only /metrics and /healthz are here\n");
    } else if (!reads) {
        server_add_header(r, "Allow", "GET, HEAD");
        answer(r, 405, "text/plain", "this path takes GET, HEAD\n");
    } else if (strcmp(path, "/healthz") == 0) {
        answer(r, 200, NULL, "{\"status\":\"ok\"}");
    } else {
        char *text = metrics_text(s->cleat, s->loop);
        answer(r, 200, PROMETHEUS_TYPE, text);
        free(text);
    }
}

struct scrape *scrape_new(struct loop *loop, struct cleat *cleat, const char *address,
                          struct error *e)
{
    char ip[LISTEN_IP_SIZE] = "";
    struct server_options options = {.ip = ip,
                                     .max_head = MAX_HEAD,
                                     .idle_timeout_ms = IDLE_TIMEOUT_MS,
                                     .max_connections = MAX_CONNECTIONS};
    struct scrape *s = mem_alloc(sizeof *s);
    s->loop = loop;
    s->cleat = cleat;
    listen_address(address, ip, &options.port);
    s->server = server_new(loop, &options, on_request, s, e);
    if (s->server)
        return s;
    free(s);
    return NULL;
}

void scrape_free(struct scrape *s)
{
    if (!s)
        return;
    server_free(s->server);
    free(s);
}
