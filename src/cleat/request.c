#include "cleat/request.h"

#include <stdlib.h>
#include <string.h>
#include "base/id.h"
#include "base/mem.h"

int request_set_text(json_t *request, const char *key, const char *text)
{
    if (json_object_set_new(request, key, json_string(text)) == 0)
        return EXIT_FINE;
    return usage_error("%s is not UTF-8", key);
}

static json_t *member_object(json_t *o, const char *key)
{
    json_t *member = json_object_get(o, key);
    if (!member)
        json_object_set_new(o, key, member = json_object());
    return member;
}

static int add_pair(json_t *object, const char *option, const char *pair)
{
    const char *equal = strchr(pair, '=');
    if (!equal || equal == pair)
        return usage_error("%s takes NAME=VALUE, not \"%s\"", option, pair);
    char *name = mem_strndup(pair, (size_t)(equal - pair));
    bool fine = json_object_set_new(object, name, json_string(equal + 1)) == 0;
    free(name);
    return fine ? EXIT_FINE : usage_error("%s %s is not UTF-8", option, pair);
}

static int add_amount(json_t *request, const char *option, const char *key, const char *value)
{
    int64_t amount;
    if (!read_number(option, value, 0, INT32_MAX, &amount))
        return EXIT_USAGE;
    json_object_set_new(member_object(request, "resources"), key, json_integer(amount));
    return EXIT_FINE;
}

int request_take(json_t *request, int option, const char *value)
{
    switch ((enum request_option)option) {
    case REQUEST_CLASS:
        return request_set_text(request, "class", value);
    case REQUEST_TENANT:
        return request_set_text(request, "tenant", value);
    case REQUEST_USER:
        return request_set_text(request, "user", value);
    case REQUEST_THREAD:
        return request_set_text(request, "thread", value);
    case REQUEST_RUN:
        return request_set_text(request, "run", value);
    case REQUEST_PARENT:
        return request_set_text(request, "parent", value);
    case REQUEST_ENV:
        return add_pair(member_object(request, "env"), "--env", value);
    case REQUEST_CPU:
        return add_amount(request, "--cpu-milli", "cpu_milli", value);
    case REQUEST_MEMORY:
        return add_amount(request, "--memory-mb", "memory_mb", value);
    case REQUEST_GPU:
        return add_amount(request, "--gpu", "gpu", value);
    case REQUEST_LABEL:
        return add_pair(member_object(member_object(request, "resources"), "labels"), "--label",
                        value);
    case REQUEST_NO_QUEUE:
        json_object_set_new(request, "no_queue", json_true());
        return EXIT_FINE;
    case REQUEST_OPTIONS_END:
        break;
    }
    return EXIT_USAGE; /* getopt has said it */
}

int request_set_id(struct cli *cli, json_t *request, const char *given)
{
    uint8_t random[10];
    char id[ID_SIZE];
    if (given)
        return request_set_text(request, "request_id", given);
    loop_random(cli->loop, random, sizeof random);
    id_make(id, loop_wall_ms(cli->loop), random);
    return request_set_text(request, "request_id", id);
}
