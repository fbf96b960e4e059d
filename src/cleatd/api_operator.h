/* The routes about cleatd as a whole. */
#ifndef CLEAT_CLEATD_API_OPERATOR_H
#define CLEAT_CLEATD_API_OPERATOR_H

#include "cleatd/exchange.h"

void api_get_drain(struct exchange *);
void api_post_drain(struct exchange *);
void api_delete_drain(struct exchange *);
void api_post_reap(struct exchange *);
void api_get_status(struct exchange *);
void api_get_healthz(struct exchange *);
void api_get_readyz(struct exchange *);

#endif
