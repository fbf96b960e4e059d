/* Simulated static hosts: executors that are there before and after their sessions, each leased
 * to one at a time (http/lease.h). */
#ifndef SIMULATION_STATIC_H
#define SIMULATION_STATIC_H

#include <stdbool.h>
#include <stdint.h>
#include "network.h"
#include "service.h"

#define STATIC_KEY_FILE "/simulated/lease.key"

extern int64_t static_away_ms; /* so long nobody listens after an end; 0: it is drawn */
void static_begin(void);
void static_start(unsigned count);
const char *static_names(void); /* comma-separated, as static_hosts takes them */
/* Who takes a request on that path there; NULL: no host, or it is for the session that has it.
 */
service_fn *static_service(const char *ip, uint16_t port, const char *path);
bool static_listens(const char *ip, uint16_t port); /* a host whose executor is there */
unsigned static_left(void);                         /* hosts that are still leased */

#endif
