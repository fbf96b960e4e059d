/* Who a client of the Unix socket is: the map `peers` of cleatd.conf(5) over its credentials.
 */
#ifndef CLEAT_CLEATD_PEERS_H
#define CLEAT_CLEATD_PEERS_H

#include "base/error.h"
#include "http/server.h"

enum role { ROLE_NONE, ROLE_TENANT, ROLE_OPERATOR };

struct peers;

/* items: "uid:WHO=operator", "gid:WHO=tenant:NAME", NULL-ended; WHO is a number or a name,
 * which is looked up now. NULL: *e names the item that is wrong. */
struct peers *peers_new(char *const *items, struct error *e);
void peers_free(struct peers *); /* NULL: nothing */

/* The first item that fits counts; root and our own user are operators in any case, and without
 * items so is everybody. A gid fits the peer's group and its supplementary ones. *tenant is
 * borrowed from peers; NULL unless the role is ROLE_TENANT. */
enum role peers_role(const struct peers *, const struct server_request *, const char **tenant);

#endif
