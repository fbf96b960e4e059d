/* Names in S3: buckets, keys, paths that come out of keys, and content types. Pure. */
#ifndef CLEAT_EXECUTOR_S3_NAME_H
#define CLEAT_EXECUTOR_S3_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "base/error.h"

#define S3_SCHEME "s3://"
#define S3_KEY_MAX 1024
#define S3_PREFIX_MAX 512 /* of ours: leaves room for a session and a path */

struct s3_place {
    char *bucket;
    char *prefix; /* no slash at either end; "": the whole bucket */
};

bool s3_is_url(const char *url);
/* s3://BUCKET[/PREFIX], the bucket by the naming rules of general purpose buckets (Amazon S3
 * User Guide), no part of the prefix empty, "." or "..". ERR_CONFIG. Release it also after an
 * error. */
enum error_code s3_place_read(struct s3_place *, const char *url, struct error *e);
void s3_place_release(struct s3_place *);

/* "prefix/path", or path alone without a prefix; bytes that are no UTF-8, which a key must be,
 * are written %XX. free(). */
char *s3_key(const char *prefix, const char *path);

/* The value of a listing with encoding-type=url; false: it hides a NUL or is cut. */
bool s3_decode(struct buf *out, const char *text);

/* May be a path below a directory of ours: relative, no part "", "." or "..", none over 255
 * bytes, not too long altogether. */
bool s3_path_safe(const char *path);

const char *s3_content_type(const char *path); /* by the file name's extension */

#endif
