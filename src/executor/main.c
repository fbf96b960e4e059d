#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include "base/log.h"
#include "executor/enter.h"
#include "executor/executor.h"
#include "executor/s3_sync.h"
#include "executor/sandbox.h"
#include "executor/stage.h"
#include "executor/upload.h"
#include "executor/workspace.h"
#include "loop/child.h"

/* Our memory holds the secret; what we start must not hold our lock, except an execution's
 * warden, which is given it; what escapes from an execution's process tree must become our
 * child, so that we can end it. */
static void protect_ourselves(void)
{
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    fcntl(CHILD_LOCK_FD, F_SETFD, FD_CLOEXEC);
    signal(SIGPIPE, SIG_IGN);
    umask(022);
}

static enum error_code prepare(struct config *config, struct lease *lease, struct error *e)
{
    lease->lock = -1;
    if (config_read(config, e) || lease_prepare(config, lease, e) ||
        workspace_prepare(config, e) || sandbox_settle(config, e))
        return e->code;
    return lease_check_sandbox(config, e);
}

static int serve(void)
{
    struct executor x = {0};
    struct error e = {0};
    protect_ourselves();
    enum error_code code = prepare(&x.config, &x.lease, &e);
    if (!code) {
        code = executor_start(&x, &e);
        if (!code)
            loop_run(x.loop);
        executor_release(&x);
    }
    if (!code && config_is_static(&x.config))
        code = lease_finish(&x.config, &x.lease, x.terminated, &e);
    if (!code)
        workspace_note_end(&x.config, x.exit_code);
    lease_release(&x.lease);
    config_release(&x.config);
    if (code)
        log_error("executor.failed", KV("error", e.message));
    return code ? 1 : x.exit_code;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, ENTER_FLAG) == 0)
        enter_main(argc, argv);
    if (strcmp(mode, UPLOAD_FLAG) == 0)
        return upload_main(argc, argv);
    if (strcmp(mode, COPY_FLAG) == 0)
        return copy_main(argc, argv);
    if (strcmp(mode, SYNC_FLAG) == 0)
        return sync_main(argc, argv);
    if (strcmp(mode, STAGE_FLAG) == 0)
        return stage_main(argc, argv);
    if (argc > 1) {
        fprintf(stderr,
                "usage: cleat-executor [--stage FROM TO]\nIts configuration comes from the "
                "environment, see cleat-executor(8).\n");
        return 2;
    }
    return serve();
}
