#include "driver/static_name.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static bool read_port(const char *text, uint16_t *port)
{
    size_t len = strspn(text, "0123456789");
    unsigned long n = strtoul(text, NULL, 10);
    *port = (uint16_t)n;
    return len > 0 && len <= 5 && text[len] == '\0' && n > 0 && n <= UINT16_MAX;
}

bool static_name_read(const char *text, char ip[46], uint16_t *port)
{
    char host[46];
    struct in6_addr address;
    const char *colon = strrchr(text, ':');
    if (!colon || !read_port(colon + 1, port))
        return false;
    size_t len = (size_t)(colon - text);
    bool v6 = len > 2 && text[0] == '[' && colon[-1] == ']';
    if (v6)
        len -= 2;
    if (len == 0 || len >= sizeof(host))
        return false;
    memcpy(host, text + v6, len);
    host[len] = '\0';
    int family = v6 ? AF_INET6 : AF_INET;
    return inet_pton(family, host, &address) == 1 && inet_ntop(family, &address, ip, 46);
}
