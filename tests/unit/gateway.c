/* A gateway in small: libcleat on the gateway's own event_base, with nothing but cleat.h and
 * libevent. It opens a session, runs code in it, closes it and waits for the end of the
 * cleanup; libcleat(3) tells the story. usage: gateway STATE_DIRECTORY PATH_OF_CLEAT_EXECUTOR
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cleat.h>

struct gateway {
    struct event_base *base;
    struct cleat *cleat;
    char session[64];
    int status; /* of the program */
};

/* Every step ends here when it fails. */
static int failed(struct gateway *g, const char *step, const struct cleat_error *error)
{
    if (!error)
        return 0;
    fprintf(stderr, "%s: %s: %s\n", step, error->code, error->message);
    event_base_loopbreak(g->base);
    return 1;
}

static void on_closed(void *arg, const struct cleat_error *error, const char *document)
{
    struct gateway *g = arg;
    if (failed(g, "closed", error))
        return;
    printf("closed: %s\n", document);
    g->status = strstr(document, "\"CLOSED\"") ? EXIT_SUCCESS : EXIT_FAILURE;
    event_base_loopbreak(g->base);
}

static void on_closing(void *arg, const struct cleat_error *error, const char *document)
{
    struct gateway *g = arg;
    (void)document;
    if (!failed(g, "close", error))
        cleat_wait(g->cleat, NULL, g->session, true, 60000, on_closed, g);
}

static void on_executed(void *arg, const struct cleat_error *error, const char *document)
{
    struct gateway *g = arg;
    if (failed(g, "execute", error))
        return;
    printf("executed: %s\n", document);
    if (!strstr(document, "42\\n")) {
        fprintf(stderr, "the answer is not 42\n");
        event_base_loopbreak(g->base);
        return;
    }
    cleat_close(g->cleat, NULL, g->session, on_closing, g);
}

static void on_ready(void *arg, const struct cleat_error *error, const char *document)
{
    static const char code[] = "{\"code\": \"print(6 * 7)\"}";
    struct gateway *g = arg;
    (void)document;
    if (!failed(g, "ready", error))
        cleat_execute(g->cleat, NULL, g->session, code, strlen(code), on_executed, g);
}

static void on_created(void *arg, const struct cleat_error *error, const char *document)
{
    struct gateway *g = arg;
    if (failed(g, "create", error))
        return;
    const char *id = strstr(document, "\"session_id\":\"");
    sscanf(id ? id : "", "\"session_id\":\"%63[^\"]", g->session);
    cleat_wait(g->cleat, NULL, g->session, false, 60000, on_ready, g);
}

static struct cleat *start(struct gateway *g, char **argv, char *why, size_t size)
{
    struct cleat_config *config = cleat_config_new();
    if (cleat_config_set(config, NULL, "state_dir", argv[1], why, size) &&
        cleat_config_set(config, NULL, "executor", argv[2], why, size) &&
        cleat_config_set(config, "default", "address_range", "127.91.0.0/24", why, size))
        return cleat_new(g->base, config, why, size); /* checks and takes the configuration */
    cleat_config_free(config);
    return NULL;
}

int main(int argc, char **argv)
{
    static const char request[] = "{\"request_id\": \"gateway-1\", \"user\": \"alice\"}";
    struct gateway g = {.base = event_base_new(), .status = EXIT_FAILURE};
    char why[512] = "usage: gateway STATE_DIRECTORY EXECUTOR";
    g.cleat = argc == 3 ? start(&g, argv, why, sizeof why) : NULL;
    if (g.cleat) {
        cleat_create(g.cleat, NULL, request, strlen(request), on_created, &g);
        event_base_dispatch(g.base);
        cleat_free(g.cleat);
    } else {
        fprintf(stderr, "gateway: %s\n", why);
    }
    event_base_free(g.base);
    return g.status;
}
