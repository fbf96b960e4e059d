#include "network.h"
#include <string.h>
#include <strings.h>
#include "world.h"

#define FRONTENDS 8

static struct {
    const char *ip;
    uint16_t port;
    struct node *node;
} frontends[FRONTENDS];
static size_t frontend_count;

struct network_books network_books;

const char *request_header(const struct sim_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->headers[i].name, name) == 0)
            return request->headers[i].value;
    return NULL;
}

struct sim_answer *answer_new(int status, const char *body)
{
    struct sim_answer *answer = world_alloc(sizeof *answer);
    answer->status = status;
    answer->body = world_strdup(body);
    return answer;
}

void answer_add_header(struct sim_answer *answer, const char *name, const char *value)
{
    if (answer->header_count == ANSWER_HEADERS) {
        world_violate("SIM", "too many headers in one answer");
        return;
    }
    answer->headers[answer->header_count++] = (struct http_header){name, world_strdup(value)};
}

void network_listen_frontend(const char *ip, uint16_t port, struct node *node)
{
    if (frontend_count == FRONTENDS) {
        world_violate("SIM", "too many frontends");
        return;
    }
    frontends[frontend_count].ip = ip;
    frontends[frontend_count].port = port;
    frontends[frontend_count++].node = node;
}

struct node *network_frontend(const char *ip, uint16_t port)
{
    for (size_t i = 0; i < frontend_count; i++)
        if (frontends[i].port == port && strcmp(frontends[i].ip, ip) == 0)
            return frontends[i].node;
    return NULL;
}

void network_begin(void)
{
    frontend_count = 0;
    memset(&network_books, 0, sizeof network_books);
}
