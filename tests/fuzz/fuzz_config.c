/* What operators write: values of options, and cleatd's configuration file. Bytes: a choice,
 * then the file; or lines "key=value" for a class. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/option.h"
#include "cleatd/config.h"
#include "cleatd/conftext.h"
#include "driver/class.h"
#include "driver/s3_url.h"
#include "executor/s3_name.h"
#include "fuzz.h"

/* ---- values */

/* What an option shows as its value gives the same value again. */
static void check_value(const struct option *o, struct class *class)
{
    struct error e = {0};
    char *value = option_value(o, class), *range = option_range(o);
    must(*range);
    must(option_set(class_options, class, o->key, value, &e) == ERR_NONE);
    char *again = option_value(o, class);
    must(strcmp(again, value) == 0);
    for (const char *c = value; *c; c++)
        must((unsigned char)*c >= 0x20 && *c != 0x7f);
    free(again);
    free(range);
    free(value);
}

/* A place in S3 that a configuration may name, every executor can use. */
static void check_place(const char *url)
{
    struct s3_url parsed;
    struct s3_place place;
    struct error e = {0};
    bool good = s3_url_parse(&parsed, url);
    enum error_code code = s3_place_read(&place, url, &e);
    if (good) {
        must(code == ERR_NONE);
        must(strcmp(place.bucket, parsed.bucket) == 0 &&
             strcmp(place.prefix, parsed.prefix) == 0);
        must(!strstr(parsed.prefix, "//") && !strchr(parsed.prefix, '*'));
    }
    s3_place_release(&place);
}

static void try_values(struct fuzz *f)
{
    struct class class = {.name = (char[]){"c"}};
    struct error e = {0};
    option_defaults(class_options, &class);
    while (f->left > 0) {
        char *line = fuzz_line(f), *equals = strchr(line, '=');
        if (equals) {
            *equals = '\0';
            const struct option *o = option_find(class_options, line);
            char *before = o ? option_value(o, &class) : NULL;
            enum error_code code = option_set(class_options, &class, line, equals + 1, &e);
            must(o || code != ERR_NONE);
            if (code != ERR_NONE)
                fuzz_check_error(ERR_CONFIG, &e);
            else
                check_value(o, &class);
            if (o && code != ERR_NONE) { /* a refused value changes nothing */
                char *after = option_value(o, &class);
                must(strcmp(before, after) == 0);
                free(after);
            }
            free(before);
            check_place(equals + 1);
        }
        free(line);
    }
    e = (struct error){0};
    if (!class_check(&class, 1, &e))
        fuzz_check_error(ERR_CONFIG, &e);
    else
        must(*class.artifacts == '\0' || strstr(class.artifacts, "://"));
    option_release(class_options, &class);
}

/* ---- files */

static void check_message(char *message, const char *path)
{
    if (!message)
        return;
    must(*message);
    for (const char *c = message; *c; c++)
        must((unsigned char)*c >= 0x20 && *c != 0x7f);
    must(strncmp(message, path, strlen(path)) == 0 || !strstr(message, "/fd/"));
    free(message);
}

static void try_file(struct fuzz *f)
{
    char path[40];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, f->at, f->left) == (ssize_t)f->left);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct configuration c;
    configuration_init(&c);
    char *message = config_read(&c, path);
    if (!message) {
        for (size_t i = 0; i < c.place_count; i++)
            must(c.places[i].line > 0 && *c.places[i].key);
        check_message(configuration_finish(&c), path);
    } else {
        check_message(message, path);
    }
    configuration_release(&c);
    close(fd);
}

/* Prepared text is as long as before, has its lines where they were, and preparing it again
 * changes nothing. */
static void try_text(struct fuzz *f)
{
    char *text = fuzz_text(f), *before = mem_strdup(text);
    int open_line = conftext_prepare(text);
    must(open_line >= 0 && strlen(text) == strlen(before));
    for (size_t i = 0; before[i]; i++)
        must(text[i] == before[i] || (text[i] == ' ' && before[i] != '\n'));
    char *once = mem_strdup(text);
    must(conftext_prepare(text) == open_line && strcmp(text, once) == 0);
    static const char *const names[] = {"image", "idle_timeout_s", "artifacts", NULL};
    conftext_nearest(before, names);
    free(once);
    free(before);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(struct fuzz *) = {try_values, try_file, try_text};
    struct fuzz f = {data, size};
    readers[fuzz_number(&f, 3)](&f);
    return 0;
}
