/* One file. Its syntax and line numbers are libconfuse's; every value is text to it and is
 * checked by the option tables, so that a file and the command line take the same values and
 * give the same errors. */
#include "cleatd/config_file.h"

#include <confuse.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "cleatd/conftext.h"

#define MAX_FILE (1024 * 1024)

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
    if (config_set_at(reading.target, title, key, value, line, why, sizeof why))
        return;
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
    config_each_option(add_option, NULL);
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
