/* Names of hosts in static_hosts: IP:PORT, [IPv6]:PORT. */
#ifndef CLEAT_DRIVER_STATIC_NAME_H
#define CLEAT_DRIVER_STATIC_NAME_H

#include <stdbool.h>
#include <stdint.h>

/* ip as inet_ntop(3) writes it. False: it is none. */
bool static_name_read(const char *text, char ip[46], uint16_t *port);

#endif
