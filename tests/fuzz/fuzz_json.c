/* Strict JSON: what js_parse_object accepts, a second reader accepts as well, and what was
 * written reads as the same. */
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "executor/utf8.h"
#include "fuzz.h"
#include "http/json.h"

/* RFC 8259, read once more and independently: no value is made, only syntax is followed. */
struct reader {
    const char *at, *end;
    unsigned depth;
};

static void skip_space(struct reader *r)
{
    while (r->at < r->end && strchr(" \t\r\n", *r->at) && *r->at)
        r->at++;
}

static bool take(struct reader *r, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0)
        return false;
    r->at += len;
    return true;
}

static bool take_any(struct reader *r, const char *of)
{
    if (r->at == r->end || !*r->at || !strchr(of, *r->at))
        return false;
    r->at++;
    return true;
}

static bool take_digits(struct reader *r)
{
    const char *from = r->at;
    while (take_any(r, "0123456789"))
        continue;
    return r->at > from;
}

static bool take_number(struct reader *r)
{
    take(r, "-");
    if (!take(r, "0") && !take_digits(r))
        return false;
    if (take(r, ".") && !take_digits(r))
        return false;
    if (!take_any(r, "eE"))
        return true;
    take_any(r, "+-");
    return take_digits(r);
}

static bool take_string(struct reader *r)
{
    if (!take(r, "\""))
        return false;
    while (!take(r, "\"")) {
        if (r->at == r->end || (unsigned char)*r->at < 0x20)
            return false;
        if (*r->at++ != '\\')
            continue;
        if (take(r, "u")) {
            for (int i = 0; i < 4; i++)
                if (!take_any(r, "0123456789abcdefABCDEF"))
                    return false;
        } else if (!take_any(r, "\"\\/bfnrt")) {
            return false;
        }
    }
    return true;
}

static bool take_value(struct reader *r);

static bool take_members(struct reader *r, bool object)
{
    const char *close = object ? "}" : "]";
    skip_space(r);
    if (take(r, close))
        return true;
    do {
        skip_space(r);
        if (object && (!take_string(r) || (skip_space(r), !take(r, ":"))))
            return false;
        if (!take_value(r))
            return false;
    } while (take(r, ","));
    return take(r, close);
}

static bool take_value(struct reader *r)
{
    bool fine;
    skip_space(r);
    if (take(r, "{") || take(r, "[")) {
        must(++r->depth <= 32);
        fine = take_members(r, r->at[-1] == '{');
        r->depth--;
    } else if (r->at < r->end && *r->at == '"') {
        fine = take_string(r);
    } else {
        fine = take(r, "true") || take(r, "false") || take(r, "null") || take_number(r);
    }
    skip_space(r);
    return fine;
}

static void check_accepted(const char *text, size_t len)
{
    struct reader r = {text, text + len, 0};
    struct buf clean = {0};
    skip_space(&r);
    must(r.at < r.end && *r.at == '{');
    must(take_value(&r) && r.at == r.end);
    utf8_add(&clean, text, len);
    must(clean.len == len && memcmp(clean.data, text, len) == 0);
    buf_free(&clean);
}

static void check_again(json_t *o)
{
    struct error e = {0};
    char *text = js_text(o);
    json_t *again = js_parse_object(text, strlen(text), &e);
    must(again && json_equal(again, o));
    char *twice = js_text(again);
    must(strcmp(twice, text) == 0);
    free(twice);
    free(text);
    json_decref(again);
}

static void check_readers(const json_t *o)
{
    static const char *const keys[] = {"a", "b", NULL};
    const char *text = "unset";
    int64_t number = 5;
    bool flag = false;
    json_t *member = NULL;
    struct error e[6] = {{0}};
    js_string(o, "a", true, 8, &text, &e[0]);
    must((e[0].code == ERR_NONE) == (strcmp(text, "unset") != 0 || json_object_get(o, "a")) ||
         e[0].code != ERR_NONE);
    must(e[0].code != ERR_NONE || strlen(text) <= 8);
    js_int(o, "a", false, -10, 10, &number, &e[1]);
    must(number >= -10 && number <= 10);
    js_bool(o, "a", true, &flag, &e[2]);
    js_object(o, "a", true, &member, &e[3]);
    must(!member || json_is_object(member));
    js_array(o, "b", true, 3, &member, &e[4]);
    js_only(o, keys, &e[5]);
    must((e[5].code == ERR_NONE) ==
         (json_object_size(o) ==
          (size_t)(!!json_object_get(o, "a") + !!json_object_get(o, "b"))));
    for (int i = 0; i < 6; i++)
        if (e[i].code != ERR_NONE)
            fuzz_check_error(ERR_INVALID, &e[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    struct error e = {0};
    size_t len;
    char *text = fuzz_bytes(&f, &len);
    json_t *o = js_parse_object(text, len, &e);
    if (o) {
        check_accepted(text, len);
        check_again(o);
        check_readers(o);
    } else {
        fuzz_check_error(ERR_INVALID, &e);
    }
    json_decref(o);
    free(text);
    return 0;
}
