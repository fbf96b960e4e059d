/* cleatd's HTTP API: routes over libcleat's calls. cleatd(8) describes it. */
#ifndef CLEAT_CLEATD_API_H
#define CLEAT_CLEATD_API_H

#include "base/error.h"
#include "cleat.h"
#include "cleatd/peers.h"
#include "http/server.h"
#include "loop/loop.h"

struct api;

/* Listens at once. NULL: *e says why. All arguments are borrowed. */
struct api *api_new(struct loop *, struct cleat *, const struct peers *,
                    const struct server_options *, struct error *e);
/* Another map. Requests under way of clients whose role or tenant is another now are refused.
 */
void api_set_peers(struct api *, const struct peers *);
void api_free(struct api *); /* before cleat_free; requests under way lose their connection */

/* Every route on a line: method, path with * for an id, and whom it is for (operators, tenants
 * or all), separated by tabs. */
void api_print_routes(void);

#endif
