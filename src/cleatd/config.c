/* The file's syntax and line numbers are libconfuse's; every value is text to it and is checked
 * by the option tables, so that a file and the command line take the same values and give the
 * same errors. */
#include "cleatd/config.h"

#include <confuse.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/option.h"
#include "base/paths.h"
#include "cleatd/conftext.h"
#include "http/listen.h"

#define MAX_FILE (1024 * 1024)

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

/* libconfuse's callbacks have no argument of their own, so the reading that is under way is
 * here. */
static struct reading {
    struct configuration *target;
    const char *path;
    cfg_opt_t *root, *class;
    size_t root_count, class_count;
    char *first_class_key, *first_class_value; /* mentions a class that sets nothing */
    char *message;
} reading;

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

/* ---- one file ---- */

/* The first problem is kept. Whatever the file has in it, the message is one line of plain
 * text. */
static void tell(int line, const char *text)
{
    if (reading.message)
        return;
    reading.message = mem_printf("%s:%d: %s", reading.path, line, text);
    char *tail = reading.message + strlen(reading.message) - strlen(text);
    for (; *tail; tail++)
        if (*tail < 0x20 || *tail > 0x7e)
            *tail = '?';
}

/* names of one section, for a hint; free() the array. */
static const char **known_names(const cfg_opt_t *opts, size_t count)
{
    const char **names = mem_array(count + 1, sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = opts[i].name;
    return names;
}

static void tell_unknown(int line, const char *title, const char *key)
{
    const char **names = title ? known_names(reading.class, reading.class_count)
                               : known_names(reading.root, reading.root_count);
    const char **others = title ? known_names(reading.root, reading.root_count)
                                : known_names(reading.class, reading.class_count);
    const char *near = conftext_nearest(key, names);
    char *text;
    size_t other = 0;
    while (others[other] && strcmp(others[other], key) != 0)
        other++;
    if (others[other])
        text = mem_printf("option \"%s\" belongs %s", key,
                          title ? "outside of any class" : "inside class NAME { ... }");
    else if (near)
        text = mem_printf("unknown option \"%s\"; did you mean \"%s\"?", key, near);
    else
        text = mem_printf("unknown option \"%s\"; cleatd.conf(5) lists all", key);
    tell(line, text);
    free(text);
    free(names);
    free(others);
}

static void on_syntax_error(cfg_t *cfg, const char *fmt, va_list args)
{
    char text[512], key[128];
    vsnprintf(text, sizeof text, fmt, args);
    if (sscanf(text, "no such option '%127[^']'", key) == 1)
        tell_unknown(cfg->line, cfg_title(cfg), key);
    else
        tell(cfg->line, text);
}

static void set_option(const char *title, const char *key, const char *value, int line)
{
    char why[512];
    bool fine = title ? cleat_config_set(reading.target->coordinator, title, key, value, why,
                                         sizeof why)
                      : set_value(reading.target, key, value, why, sizeof why);
    if (fine) {
        remember(reading.target, title ? title : "", key, line);
        return;
    }
    char *text = title ? mem_printf("class \"%s\": %s", title, why) : mem_strdup(why);
    tell(line, text);
    free(text);
}

/* A list is set again with each item, so that a bad one is found on its own line. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt)
{
    struct buf value = {0};
    for (unsigned i = 0; i < cfg_opt_size(opt); i++) {
        const char *item = cfg_opt_getnstr(opt, i);
        if ((opt->flags & CFGF_LIST) && strchr(item, ',')) {
            tell(cfg->line, "an item of a list has no comma in it: write {\"a\", \"b\"}");
            break;
        }
        if (i > 0)
            buf_puts(&value, ",");
        buf_puts(&value, item);
    }
    if (!reading.message)
        set_option(cfg_title(cfg), opt->name, value.data ? value.data : "", cfg->line);
    buf_free(&value);
    return reading.message ? -1 : 0;
}

static void add_option(void *arg, const char *section, const char *key, const char *type,
                       const char *range, const char *fallback, bool live, const char *help)
{
    (void)arg, (void)range, (void)live, (void)help;
    cfg_opt_t text = CFG_STR(mem_strdup(key), NULL, CFGF_NODEFAULT);
    cfg_opt_t **opts = section[0] ? &reading.class : &reading.root;
    size_t *count = section[0] ? &reading.class_count : &reading.root_count;
    text.validcb = on_value;
    if (strcmp(type, "list") == 0)
        text.flags |= CFGF_LIST;
    if (section[0] && !reading.first_class_key) {
        reading.first_class_key = mem_strdup(key);
        reading.first_class_value = mem_strdup(fallback);
    }
    *opts = mem_grow(*opts, (*count + 1) * sizeof **opts);
    (*opts)[(*count)++] = text;
}

static void end_options(cfg_opt_t **opts, size_t count)
{
    cfg_opt_t end = CFG_END();
    *opts = mem_grow(*opts, (count + 1) * sizeof **opts);
    (*opts)[count] = end;
}

static void reading_start(struct configuration *c, const char *path)
{
    reading = (struct reading){.target = c, .path = path};
    for (const struct option *o = settings_options; o->key; o++)
        add_option(NULL, "", o->key, o->type == OPTION_LIST ? "list" : "string", "", "", false,
                   "");
    cleat_config_options(add_option, NULL);
    end_options(&reading.class, reading.class_count);
    cfg_opt_t section =
        CFG_SEC("class", reading.class, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);
    reading.root = mem_grow(reading.root, (reading.root_count + 1) * sizeof *reading.root);
    reading.root[reading.root_count++] = section;
    end_options(&reading.root, reading.root_count);
}

static char *reading_end(void)
{
    char *message = reading.message;
    for (size_t i = 0; i + 1 < reading.root_count; i++)
        free((char *)reading.root[i].name);
    for (size_t i = 0; i < reading.class_count; i++)
        free((char *)reading.class[i].name);
    free(reading.root);
    free(reading.class);
    free(reading.first_class_key);
    free(reading.first_class_value);
    reading = (struct reading){0};
    return message;
}

/* libconfuse calls nobody for "key = {}". */
static void set_empty_lists(cfg_t *section)
{
    for (cfg_opt_t *o = section->opts; o && o->name; o++)
        if ((o->flags & CFGF_LIST) && (o->flags & CFGF_MODIFIED) && cfg_opt_size(o) == 0)
            set_option(cfg_title(section), o->name, "", section->line);
}

static void finish_sections(cfg_t *root)
{
    set_empty_lists(root);
    for (unsigned i = 0; i < cfg_size(root, "class"); i++) {
        cfg_t *section = cfg_getnsec(root, "class", i);
        bool empty = true;
        for (cfg_opt_t *o = section->opts; o && o->name; o++)
            empty = empty && cfg_opt_size(o) == 0;
        if (empty && reading.first_class_key)
            set_option(cfg_title(section), reading.first_class_key, reading.first_class_value,
                       section->line);
        set_empty_lists(section);
    }
}

static char *read_text(const char *path)
{
    FILE *f = fopen(path, "re");
    struct buf text = {0};
    char part[8192];
    size_t n;
    if (!f) {
        reading.message = mem_printf("%s: %s", path, strerror(errno));
        return NULL;
    }
    while ((n = fread(part, 1, sizeof part, f)) > 0 && text.len <= MAX_FILE)
        buf_add(&text, part, n);
    if (ferror(f))
        reading.message = mem_printf("%s: %s", path, strerror(errno));
    else if (text.len > MAX_FILE)
        reading.message = mem_printf("%s: is longer than 1 MiB", path);
    else if (text.data && strlen(text.data) != text.len)
        reading.message = mem_printf("%s: has a NUL byte: not a text file", path);
    fclose(f);
    return buf_take(&text);
}

static void parse(char *text)
{
    int open_line = conftext_prepare(text);
    cfg_t *root = cfg_init(reading.root, 0);
    if (!root) {
        tell(0, "out of memory");
        return;
    }
    cfg_set_error_function(root, on_syntax_error);
    int rc = cfg_parse_buf(root, text);
    if (rc == CFG_SUCCESS && open_line > 0)
        tell(open_line, "this brace is never closed");
    else if (rc != CFG_SUCCESS)
        tell(root->line, "syntax error");
    if (!reading.message)
        finish_sections(root);
    cfg_free(root);
}

char *config_read(struct configuration *c, const char *path)
{
    reading_start(c, path);
    c->file = mem_strdup(path);
    char *text = read_text(path);
    if (!reading.message)
        parse(text);
    free(text);
    return reading_end();
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

void config_print_options(void)
{
    static const char *const types[] = {"integer", "boolean", "choice", "string", "list"};
    for (const struct option *o = settings_options; o->key; o++) {
        char *range = option_range(o);
        print_option(NULL, "", o->key, types[o->type], range, o->fallback, o->live, o->help);
        free(range);
    }
    cleat_config_options(print_option, NULL);
}
