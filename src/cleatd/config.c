/* The options of cleatd itself, and the configuration as a whole. */
#include "cleatd/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/option.h"
#include "base/paths.h"
#include "cleatd/config_file.h"
#include "http/listen.h"

#define FIELD(name) offsetof(struct settings, name)
static const struct option settings_options[] = {
    {.key = "socket",
     .type = OPTION_STRING,
     .max = 107, /* sockaddr_un.sun_path */
     .fallback = "",
     .help = "Unix socket of the API. Empty: /run/cleat/cleatd.sock for root, else "
             "$XDG_RUNTIME_DIR/cleat/cleatd.sock, else cleatd.sock in the state directory.",
     .offset = FIELD(socket)},
    {.key = "socket_mode",
     .type = OPTION_CHOICE,
     .choices = "0600|0660|0666",
     .fallback = "0660",
     .help = "Permissions of the socket. Who can write to it is an operator and sees every "
             "session, unless peers says otherwise.",
     .offset = FIELD(socket_mode)},
    {.key = "peers",
     .type = OPTION_LIST,
     .fallback = "",
     .help = "Who is who among the clients of the socket: uid:WHO=ROLE or gid:WHO=ROLE, with a "
             "number or a name, and the role operator or tenant:NAME. The first that fits "
             "counts; root and cleatd's own user are operators; who fits none may do nothing. "
             "Empty: all are operators.",
     .live = true,
     .offset = FIELD(peers)},
    {.key = "log",
     .type = OPTION_CHOICE,
     .choices = "stderr|syslog",
     .fallback = "stderr",
     .help = "Where log lines go.",
     .offset = FIELD(log)},
    {.key = "log_level",
     .type = OPTION_CHOICE,
     .choices = "error|warning|info|debug",
     .fallback = "info",
     .help = "The least important lines that are still written.",
     .live = true,
     .offset = FIELD(log_level)},
    {.key = "on_sigterm",
     .type = OPTION_CHOICE,
     .choices = "leave|drain",
     .fallback = "leave",
     .help = "What SIGTERM and SIGINT do. leave: end at once; containers and sessions stay for "
             "the next start. drain: close all sessions first; a second signal ends at once.",
     .offset = FIELD(on_sigterm),
     .live = true},
    {.key = "drain_timeout_s",
     .type = OPTION_INT,
     .min = 1,
     .max = 86400,
     .fallback = "300",
     .help = "Longest time that a signal to end waits for the sessions to close; what is left "
             "then stays for the next start.",
     .offset = FIELD(drain_timeout_s),
     .live = true},
    {.key = "max_connections",
     .type = OPTION_INT,
     .min = 4,
     .max = 10000,
     .fallback = "1024",
     .help = "Connections of API clients at a time. More are closed when they come.",
     .offset = FIELD(max_connections)},
    {.key = "max_body_kb",
     .type = OPTION_INT,
     .min = 16,
     .max = 65536,
     .fallback = "8192",
     .help = "Longest request body of the API, in KiB. Code to execute travels in it.",
     .offset = FIELD(max_body_kb)},
    {.key = "metrics_listen",
     .type = OPTION_STRING,
     .max = 63,
     .fallback = "",
     .help = "IP:PORT (or [IPv6]:PORT) where GET /metrics and GET /healthz are answered, and "
             "nothing else, for collectors that cannot use the socket. Nobody is asked who he "
             "is: an address of the loopback network, unless a firewall stands before it. "
             "Empty: nowhere.",
     .offset = FIELD(metrics_listen)},
    {.key = NULL},
};

void configuration_init(struct configuration *c)
{
    *c = (struct configuration){.coordinator = cleat_config_new()};
    option_defaults(settings_options, &c->own);
}

void configuration_release(struct configuration *c)
{
    option_release(settings_options, &c->own);
    peers_free(c->peers);
    cleat_config_free(c->coordinator);
    free(c->state_dir);
    for (size_t i = 0; i < c->place_count; i++) {
        free(c->places[i].class_name);
        free(c->places[i].key);
    }
    free(c->places);
    free(c->file);
    *c = (struct configuration){0};
}

static bool set_value(struct configuration *c, const char *key, const char *value, char *why,
                      size_t size)
{
    if (option_find(settings_options, key)) {
        struct error e = {0};
        if (option_set(settings_options, &c->own, key, value, &e) == ERR_NONE)
            return true;
        snprintf(why, size, "%s", e.message);
        return false;
    }
    if (!cleat_config_set(c->coordinator, NULL, key, value, why, size))
        return false;
    if (strcmp(key, "state_dir") == 0) {
        free(c->state_dir);
        c->state_dir = value[0] ? mem_strdup(value) : NULL;
    }
    return true;
}

/* ---- places */

static bool place_is(const struct place *p, const char *class_name, const char *key)
{
    return strcmp(p->class_name, class_name) == 0 && strcmp(p->key, key) == 0;
}

