/* A file of a tree as it is read for S3: whether it changed meanwhile, and its digest. */
#ifndef CLEAT_EXECUTOR_S3_SOURCE_H
#define CLEAT_EXECUTOR_S3_SOURCE_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define SOURCE_TRIES 3

struct s3_source {
    int fd; /* -1: not open; owned */
    struct stat before;
    unsigned tries;       /* how often reading has begun */
    int64_t size, offset; /* size: as it was then, or less when the file ended before */
    EVP_MD_CTX *digest;
};

bool s3_source_begin(struct s3_source *); /* at the start, with a fresh digest; false: cannot */
/* The next bytes, at most max; NULL: they cannot be read. free(). */
char *s3_source_read(struct s3_source *, int64_t max, size_t *len);
bool s3_source_again(const struct s3_source *); /* it changed, and there are tries left */
void s3_source_digest(struct s3_source *, char hex[65]);
void s3_source_close(struct s3_source *);

#endif
