#include "base/paths.h"

#include <stdlib.h>
#include <unistd.h>
#include "base/mem.h"

/* The XDG specification has relative paths ignored. */
static const char *absolute_env(const char *name)
{
    const char *value = getenv(name);
    return value && value[0] == '/' ? value : NULL;
}

char *paths_state_dir(void)
{
    if (geteuid() == 0)
        return mem_strdup("/var/lib/cleat");
    const char *state = absolute_env("XDG_STATE_HOME");
    if (state)
        return mem_printf("%s/cleat", state);
    const char *home = absolute_env("HOME");
    return home ? mem_printf("%s/.local/state/cleat", home) : NULL;
}

char *paths_socket(const char *state_dir)
{
    if (geteuid() == 0)
        return mem_strdup(PATHS_SYSTEM_SOCKET);
    const char *runtime = absolute_env("XDG_RUNTIME_DIR");
    if (runtime)
        return mem_printf("%s/cleat/cleatd.sock", runtime);
    return state_dir ? mem_printf("%s/cleatd.sock", state_dir) : NULL;
}
