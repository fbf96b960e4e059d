/* What one option of a class alone cannot show. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/addresses.h"
#include "driver/class.h"

static size_t list_length(char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

static bool is_url(const char *text)
{
    const char *host = strncmp(text, "http://", 7) == 0    ? text + 7
                       : strncmp(text, "https://", 8) == 0 ? text + 8
                                                           : "";
    size_t len = strcspn(host, "/");
    return len > 0 && strspn(host + len, "/") == strlen(host + len);
}

static bool is_word(const char *text)
{
    return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789._:-")] == '\0';
}

static const char *haproxy_problem(const struct class *c)
{
    if (list_length(c->haproxy_sockets) == 0)
        return "haproxy_sockets names no Runtime API socket";
    if (list_length(c->haproxy_sockets) != list_length(c->haproxy_urls))
        return "haproxy_urls needs one URL for each of haproxy_sockets";
    for (size_t i = 0; c->haproxy_urls[i]; i++)
        if (!is_url(c->haproxy_urls[i]))
            return "haproxy_urls takes http://HOST:PORT or https://HOST:PORT, without a path";
    if (!*c->haproxy_backend)
        return "haproxy_backend is not set";
    if (!is_word(c->haproxy_backend))
        return "haproxy_backend has a character that HAProxy does not allow in a name";
    if (list_length(c->cookies) == 0)
        return "cookies names no cookie";
    return NULL;
}

/* "UID" or "UID:GID": a name means nothing outside its image. */
static bool is_numeric_user(const char *s)
{
    static const char digits[] = "0123456789";
    size_t uid = strspn(s, digits), gid = s[uid] == ':' ? strspn(s + uid + 1, digits) : 1;
    return uid > 0 && uid <= 9 && gid > 0 && gid <= 9 &&
           s[uid + (s[uid] == ':' ? gid + 1 : 0)] == '\0';
}

static const char *docker_problem(const struct class *c)
{
    if (!*c->image)
        return "image is not set";
    if (c->docker_socket[0] != '/')
        return "docker_socket is not an absolute path";
    if (*c->docker_user && !is_numeric_user(c->docker_user))
        return "docker_user is UID or UID:GID, in numbers";
    return NULL;
}

static const char *problem(const struct class *c)
{
    if (*c->artifacts && strncmp(c->artifacts, "file:///", 8) != 0)
        return "artifacts is \"file:///DIRECTORY\" or empty";
    if (c->gather_max_ms < c->gather_ms)
        return "gather_max_ms is below gather_ms";
    if (c->runtime == RUNTIME_DOCKER && docker_problem(c))
        return docker_problem(c);
    return c->balancer == BALANCER_HAPROXY ? haproxy_problem(c) : NULL;
}

/* All ranges held at once show whether two of them overlap. */
static bool check_ranges(const struct class *classes, size_t count, struct error *e)
{
    struct addresses **held = mem_array(count, sizeof(*held));
    struct error why = {0};
    size_t n = 0;
    for (; n < count; n++)
        if (!(held[n] = addresses_open(classes[n].address_range, &why)))
            break;
    if (n < count)
        error_set(e, ERR_CONFIG, "class %s: %.200s", classes[n].name, why.message);
    bool fine = n == count;
    while (n-- > 0)
        addresses_close(held[n]);
    free(held);
    return fine;
}

bool class_check(const struct class *classes, size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++) {
        const char *what = problem(&classes[i]);
        if (what) {
            error_set(e, ERR_CONFIG, "class %s: %s", classes[i].name, what);
            return false;
        }
    }
    return check_ranges(classes, count, e);
}
