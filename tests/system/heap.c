/* For LD_PRELOAD into cleatd: who connects to the Unix socket CLEAT_TEST_HEAP is told how many
 * bytes of the heap are in use, in decimal digits. Nothing that an allocator keeps or has torn
 * is in that. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t in_use(void)
{
    if (__sanitizer_get_current_allocated_bytes)
        return __sanitizer_get_current_allocated_bytes();
    struct mallinfo2 now = mallinfo2();
    return now.uordblks + now.hblkhd;
}

static void *answer(void *listener)
{
    for (;;) {
        int client = accept4(*(int *)listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0)
            continue;
        dprintf(client, "%zu", in_use());
        close(client);
    }
    return NULL;
}

__attribute__((constructor)) static void begin(void)
{
    static int listener;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *path = getenv("CLEAT_TEST_HEAP");
    sigset_t all, before;
    pthread_t thread;
    if (!path || strlen(path) >= sizeof at.sun_path ||
        !strstr(program_invocation_short_name, "cleatd"))
        return; /* libtool's script starts it, and it starts others */
    strcpy(at.sun_path, path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 8) != 0)
        abort();
    sigfillset(&all); /* signals are for the program */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_create(&thread, NULL, answer, &listener);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
