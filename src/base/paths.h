/* Where cleatd keeps its things when nobody says so; the command line looks in the same places.
 * XDG Base Directory Specification 0.8 for users, the Filesystem Hierarchy Standard for root.
 */
#ifndef CLEAT_BASE_PATHS_H
#define CLEAT_BASE_PATHS_H

/* /var/lib/cleat for root, else $XDG_STATE_HOME/cleat or ~/.local/state/cleat; free(). NULL:
 * there is no absolute $XDG_STATE_HOME and no absolute $HOME. */
char *paths_state_dir(void);

/* PATHS_SYSTEM_SOCKET for root, else $XDG_RUNTIME_DIR/cleat/cleatd.sock; without that directory
 * state_dir/cleatd.sock; free(). NULL only when state_dir is NULL and needed. */
char *paths_socket(const char *state_dir);

#define PATHS_SYSTEM_SOCKET "/run/cleat/cleatd.sock"

#endif
