#include "driver/s3_url.h"

#include <arpa/inet.h>
#include <string.h>

static bool is_bucket(const char *name, size_t len)
{
    static const char middle[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";
    bool ends_fine = len >= 3 && len <= 63 && strchr(middle, name[0]) &&
                     strchr(middle, name[len - 1]) && !strchr(".-", name[0]) &&
                     !strchr(".-", name[len - 1]);
    return ends_fine && strspn(name, middle) >= len;
}

/* A name that only looks like one: S3 has no such bucket, and the executor takes none. */
static bool is_odd(const char *bucket)
{
    struct in_addr address;
    return strstr(bucket, "..") || inet_pton(AF_INET, bucket, &address) == 1;
}

static bool is_part(const char *part, size_t len)
{
    bool dots = (len == 1 && part[0] == '.') || (len == 2 && memcmp(part, "..", 2) == 0);
    for (size_t i = 0; i < len; i++)
        if (strchr("*?$\\\"", part[i]) || (unsigned char)part[i] < ' ' || part[i] == 127)
            return false;
    return len > 0 && !dots;
}

bool s3_url_parse(struct s3_url *url, const char *text)
{
    *url = (struct s3_url){0};
    if (strncmp(text, S3_SCHEME, strlen(S3_SCHEME)) != 0)
        return false;
    const char *bucket = text + strlen(S3_SCHEME);
    size_t len = strcspn(bucket, "/");
    const char *prefix = bucket[len] ? bucket + len + 1 : "";
    size_t prefix_len = strlen(prefix);
    if (prefix_len > 1 && prefix[prefix_len - 1] == '/') /* one is fine */
        prefix_len--;
    bool ends_empty = prefix_len > 0 && prefix[prefix_len - 1] == '/';
    if (!is_bucket(bucket, len) || prefix_len >= sizeof(url->prefix) || ends_empty)
        return false;
    memcpy(url->bucket, bucket, len);
    memcpy(url->prefix, prefix, prefix_len);
    if (is_odd(url->bucket))
        return false;
    for (const char *part = url->prefix; *part;) {
        size_t n = strcspn(part, "/");
        if (!is_part(part, n))
            return false;
        part += n + (part[n] == '/');
    }
    return true;
}
