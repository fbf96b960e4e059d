/* The calls of a multipart upload (Amazon S3 API Reference), for jobs that send or copy parts.
 */
#ifndef CLEAT_EXECUTOR_S3_MULTI_H
#define CLEAT_EXECUTOR_S3_MULTI_H

#include "executor/s3.h"

struct s3_multi {
    struct s3 *s3;
    const char *bucket, *key; /* borrowed */
    char *id;                 /* NULL: nothing was begun */
    char **etags;             /* by part, NULL: not there yet */
    unsigned parts;           /* that were started */
};

void s3_multi_init(struct s3_multi *, struct s3 *, const char *bucket, const char *key);
void s3_multi_forget(struct s3_multi *); /* may be created anew, or left */

/* Each starts the call, which sets the id or the part's tag. */
void s3_multi_create(struct s3_multi *, struct s3_call *, const struct http_header *headers,
                     size_t header_count);
struct s3_part {
    struct s3_call call;
    struct s3_multi *multi;
    unsigned number;
    int64_t len;
};
/* The next part: with bytes, or (body NULL) with headers that name a source to copy len bytes
 * from. */
void s3_multi_part(struct s3_multi *, struct s3_part *, const void *body, int64_t len,
                   const struct http_header *headers, size_t header_count);
void s3_multi_complete(struct s3_multi *, struct s3_call *);
void s3_multi_abort(struct s3_multi *, struct s3_call *); /* few tries: all else has failed */

/* S3 does not know the upload: a repeated completion whose first answer was lost, or somebody's
 * clean-up. */
bool s3_multi_unknown(const struct s3_call *);
void s3_multi_check_abort(const struct s3_multi *,
                          const struct s3_call *); /* logs what stays */

/* Part size for an object of that size. */
int64_t s3_part_size(int64_t size, int64_t least);

#endif
