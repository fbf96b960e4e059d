#include "service.h"
#include <stdlib.h>
#include <string.h>
#include "world.h"

#define SERVICES 8

static struct {
    const char *name;
    service_fn *receive;
} services[SERVICES];
static size_t service_count;

void service_begin(void)
{
    service_count = 0;
}

void service_listen(const char *name, service_fn *receive)
{
    if (service_count == SERVICES) {
        world_violate("SIM", "too many services");
        return;
    }
    services[service_count].name = name;
    services[service_count++].receive = receive;
}

service_fn *service_at(const char *name)
{
    for (size_t i = 0; i < service_count; i++)
        if (strcmp(services[i].name, name) == 0)
            return services[i].receive;
    return NULL;
}

void service_answer(struct sim_request *r, int status, const char *body)
{
    r->answered(r, answer_new(status, body));
}

void service_answer_json(struct sim_request *r, int status, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    service_answer(r, status, text);
    free(text);
    json_decref(body);
}

void service_stream(struct sim_request *r, const char *text)
{
    r->streamed(r, text);
}

bool service_is_heard(const struct sim_request *r)
{
    return r->is_heard(r);
}
