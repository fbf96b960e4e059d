/* A name server on the test's own loop that answers by a script, so that it can be silent and
 * lie. The resolver under test asks it: a test that links with
 * -Wl,--wrap=evdns_base_resolv_conf_parse reads dns_resolv_conf in place of /etc/resolv.conf.
 */
#ifndef CLEAT_TEST_DNS_HELP_H
#define CLEAT_TEST_DNS_HELP_H

#include <stdint.h>
#include "loop/loop.h"

#define DNS_IP "127.71.0.53"

enum dns_manner {
    DNS_TRUTH,
    DNS_NO_NAME, /* NXDOMAIN */
    DNS_SILENCE,
    DNS_BROKEN,     /* SERVFAIL */
    DNS_CUT,        /* truncated */
    DNS_IPV4_ONLY,  /* silent about AAAA */
    DNS_WRONG_ID,   /* a lie with another identifier before the truth */
    DNS_WRONG_NAME, /* a lie about another name before the truth */
    DNS_STRANGER,   /* a lie from another address before the truth */
    DNS_NOISE,      /* bytes that are no answer, before the truth */
};

struct dns;

extern char dns_resolv_conf[64]; /* path; dns_open points it to a file that names the server */

struct dns *dns_open(struct loop *);
void dns_close(struct dns *);

/* From now on; addresses: "127.0.0.1 ::1", at most 32. A lie has the address 127.71.6.66. */
void dns_say(struct dns *, const char *name, enum dns_manner, const char *addresses,
             uint32_t ttl_s);
unsigned dns_asked(const struct dns *, const char *name); /* how often for its A */

/* Called after each answer is sent. */
void dns_after_answer(struct dns *, void (*fn)(void *), void *arg);

#endif
