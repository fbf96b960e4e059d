/* s3://BUCKET[/PREFIX]. */
#ifndef CLEAT_DRIVER_S3_URL_H
#define CLEAT_DRIVER_S3_URL_H

#include <stdbool.h>

#define S3_SCHEME "s3://"

struct s3_url {
    char bucket[64];
    char prefix[512]; /* without a slash at either end; "": the whole bucket */
};

/* False when it is none: the bucket's name by the rules for general purpose buckets (Amazon S3
 * User Guide), of a prefix no part is empty, "." or "..", and none has what an IAM policy takes
 * for a wildcard or variable. */
bool s3_url_parse(struct s3_url *, const char *text);

#endif
