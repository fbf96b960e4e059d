/* The objects below a prefix (ListObjectsV2), page after page as they are used up. */
#ifndef CLEAT_EXECUTOR_S3_LIST_H
#define CLEAT_EXECUTOR_S3_LIST_H

#include "executor/s3.h"

struct s3_object {
    char *key;
    const char *path; /* in key, after the prefix: safe below a directory of ours */
    int64_t size;
    TAILQ_ENTRY(s3_object) entry;
};
void s3_object_free(struct s3_object *);

struct s3_list {
    struct s3_job job;
    struct s3 *s3;
    const char *bucket; /* borrowed */
    char *prefix;       /* "a/b/", "" */
    char *token;        /* of the next page, NULL: the first */
    struct s3_call call;
    bool under_way, finished, found_any;
    size_t count, pages;
    int64_t bytes;
    TAILQ_HEAD(, s3_object) objects;
};

/* prefix without its slash. An unsafe key ends everything; keys that end with a slash, which
 * stand for folders, are left out. */
void s3_list_init(struct s3_list *, struct s3 *, const char *bucket, const char *prefix);
void s3_list_release(struct s3_list *);
struct s3_object *s3_list_take(struct s3_list *); /* NULL: none is known now; free it */
/* The job that fetches the next page and reports the total, NULL: it is under way, or there is
 * none. */
struct s3_job *s3_list_more(struct s3_list *);

/* A page of the answer; for tests. */
enum error_code s3_list_read(struct s3_list *, const char *xml, size_t len, struct error *e);

#endif
