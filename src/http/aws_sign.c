#include "http/aws_sign.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include "base/buf.h"
#include "base/id.h"
#include "base/mem.h"

#define DIGEST_SIZE 32
#define HEX_SIZE (2 * DIGEST_SIZE + 1)

bool aws_sign_needed(const struct aws_message *m)
{
    for (size_t i = 0; i < m->header_count; i++)
        for (size_t j = 0; j < m->header_count; j++)
            if (i != j && strncasecmp(m->headers[i].name, m->headers[j].name,
                                      strlen(m->headers[i].name)) == 0)
                return true;
    return false;
}

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void hmac(unsigned char out[DIGEST_SIZE], const void *key, size_t key_len,
                 const char *text)
{
    size_t len;
    require(EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, key_len,
                      (const unsigned char *)text, strlen(text), out, DIGEST_SIZE,
                      &len) != NULL);
}

static void digest_hex(char out[HEX_SIZE], const char *text, size_t len)
{
    unsigned char digest[DIGEST_SIZE];
    size_t digest_len;
    require(EVP_Q_digest(NULL, "SHA256", NULL, text, len, digest, &digest_len));
    hex_encode(out, digest, sizeof digest);
}

/* ---- the canonical request */

static int by_name(const void *a, const void *b)
{
    return strcasecmp(((const struct http_header *)a)->name,
                      ((const struct http_header *)b)->name);
}

/* Spaces around it are dropped, several become one. */
static void add_value(struct buf *out, const char *value)
{
    bool space = false;
    for (value += strspn(value, " \t"); *value; value++) {
        bool is_space = *value == ' ' || *value == '\t';
        if (!is_space && space)
            buf_puts(out, " ");
        if (!is_space)
            buf_add(out, value, 1);
        space = is_space;
    }
}

static void add_lower(struct buf *out, const char *name)
{
    for (; *name; name++) {
        char c = (char)tolower((unsigned char)*name);
        buf_add(out, &c, 1);
    }
}

struct parts {
    char *host;
    const char *path, *query;
    size_t path_len;
};

/* Host as libcurl sends it: without the scheme's own port. */
static void split_url(struct parts *p, const char *url)
{
    bool tls = strncmp(url, "https:", 6) == 0;
    const char *host = strstr(url, "://") + 3;
    size_t len = strcspn(host, "/?"), port = strlen(tls ? ":443" : ":80");
    p->path = host + len;
    p->path_len = strcspn(p->path, "?");
    p->query = p->path[p->path_len] ? p->path + p->path_len + 1 : "";
    if (len > port && strncmp(host + len - port, tls ? ":443" : ":80", port) == 0)
        len -= port;
    p->host = mem_strndup(host, len);
}

static const char *value_of(const struct aws_message *m, const char *name)
{
    for (size_t i = 0; i < m->header_count; i++)
        if (strcasecmp(m->headers[i].name, name) == 0)
            return m->headers[i].value;
    return "";
}

/* The message's headers, the host's and the given ones, sorted; free(). */
static struct http_header *sorted(const struct aws_message *m, const char *host,
                                  const struct http_header *more, size_t more_count,
                                  size_t *count)
{
    struct http_header *all = mem_array(m->header_count + more_count + 1, sizeof *all);
    memcpy(all, m->headers, m->header_count * sizeof *all);
    memcpy(all + m->header_count, more, more_count * sizeof *all);
    *count = m->header_count + more_count + 1;
    all[*count - 1] = (struct http_header){"host", host};
    qsort(all, *count, sizeof *all, by_name);
    return all;
}

static void canonical(struct buf *out, struct buf *names, const struct aws_message *m,
                      const struct http_header *more, size_t more_count)
{
    struct parts p;
    size_t count;
    split_url(&p, m->url);
    struct http_header *all = sorted(m, p.host, more, more_count, &count);
    buf_printf(out, "%s\n%.*s\n%s\n", m->method, (int)p.path_len, p.path, p.query);
    for (size_t i = 0; i < count; i++) {
        add_lower(out, all[i].name);
        buf_puts(out, ":");
        add_value(out, all[i].value);
        buf_puts(out, "\n");
        buf_puts(names, i > 0 ? ";" : "");
        add_lower(names, all[i].name);
    }
    buf_printf(out, "\n%s\n%s", names->data, value_of(m, "x-amz-content-sha256"));
    free(all);
    free(p.host);
}

/* ---- the signature */

static void sign(char out[HEX_SIZE], const struct http_sign *s, const char *day,
                 const char *text)
{
    unsigned char key[DIGEST_SIZE];
    char *secret = mem_printf("AWS4%s", s->secret_key);
    hmac(key, secret, strlen(secret), day);
    hmac(key, key, sizeof key, s->region);
    hmac(key, key, sizeof key, s->service);
    hmac(key, key, sizeof key, "aws4_request");
    hmac(key, key, sizeof key, text);
    hex_encode(out, key, sizeof key);
    mem_wipe(secret, strlen(secret));
    free(secret);
}

static char *authorization(const struct aws_message *m, const struct http_sign *s,
                           const struct http_header *more, size_t more_count, const char *date)
{
    struct buf request = {0}, names = {0};
    char digest[HEX_SIZE], signature[HEX_SIZE], day[9];
    mem_copy_string(day, sizeof day, date);
    canonical(&request, &names, m, more, more_count);
    digest_hex(digest, request.data, request.len);
    char *scope = mem_printf("%s/%s/%s/aws4_request", day, s->region, s->service);
    char *text = mem_printf("AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, digest);
    sign(signature, s, day, text);
    char *value =
        mem_printf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
                   s->access_key, scope, names.data, signature);
    free(text);
    free(scope);
    buf_free(&names);
    buf_free(&request);
    return value;
}

size_t aws_sign(struct http_header out[AWS_SIGN_HEADERS], const struct aws_message *m,
                const struct http_sign *s, int64_t wall_ms)
{
    char date[32];
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    size_t count = 0;
    gmtime_r(&seconds, &tm);
    strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", &tm);
    out[count++] = (struct http_header){"X-Amz-Date", mem_strdup(date)};
    if (s->session_token)
        out[count++] =
            (struct http_header){"X-Amz-Security-Token", mem_strdup(s->session_token)};
    char *value = authorization(m, s, out, count, date);
    out[count++] = (struct http_header){"Authorization", value};
    return count;
}