static void remember(struct configuration *c, const char *class_name, const char *key, int line)
{
    c->places = mem_grow(c->places, (c->place_count + 1) * sizeof *c->places);
    c->places[c->place_count++] = (struct place){
        .class_name = mem_strdup(class_name), .key = mem_strdup(key), .line = line};
}

bool config_set_at(struct configuration *c, const char *class_name, const char *key,
                   const char *value, int line, char *why, size_t size)
{
    bool fine = class_name ? cleat_config_set(c->coordinator, class_name, key, value, why, size)
                           : set_value(c, key, value, why, size);
    if (fine)
        remember(c, class_name ? class_name : "", key, line);
    return fine;
}

bool config_set(struct configuration *c, const char *key, const char *value, char *why,
                size_t size)
{
    for (size_t i = 0; i < c->place_count; i++)
        if (place_is(&c->places[i], "", key))
            c->places[i].line = 0;
    return set_value(c, key, value, why, size);
}

/* What is wrong with the whole begins with "class NAME: OPTION" or "OPTION". The last line that
 * set it, else the first of that class; 0: the file said nothing. */
static int find_line(const struct configuration *c, const char *why)
{
    char class_name[65] = "", key[65] = "";
    int line = 0, first = 0;
    if (sscanf(why, "class %64[^:]: %64[a-z0-9_]", class_name, key) < 2)
        sscanf(why, "%64[a-z0-9_]", key);
    for (size_t i = 0; i < c->place_count; i++) {
        const struct place *p = &c->places[i];
        if (place_is(p, class_name, key))
            line = p->line;
        else if (first == 0 && class_name[0] && strcmp(p->class_name, class_name) == 0)
            first = p->line;
    }
    return line ? line : first;
}

/* ---- the whole ---- */

static bool read_peers(struct configuration *c, char *why, size_t size)
{
    struct error e = {0};
    c->peers = peers_new(c->own.peers, &e);
    if (!c->peers)
        snprintf(why, size, "%s", e.message);
    return c->peers != NULL;
}

static bool check_metrics_listen(const char *address, char *why, size_t size)
{
    char ip[LISTEN_IP_SIZE];
    uint16_t port;
    if (!*address || listen_address(address, ip, &port))
        return true;
    snprintf(why, size, "metrics_listen \"%s\" is neither IP:PORT nor [IPv6]:PORT", address);
    return false;
}

char *configuration_finish(struct configuration *c)
{
    char why[512];
    char *state = c->state_dir ? mem_strdup(c->state_dir) : paths_state_dir();
    if (!state)
        return mem_strdup("no state directory: set state_dir, $HOME or $XDG_STATE_HOME");
    bool fine = set_value(c, "state_dir", state, why, sizeof why);
    if (fine && !c->own.socket[0]) {
        char *path = paths_socket(state);
        fine = set_value(c, "socket", path, why, sizeof why);
        free(path);
    }
    free(state);
    if (fine && c->own.socket[0] != '/') {
        snprintf(why, sizeof why, "socket \"%s\" is not an absolute path", c->own.socket);
        fine = false;
    }
    fine = fine && check_metrics_listen(c->own.metrics_listen, why, sizeof why) &&
           read_peers(c, why, sizeof why) &&
           cleat_config_check(c->coordinator, why, sizeof why);
    if (fine)
        return NULL;
    int line = find_line(c, why);
    return line ? mem_printf("%s:%d: %s", c->file, line, why) : mem_strdup(why);
}

/* ---- another configuration ---- */

void config_take_live(struct configuration *c, struct configuration *given,
                      cleat_change_fn *changed, void *arg)
{
    for (const struct option *o = settings_options; o->key; o++) {
        char *from = option_value(o, &c->own), *to = option_value(o, &given->own);
        if (strcmp(from, to) != 0)
            changed(arg, NULL, o->key, from, to, o->live);
        if (o->live)
            option_swap(o, &c->own, &given->own);
        free(from);
        free(to);
    }
    struct peers *old = c->peers;
    c->peers = given->peers;
    given->peers = old;
}

/* ---- the table ---- */

static void print_option(void *arg, const char *section, const char *key, const char *type,
                         const char *range, const char *fallback, bool live, const char *help)
{
    (void)arg;
    printf("%s\t%s\t%s\t%s\t%s\t%s\t%s\n", section, key, type, range, fallback,
           live ? "live" : "restart", help);
}

void config_each_option(cleat_option_fn *fn, void *arg)
{
    static const char *const types[] = {"integer", "boolean", "choice", "string", "list"};
    for (const struct option *o = settings_options; o->key; o++) {
        char *range = option_range(o);
        fn(arg, "", o->key, types[o->type], range, o->fallback, o->live, o->help);
        free(range);
    }
    cleat_config_options(fn, arg);
}

void config_print_options(void)
{
    config_each_option(print_option, NULL);
}
