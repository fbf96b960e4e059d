#include "fuzz.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"

_Noreturn void fuzz_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

/* What came from outside and is logged is one line. */
static void check_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    for (const char *c = line; *c; c++)
        must((unsigned char)*c >= 0x20 && *c != 0x7f);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    log_set_sink(check_line, NULL);
    log_set_level(LOG_LEVEL_DEBUG);
    return 0;
}

uint8_t fuzz_byte(struct fuzz *f)
{
    if (f->left == 0)
        return 0;
    f->left--;
    return *f->at++;
}

unsigned fuzz_number(struct fuzz *f, unsigned below)
{
    return fuzz_byte(f) % below;
}

void *fuzz_piece(struct fuzz *f, size_t max, size_t *len)
{
    *len = f->left < max ? f->left : max;
    void *copy = malloc(*len ? *len : 1);
    if (*len > 0)
        memcpy(copy, f->at, *len);
    f->at += *len;
    f->left -= *len;
    return copy;
}

void *fuzz_bytes(struct fuzz *f, size_t *len)
{
    return fuzz_piece(f, f->left, len);
}

char *fuzz_line(struct fuzz *f)
{
    size_t len = 0;
    while (len < f->left && f->at[len] != '\n')
        len++;
    char *line = mem_strndup((const char *)f->at, len);
    len += len < f->left ? 1 : 0;
    f->at += len;
    f->left -= len;
    return line;
}

char *fuzz_text(struct fuzz *f)
{
    char *text = mem_strndup((const char *)f->at, f->left);
    *f = (struct fuzz){0};
    return text;
}

bool fuzz_is_printable(const char *text)
{
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    json_t *o = json_string(text); /* NULL: not UTF-8 */
    json_decref(o);
    return o != NULL;
}

void fuzz_check_error(enum error_code code, const struct error *e)
{
    must(code != ERR_NONE && code < ERR_COUNT);
    must(e->code == code);
    must(e->message[0] != '\0');
    must(fuzz_is_printable(e->message));
}
