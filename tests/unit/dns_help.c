#include "dns_help.h"

#include <arpa/inet.h>
#include <event2/dns.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"

#define NAMES_MAX 16
#define TYPE_A 1
#define TYPE_AAAA 28
#define LIE "127.71.6.66"

struct dns_name {
    char name[64], addresses[512];
    enum dns_manner manner;
    uint32_t ttl_s;
    unsigned asked;
};

struct dns {
    int fd, stranger;
    struct fd_watch *watch;
    struct dns_name names[NAMES_MAX];
    size_t count;
    void (*after)(void *);
    void *after_arg;
};

/* RFC 1035 section 4.1. */
struct message {
    unsigned char data[512];
    size_t len;
};

char dns_resolv_conf[64];

int __real_evdns_base_resolv_conf_parse(struct evdns_base *, int flags, const char *path);
int __wrap_evdns_base_resolv_conf_parse(struct evdns_base *base, int flags, const char *path);

int __wrap_evdns_base_resolv_conf_parse(struct evdns_base *base, int flags, const char *path)
{
    return __real_evdns_base_resolv_conf_parse(base, flags,
                                               dns_resolv_conf[0] ? dns_resolv_conf : path);
}

/* ---- messages */

static void put(struct message *m, const void *data, size_t len)
{
    assert_true(m->len + len <= sizeof m->data);
    memcpy(m->data + m->len, data, len);
    m->len += len;
}

static void put16(struct message *m, unsigned value)
{
    put(m, (unsigned char[]){(unsigned char)(value >> 8), (unsigned char)value}, 2);
}

/* The question's name as text; returns the length of the whole question, 0: not one. */
static size_t read_question(const unsigned char *query, size_t len, char name[64],
                            unsigned *type)
{
    size_t at = 12, out = 0;
    while (at < len && query[at] > 0 && out + query[at] + 1 < 64 && at + 1 + query[at] < len) {
        memcpy(name + out, query + at + 1, query[at]);
        out += query[at];
        name[out++] = '.';
        at += 1U + query[at];
    }
    name[out > 0 ? out - 1 : 0] = '\0';
    if (at + 5 > len || query[at] != 0)
        return 0;
    *type = (unsigned)(query[at + 1] << 8 | query[at + 2]);
    return at + 5 - 12;
}

