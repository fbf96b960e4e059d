/* A TCP listener for who collects metrics and cannot use the Unix socket: GET /metrics and
 * GET /healthz, and nothing else. Nobody is asked who he is. */
#ifndef CLEAT_CLEATD_SCRAPE_H
#define CLEAT_CLEATD_SCRAPE_H

#include "base/error.h"
#include "cleat.h"
#include "loop/loop.h"

struct scrape;

/* address is a valid one. NULL: *e says why. All arguments are borrowed. */
struct scrape *scrape_new(struct loop *, struct cleat *, const char *address, struct error *e);
void scrape_free(struct scrape *); /* before cleat_free */

#endif
