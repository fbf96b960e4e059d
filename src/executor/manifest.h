/* What a session leaves behind: which files go where, and the document that says so. For the
 * helper process that uploads. */
#ifndef CLEAT_EXECUTOR_MANIFEST_H
#define CLEAT_EXECUTOR_MANIFEST_H

#include <stddef.h>
#include <stdint.h>
#include "executor/tree.h"

#define MANIFEST "manifest.json"
#define UPLOAD_PARTS 3

struct upload_part {
    const char *from, *to; /* below the workspace, below the session's place in the store */
    bool of_user;
    struct tree tree;
};

struct upload_request {
    const char *workspace, *store, *session, *attempt, *nonce;
    uid_t user;
    int64_t max_bytes; /* files beyond it are skipped, 0: no limit */
};

/* debug, home/artifacts, home/data. Reports the total. Release them also after an error. */
enum error_code upload_parts_read(struct upload_part parts[UPLOAD_PARTS],
                                  const struct upload_request *, struct error *e);
void upload_parts_release(struct upload_part parts[UPLOAD_PARTS]);

/* After the copies; free(). as_keys: paths are written as s3_key writes them. */
char *manifest_text(const struct upload_part parts[UPLOAD_PARTS], const struct upload_request *,
                    bool as_keys);

#endif
