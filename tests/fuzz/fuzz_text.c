/* What programs in a container write, what they name their files, and what S3 lists: bytes that
 * become JSON, keys and paths. Bytes: which, then the rest. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>
#include "base/mem.h"
#include "executor/nonces.h"
#include "executor/output.h"
#include "executor/s3_list.h"
#include "executor/s3_name.h"
#include "executor/tree.h"
#include "executor/utf8.h"
#include "fuzz.h"

static bool is_text(const char *data, size_t len)
{
    json_t *o = json_stringn(data ? data : "", len);
    json_decref(o);
    return o && (!len || !memchr(data, '\0', len));
}

static void try_utf8(struct fuzz *f)
{
    struct buf once = {0}, twice = {0}, escaped = {0};
    size_t len;
    char *bytes = fuzz_bytes(f, &len);
    utf8_add(&once, bytes, len);
    utf8_add_escaped(&escaped, bytes, len);
    must(is_text(once.data, once.len) && is_text(escaped.data, escaped.len));
    must(once.len <= 3 * len && once.len >= len);
    utf8_add(&twice, once.data ? once.data : "", once.len);
    must(once.len == twice.len && (!once.len || memcmp(once.data, twice.data, once.len) == 0));
    if (is_text(bytes, len)) /* what is text stays as it is */
        must(once.len == len && escaped.len == len &&
             (!len || memcmp(once.data, bytes, len) == 0));
    buf_free(&once);
    buf_free(&twice);
    buf_free(&escaped);
    free(bytes);
}

/* ---- output of a program, in pieces through a pipe */

static void check_kept(const struct output *o, const char *bytes, size_t len)
{
    struct buf text = {0}, part = {0};
    struct error e = {0};
    must(o->total == len && o->kept == (len < o->limit ? len : o->limit));
    must(output_truncated(o) == (len > o->limit));
    must(output_text(o, &text, &e) == ERR_NONE && is_text(text.data, text.len));
    for (size_t at = 0; at < o->kept; at += part.len) {
        part.len = 0;
        must(output_read(o, at, 1 + at % 50, &part, &e) == ERR_NONE && part.len > 0);
        must(memcmp(part.data, bytes + at, part.len) == 0);
    }
    part.len = 0;
    must(output_read(o, o->kept + len, 10, &part, &e) == ERR_NONE && part.len == 0);
    buf_free(&text);
    buf_free(&part);
}

static void try_output(struct fuzz *f)
{
    struct output o;
    struct error e = {0};
    size_t limit = fuzz_byte(f) * 8u, len;
    char *bytes = fuzz_bytes(f, &len);
    char name[] = "/tmp/cleat-fuzz-XXXXXX";
    int fd = mkstemp(name);
    must(fd >= 0);
    must(output_open(&o, name, limit, &e) == ERR_NONE);
    for (size_t at = 0; at < len;) {
        ssize_t n = write(o.writer, bytes + at, len - at < 4096 ? len - at : 4096);
        must(n > 0);
        at += (size_t)n;
    }
    output_finish(&o);
    must(o.ended && o.reader == -1 && o.writer == -1);
    check_kept(&o, bytes, len);
    output_release(&o);
    unlink(name);
    close(fd);
    free(bytes);
}

/* ---- names */

static void check_safe(const char *path)
{
    char *padded = mem_printf("/%s/", path);
    must(*path && !strstr(padded, "//") && !strstr(padded, "/./") && !strstr(padded, "/../"));
    free(padded);
}

static void try_names(struct fuzz *f)
{
    char *path = fuzz_text(f);
    struct buf decoded = {0};
    if (tree_path_valid(path))
        check_safe(path);
    if (s3_path_safe(path))
        must(tree_path_valid(path) && strlen(path) <= 3000);
    char *key = s3_key("a/b", path);
    must(strncmp(key, "a/b/", 4) == 0 && is_text(key, strlen(key)));
    must(*s3_content_type(path));
    if (s3_decode(&decoded, path))
        must(decoded.len <= strlen(path) &&
             (!decoded.len || !memchr(decoded.data, 0, decoded.len)));
    free(key);
    free(path);
    buf_free(&decoded);
}

/* ---- a listing */

static void try_listing(struct fuzz *f)
{
    struct s3_list list = {.bucket = "bucket", .prefix = (char[]){"in/"}};
    struct error e = {0};
    struct s3_object *o;
    size_t len, count = 0;
    int64_t bytes = 0;
    char *text = fuzz_bytes(f, &len);
    TAILQ_INIT(&list.objects);
    enum error_code code = s3_list_read(&list, text, len, &e);
    if (code != ERR_NONE)
        fuzz_check_error(code, &e);
    else
        must(list.finished == (list.token == NULL));
    while ((o = TAILQ_FIRST(&list.objects))) {
        TAILQ_REMOVE(&list.objects, o, entry);
        must(o->size >= 0 && strncmp(o->key, "in/", 3) == 0 && o->path == o->key + 3);
        check_safe(o->path);
        bytes += o->size;
        count++;
        s3_object_free(o);
    }
    must(count == list.count && bytes == list.bytes);
    free(list.token);
    free(text);
}

/* ---- nonces */

/* Each is new once, in either case of its digits. */
static void try_nonces(struct fuzz *f)
{
    struct nonces n = {0};
    bool seen[65536] = {false};
    size_t count = 0;
    while (f->left > 1) {
        char nonce[33];
        unsigned number = fuzz_byte(f) * 256u;
        number += fuzz_byte(f);
        snprintf(nonce, sizeof nonce, number % 2 ? "%032x" : "%032X", number * 2654435761u);
        enum nonce_result wanted = seen[number] || number == 0 ? NONCE_SEEN : NONCE_NEW;
        must(nonces_add(&n, nonce) == wanted);
        must(nonces_add(&n, nonce) == NONCE_SEEN);
        count += wanted == NONCE_NEW;
        seen[number] = true;
    }
    must(n.count == count && nonces_add(&n, "0") == NONCE_SEEN);
    nonces_release(&n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(struct fuzz *) = {try_utf8, try_output, try_names,
                                                     try_listing, try_nonces};
    struct fuzz f = {data, size};
    readers[fuzz_number(&f, 5)](&f);
    return 0;
}
