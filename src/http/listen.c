#include "http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/mem.h"

static int fail(int fd, struct error *e, enum error_code code, const char *what,
                const char *where)
{
    error_set(e, code, "%s: %s: %s", where, what, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Removes a socket whose listener is gone. False: somebody answers, or it is no socket. */
static bool clear_path(const struct sockaddr_un *address, struct error *e)
{
    struct stat st;
    if (lstat(address->sun_path, &st) != 0)
        return true;
    if (!S_ISSOCK(st.st_mode)) {
        error_set(e, ERR_CONFLICT, "%s: exists and is not a socket", address->sun_path);
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool stale = fd >= 0 &&
                 connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 &&
                 errno == ECONNREFUSED; /* else somebody listens, or that cannot be known */
    if (fd >= 0)
        close(fd);
    if (!stale) {
        error_set(e, ERR_CONFLICT, "%s: in use by another process", address->sun_path);
        return false;
    }
    unlink(address->sun_path);
    return true;
}

int listen_unix(const char *path, mode_t mode, struct error *e)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        error_set(e, ERR_CONFIG, "%s: a socket's path has at most %zu characters", path,
                  sizeof(address.sun_path) - 1);
        return -1;
    }
    mem_copy_string(address.sun_path, sizeof(address.sun_path), path);
    if (!clear_path(&address, e))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    mode_t old = umask(0177); /* nobody slips in before the mode is set */
    int rc = fd < 0 ? -1 : bind(fd, (const struct sockaddr *)&address, sizeof(address));
    umask(old);
    if (rc != 0 || chmod(path, mode) != 0 || listen(fd, 1024) != 0)
        return fail(fd, e, ERR_CONFIG, "cannot listen", path);
    return fd;
}

static bool read_address(const char *ip, uint16_t port, struct sockaddr_storage *out,
                         socklen_t *len)
{
    struct sockaddr_in *in = (struct sockaddr_in *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, ip, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        *len = sizeof(*in);
        return true;
    }
    if (inet_pton(AF_INET6, ip, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        *len = sizeof(*in6);
        return true;
    }
    return false;
}

bool listen_address(const char *text, char ip[LISTEN_IP_SIZE], uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    char *end;
    struct sockaddr_storage address;
    socklen_t size;
    bool in_brackets = len > 2 && text[0] == '[' && text[len - 1] == ']';
    if (!colon || colon[1] < '1' || colon[1] > '9')
        return false;
    long number = strtol(colon + 1, &end, 10);
    if (*end || number > UINT16_MAX || len >= LISTEN_IP_SIZE)
        return false;
    snprintf(ip, LISTEN_IP_SIZE, "%.*s", (int)(in_brackets ? len - 2 : len),
             text + in_brackets);
    *port = (uint16_t)number;
    return read_address(ip, *port, &address, &size) && (strchr(ip, ':') != NULL) == in_brackets;
}

int listen_tcp(const char *ip, uint16_t *port, struct error *e)
{
    struct sockaddr_storage address;
    socklen_t len;
    int on = 1;
    if (!read_address(ip, *port, &address, &len)) {
        error_set(e, ERR_CONFIG, "%s: not an IP address", ip);
        return -1;
    }
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (struct sockaddr *)&address, len) != 0)
        return fail(fd, e, errno == EADDRINUSE ? ERR_CONFLICT : ERR_CONFIG, "cannot bind", ip);
    if (listen(fd, 1024) != 0 || getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return fail(fd, e, ERR_CONFIG, "cannot listen", ip);
    *port = ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                               : ((struct sockaddr_in6 *)&address)->sin6_port);
    return fd;
}
