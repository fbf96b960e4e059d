/* Walking and copying directory trees that somebody else may have filled: no link is followed,
 * no device is opened, nothing outside the root is reached. Blocks: for helper processes. */
#ifndef CLEAT_EXECUTOR_TREE_H
#define CLEAT_EXECUTOR_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"

#define TREE_ANY_OWNER ((uid_t)-1)
#define TREE_FILES_MAX 1000000
#define TREE_DEPTH_MAX 64

struct tree_file {
    char *path; /* below the root of the walk */
    int64_t size;
    const char *skipped; /* why it is left out; NULL: it is not */
    char sha256[65];     /* after its copy */
};

struct tree {
    int root;    /* descriptor, owned */
    uid_t owner; /* regular files of others are skipped: a hard link is no way to read their
                    data */
    struct tree_file *files;
    size_t count, room;
    int64_t bytes; /* of what is not skipped */
};

/* Opens dir below at (AT_FDCWD: a path of ours, its last part no link) and lists it. A missing
 * directory is an empty tree. */
enum error_code tree_read(struct tree *, int at, const char *dir, uid_t owner, struct error *e);
void tree_free(struct tree *);
size_t tree_wanted(const struct tree *); /* files that are not skipped */

/* Opens a file of the tree for reading. -1: it became skipped. */
int tree_open_file(const struct tree *, struct tree_file *);

struct tree_target {
    int root;        /* descriptor, borrowed; what is missing below it is made */
    const char *dir; /* below root, "": root itself */
    const char
        *stage;  /* name in root that a file has until it is whole; an old one is replaced */
    uid_t owner; /* the copies' and made directories', TREE_ANY_OWNER: ours */
    mode_t dir_mode, file_mode;
    void (*copied)(void *arg, int64_t bytes, bool whole_file); /* progress; may be NULL */
    void *arg;
    char *open_path; /* the directory of the last copy, kept open between copies */
    int open_fd;
};

/* Copies the tree's files: each under another name first, then fsync, rename, fsync of the
 * directory. A file that vanished or cannot be opened safely any more becomes skipped. */
enum error_code tree_copy(struct tree *, struct tree_target *, struct error *e);

/* The same in parts, for bytes from elsewhere: an empty file of that name in the target's root,
 * then its place below dir, with owner, fsync and rename. tree_place takes fd, and removes the
 * file when it fails. Close the target at the end: fsync of the last directory. */
int tree_stage(const struct tree_target *, const char *stage, struct error *e);
enum error_code tree_place(struct tree_target *, int fd, const char *stage, const char *path,
                           struct error *e);
enum error_code tree_target_close(struct tree_target *, struct error *e);

/* Opens dir ("a/b") below root one part at a time, follows no link and refuses "..", makes what
 * is missing. -1 and *e. */
int tree_open_dir(int root, const char *dir, bool make, mode_t mode, uid_t owner,
                  struct error *e);

/* Not empty, relative, no part is "", "." or "..". */
bool tree_path_valid(const char *path);

#endif
