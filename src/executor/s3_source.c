#include "executor/s3_source.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"

/* OpenSSL fails here only without memory or without a SHA-256: both end the process. */
static void require(bool ok)
{
    if (!ok) {
        log_error("copy.digest_failed");
        abort();
    }
}

bool s3_source_begin(struct s3_source *s)
{
    s->tries++;
    s->offset = 0;
    if (lseek(s->fd, 0, SEEK_SET) != 0 || fstat(s->fd, &s->before) != 0)
        return false;
    s->size = s->before.st_size;
    if (!s->digest)
        s->digest = EVP_MD_CTX_new();
    require(s->digest && EVP_DigestInit_ex(s->digest, EVP_sha256(), NULL));
    return true;
}

static bool read_all(int fd, char *to, size_t len, size_t *got)
{
    for (*got = 0; *got < len;) {
        ssize_t n = read(fd, to + *got, len - *got);
        if (n < 0 && errno != EINTR)
            return false;
        if (n == 0)
            return true;
        *got += n > 0 ? (size_t)n : 0;
    }
    return true;
}

char *s3_source_read(struct s3_source *s, int64_t max, size_t *len)
{
    int64_t rest = s->size - s->offset;
    size_t wanted = (size_t)(rest < max ? rest : max);
    char *bytes = mem_grow(NULL, wanted + 1);
    if (!read_all(s->fd, bytes, wanted, len)) {
        free(bytes);
        return NULL;
    }
    require(EVP_DigestUpdate(s->digest, bytes, *len));
    s->offset += (int64_t)*len;
    if (*len < wanted)
        s->size = s->offset;
    return bytes;
}

bool s3_source_again(const struct s3_source *s)
{
    struct stat now;
    const struct stat *was = &s->before;
    return s->tries < SOURCE_TRIES && (fstat(s->fd, &now) != 0 || now.st_size != was->st_size ||
                                       now.st_mtim.tv_sec != was->st_mtim.tv_sec ||
                                       now.st_mtim.tv_nsec != was->st_mtim.tv_nsec);
}

void s3_source_digest(struct s3_source *s, char hex[65])
{
    uint8_t sum[32];
    require(EVP_DigestFinal_ex(s->digest, sum, NULL));
    hex_encode(hex, sum, sizeof sum);
}

void s3_source_close(struct s3_source *s)
{
    EVP_MD_CTX_free(s->digest);
    if (s->fd >= 0)
        close(s->fd);
    *s = (struct s3_source){.fd = -1};
}
