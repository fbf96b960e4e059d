#include "executor/s3_name.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/id.h"
#include "base/mem.h"
#include "executor/tree.h"
#include "executor/utf8.h"

#define LONGEST_PATH 3000
#define LONGEST_NAME 255

bool s3_is_url(const char *url)
{
    return strncmp(url, S3_SCHEME, strlen(S3_SCHEME)) == 0;
}

static bool alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool bucket_valid(const char *bucket)
{
    size_t len = strlen(bucket);
    struct in_addr address;
    if (len < 3 || len > 63 || !alphanumeric(bucket[0]) || !alphanumeric(bucket[len - 1]))
        return false;
    if (strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-") != len || strstr(bucket, ".."))
        return false;
    return inet_pton(AF_INET, bucket, &address) != 1;
}

enum error_code s3_place_read(struct s3_place *p, const char *url, struct error *e)
{
    *p = (struct s3_place){0};
    if (!s3_is_url(url))
        return error_set(e, ERR_CONFIG, "%.100s is not s3://BUCKET/PREFIX", url);
    const char *bucket = url + strlen(S3_SCHEME);
    size_t len = strcspn(bucket, "/");
    const char *prefix = bucket + len + (bucket[len] == '/');
    size_t prefix_len = strlen(prefix);
    if (prefix_len > 1 && prefix[prefix_len - 1] == '/')
        prefix_len--;
    *p = (struct s3_place){.bucket = mem_strndup(bucket, len),
                           .prefix = mem_strndup(prefix, prefix_len)};
    if (!bucket_valid(p->bucket))
        return error_set(e, ERR_CONFIG, "%.100s is no valid name of an S3 bucket", p->bucket);
    if (prefix_len > S3_PREFIX_MAX || (*p->prefix && !tree_path_valid(p->prefix)))
        return error_set(e, ERR_CONFIG, "the prefix in %.100s is no path of at most %d bytes",
                         url, S3_PREFIX_MAX);
    return ERR_NONE;
}

void s3_place_release(struct s3_place *p)
{
    free(p->bucket);
    free(p->prefix);
    *p = (struct s3_place){0};
}

char *s3_key(const char *prefix, const char *path)
{
    struct buf key = {0};
    if (*prefix)
        buf_printf(&key, "%s/", prefix);
    utf8_add_escaped(&key, path, strlen(path));
    return buf_take(&key);
}

bool s3_decode(struct buf *out, const char *text)
{
    for (; *text; text++) {
        char byte = *text == '+' ? ' ' : *text;
        if (byte == '%') {
            char hex[3] = {text[1], text[1] ? text[2] : '\0', '\0'};
            if (!hex_decode(&byte, 1, hex) || byte == '\0')
                return false;
            text += 2;
        }
        buf_add(out, &byte, 1);
    }
    return true;
}

bool s3_path_safe(const char *path)
{
    if (strlen(path) > LONGEST_PATH || !tree_path_valid(path))
        return false;
    for (size_t len; *path; path += len + (path[len] == '/'))
        if ((len = strcspn(path, "/")) > LONGEST_NAME)
            return false;
    return true;
}

const char *s3_content_type(const char *path)
{
    static const char *const types[][2] = {{"txt", "text/plain; charset=utf-8"},
                                           {"log", "text/plain; charset=utf-8"},
                                           {"stdout", "text/plain; charset=utf-8"},
                                           {"stderr", "text/plain; charset=utf-8"},
                                           {"py", "text/x-python; charset=utf-8"},
                                           {"sh", "text/x-shellscript; charset=utf-8"},
                                           {"md", "text/markdown; charset=utf-8"},
                                           {"csv", "text/csv; charset=utf-8"},
                                           {"tsv", "text/tab-separated-values; charset=utf-8"},
                                           {"html", "text/html; charset=utf-8"},
                                           {"htm", "text/html; charset=utf-8"},
                                           {"css", "text/css; charset=utf-8"},
                                           {"js", "text/javascript; charset=utf-8"},
                                           {"xml", "application/xml"},
                                           {"json", "application/json"},
                                           {"jsonl", "application/jsonl"},
                                           {"ipynb", "application/x-ipynb+json"},
                                           {"yaml", "application/yaml"},
                                           {"yml", "application/yaml"},
                                           {"pdf", "application/pdf"},
                                           {"zip", "application/zip"},
                                           {"gz", "application/gzip"},
                                           {"tar", "application/x-tar"},
                                           {"parquet", "application/vnd.apache.parquet"},
                                           {"png", "image/png"},
                                           {"jpg", "image/jpeg"},
                                           {"jpeg", "image/jpeg"},
                                           {"gif", "image/gif"},
                                           {"webp", "image/webp"},
                                           {"svg", "image/svg+xml"},
                                           {"mp4", "video/mp4"},
                                           {"webm", "video/webm"},
                                           {"mp3", "audio/mpeg"},
                                           {"wav", "audio/wav"}};
    const char *name = strrchr(path, '/');
    const char *dot = strrchr(name ? name : path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (strcasecmp(dot + 1, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}
