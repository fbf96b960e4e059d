/* A static host: an executor that outlives its sessions, leased to one after the other.
 *
 *   HOST_DIR/lock      held by the host's executor
 *           /holder    key of the lease, so that what a crash leaves has a name
 *           /lease     the workspace; empty when the host is free
 *           /salvage   0700: what a lease left that was not uploaded, for the operator
 *
 * A release replaces the process by a fresh image of itself, so that no memory is left to
 * forget; and the fresh one first ends every process and removes every file of the session
 * before (lease_clean.h), as it does after a crash. Only then does it serve: a host that says
 * that it is free, is. */
#ifndef CLEAT_EXECUTOR_LEASE_H
#define CLEAT_EXECUTOR_LEASE_H

#include <jansson.h>
#include <stdbool.h>
#include "executor/config.h"
#include "executor/lease_clean.h"
#include "http/lease.h"

struct lease {
    uint8_t key[PROOF_SECRET_SIZE]; /* the claim key */
    char challenge[PROOF_NONCE_SIZE];
    char *holder, *label; /* of the session that has it; holder NULL: nobody */
    enum lease_end end;   /* of this lease; LEASE_ENDED_UNKNOWN while it lasts */
    bool leaving;
    char *ended; /* key of the lease before; NULL: not known */
    bool in_order;
    json_t *host_env; /* the host's own AWS_* and HOME, for the fresh image */
    int lock;
};

/* Before anything else of a static host (nothing for another): cleans it, then reads the claim
 * key. Blocks. Release it also after an error. */
enum error_code lease_prepare(struct config *, struct lease *, struct error *e);
/* Once the sandbox is settled: whether what user code leaves can be told from all else. */
enum error_code lease_check_sandbox(const struct config *, struct error *e);
void lease_release(struct lease *); /* erases the key */

/* The end of a process of a static host: the next one in its place, which this returns from
 * only when that is impossible; or, with last, the cleaning alone. */
enum error_code lease_finish(const struct config *, const struct lease *, bool last,
                             struct error *e);

#endif