static unsigned put_addresses(struct message *m, const char *text, unsigned type,
                              uint32_t ttl_s)
{
    int family = type == TYPE_A ? AF_INET : AF_INET6;
    size_t size = type == TYPE_A ? 4 : 16;
    unsigned count = 0;
    char list[512], *rest = NULL;
    mem_copy_string(list, sizeof list, text);
    for (char *word = strtok_r(list, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        unsigned char address[16];
        if (inet_pton(family, word, address) != 1)
            continue;
        put16(m, 0xc00c); /* the name in the question */
        put16(m, type);
        put16(m, 1);
        put16(m, ttl_s >> 16);
        put16(m, ttl_s & 0xffff);
        put16(m, (unsigned)size);
        put(m, address, size);
        count++;
    }
    return count;
}

struct question {
    const unsigned char *query; /* from the header on */
    size_t len;                 /* of the question behind the header */
    unsigned type;
    struct sockaddr_in asker;
};

static struct message build(const struct question *q, unsigned flags, const char *addresses,
                            uint32_t ttl_s)
{
    struct message m = {.len = 0};
    put(&m, q->query, 2);
    put16(&m, 0x8180 | flags);
    put16(&m, 1);
    put(&m, (unsigned char[6]){0}, 6);
    put(&m, q->query + 12, q->len);
    m.data[7] = (unsigned char)put_addresses(&m, addresses, q->type, ttl_s);
    return m;
}

static void send_message(int fd, const struct message *m, const struct question *q)
{
    assert_int_equal(
        sendto(fd, m->data, m->len, 0, (const struct sockaddr *)&q->asker, sizeof q->asker),
        m->len);
}

/* ---- the script */

static struct dns_name *find_name(const struct dns *d, const char *name)
{
    for (size_t i = 0; i < d->count; i++)
        if (strcasecmp(d->names[i].name, name) == 0)
            return (struct dns_name *)&d->names[i];
    return NULL;
}

static void lie(struct dns *d, const struct dns_name *n, const struct question *q)
{
    struct message m = build(q, 0, LIE, 60);
    if (n->manner == DNS_WRONG_ID)
        m.data[1] ^= 1;
    else if (n->manner == DNS_WRONG_NAME)
        m.data[13] = m.data[13] == 'z' ? 'y' : 'z';
    else if (n->manner == DNS_NOISE)
        m.len = 17;
    else if (n->manner != DNS_STRANGER)
        return;
    send_message(n->manner == DNS_STRANGER ? d->stranger : d->fd, &m, q);
}

static void answer(struct dns *d, const struct dns_name *n, const struct question *q)
{
    unsigned flags = n->manner == DNS_NO_NAME  ? 3
                     : n->manner == DNS_BROKEN ? 2
                     : n->manner == DNS_CUT    ? 0x200
                                               : 0;
    if (n->manner == DNS_SILENCE || (n->manner == DNS_IPV4_ONLY && q->type == TYPE_AAAA))
        return;
    lie(d, n, q);
    struct message m = build(q, flags, flags ? "" : n->addresses, n->ttl_s);
    send_message(d->fd, &m, q);
    if (d->after)
        d->after(d->after_arg);
}

/* A name without a script does not exist. */
static void on_query(void *arg)
{
    static const struct dns_name unknown = {.manner = DNS_NO_NAME};
    struct dns *d = arg;
    unsigned char query[512];
    char name[64];
    struct question q = {.query = query};
    socklen_t size = sizeof q.asker;
    ssize_t len = recvfrom(d->fd, query, sizeof query, 0, (struct sockaddr *)&q.asker, &size);
    assert_true(len > 12);
    q.len = read_question(query, (size_t)len, name, &q.type);
    assert_true(q.len > 0);
    struct dns_name *n = find_name(d, name);
    if (n && q.type == TYPE_A)
        n->asked++;
    answer(d, n ? n : &unknown, &q);
}

void dns_say(struct dns *d, const char *name, enum dns_manner manner, const char *addresses,
             uint32_t ttl_s)
{
    struct dns_name *n = find_name(d, name);
    if (!n) {
        assert_true(d->count < NAMES_MAX);
        n = &d->names[d->count++];
        mem_copy_string(n->name, sizeof n->name, name);
    }
    mem_copy_string(n->addresses, sizeof n->addresses, addresses);
    n->manner = manner;
    n->ttl_s = ttl_s;
}

unsigned dns_asked(const struct dns *d, const char *name)
{
    const struct dns_name *n = find_name(d, name);
    return n ? n->asked : 0;
}

void dns_after_answer(struct dns *d, void (*fn)(void *), void *arg)
{
    d->after = fn;
    d->after_arg = arg;
}

/* ---- life */

static int udp_socket(const char *ip)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    inet_pton(AF_INET, ip, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static unsigned port_of(int fd)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

struct dns *dns_open(struct loop *loop)
{
    struct dns *d = mem_alloc(sizeof *d);
    d->fd = udp_socket(DNS_IP);
    d->stranger = udp_socket("127.71.0.54");
    d->watch = fd_watch_new(loop, d->fd, false, on_query, d);
    mem_copy_string(dns_resolv_conf, sizeof dns_resolv_conf, "/tmp/cleat-resolv-XXXXXX");
    int fd = mkstemp(dns_resolv_conf);
    assert_true(fd >= 0);
    dprintf(fd, "search cleat.test\nnameserver %s:%u\noptions timeout:30 attempts:9\n", DNS_IP,
            port_of(d->fd));
    close(fd);
    return d;
}

void dns_close(struct dns *d)
{
    fd_watch_free(d->watch);
    close(d->fd);
    close(d->stranger);
    unlink(dns_resolv_conf);
    dns_resolv_conf[0] = '\0';
    free(d);
}
