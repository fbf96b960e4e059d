/* Listening sockets for the server. */
#ifndef CLEAT_HTTP_LISTEN_H
#define CLEAT_HTTP_LISTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"

#define LISTEN_IP_SIZE 46

/* "IP:PORT" or "[IPv6]:PORT". False: it is none, or its port is 0. */
bool listen_address(const char *text, char ip[LISTEN_IP_SIZE], uint16_t *port);

/* Non-blocking, close-on-exec; -1 and *e on failure. The caller closes it. */

/* A socket that nobody listens on any more is replaced; one in use is ERR_CONFLICT. */
int listen_unix(const char *path, mode_t mode, struct error *e);
/* *port 0: any free one, which is stored there. */
int listen_tcp(const char *ip, uint16_t *port, struct error *e);

#endif
