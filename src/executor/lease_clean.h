/* What a session may have left on a static host, and its removal: processes (also daemonised
 * ones), files, System V IPC, keys. User code of a uid of its own leaves nothing that does not
 * carry that uid; in bubblewrap it can leave something in its workspace only. */
#ifndef CLEAT_EXECUTOR_LEASE_CLEAN_H
#define CLEAT_EXECUTOR_LEASE_CLEAN_H

#include "executor/config.h"

#define SALVAGE_MAX                                                                            \
    16 /* leases whose files are kept aside; then the host is not free any more */

enum lease_end {
    LEASE_ENDED_UNKNOWN, /* a crash: files are kept when there are any */
    LEASE_ENDED_WIPE,
    LEASE_ENDED_KEEP,     /* likewise: they were not uploaded */
    LEASE_ENDED_IN_ORDER, /* by itself, with everything uploaded: as WIPE */
};

/* Blocks. An error: something is left, and the host must not be given out. */
enum error_code lease_clean(const struct config *, enum lease_end, struct error *e);

#endif
