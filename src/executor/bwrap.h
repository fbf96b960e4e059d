/* Bubblewrap's command line (bwrap(1), 0.8). */
#ifndef CLEAT_EXECUTOR_BWRAP_H
#define CLEAT_EXECUTOR_BWRAP_H

#include <stdbool.h>
#include <stdint.h>

struct bwrap_spec {
    bool network;   /* the host's; else only a loopback of its own */
    int64_t tmp_mb; /* size of /tmp and /dev/shm each; 0: 1 GiB */
    const char *home;
    int code_fd; /* -1: none; else becomes the file ENTER_CODE code_name */
    const char *code_name;
    char *const *env; /* the whole environment of the program */
    char *const *argv;
};

/* The whole command line, for execvp(3) by this process (it holds descriptors). NULL: errno. */
char **bwrap_command(const struct bwrap_spec *);

#endif
