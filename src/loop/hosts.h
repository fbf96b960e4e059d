/* The table of hosts, hosts(5). */
#ifndef CLEAT_LOOP_HOSTS_H
#define CLEAT_LOOP_HOSTS_H

#include <netinet/in.h>
#include <stddef.h>

/* The addresses of that family (AF_INET, AF_INET6) that the file at path has for name, a first
 * or a further one on its line, in any case; at most max. A file that cannot be read has none.
 * Reads the file, blocking. */
size_t hosts_find(const char *path, const char *name, int family, char (*out)[INET6_ADDRSTRLEN],
                  size_t max);

#endif
