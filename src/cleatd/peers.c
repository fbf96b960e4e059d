#include "cleatd/peers.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "cleat.h"

struct peer {
    bool is_group;
    uint32_t id;
    char *tenant; /* NULL: an operator */
};

struct peers {
    struct peer *list;
    size_t count;
};

/* ---- the map ---- */

static bool look_up(bool is_group, const char *name, uint32_t *id)
{
    const struct group *g = is_group ? getgrnam(name) : NULL;
    const struct passwd *p = is_group ? NULL : getpwnam(name);
    if (g)
        *id = g->gr_gid;
    if (p)
        *id = p->pw_uid;
    return g || p;
}

/* (uid_t)-1 is nobody's, and what the kernel gives when it knows nothing. */
static bool read_number(const char *text, uint32_t *id)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    *id = (uint32_t)n;
    return errno == 0 && *end == '\0' && n < UINT32_MAX;
}

static bool read_who(const char *who, struct peer *p, const char *item, struct error *e)
{
    bool is_number = strspn(who, "0123456789") == strlen(who);
    if (is_number ? *who && read_number(who, &p->id) : look_up(p->is_group, who, &p->id))
        return true;
    error_set(e, ERR_CONFIG, "peers: \"%s\": there is no such %s", item,
              p->is_group ? "group" : "user");
    return false;
}

static bool read_role(const char *role, struct peer *p, const char *item, struct error *e)
{
    static const char tenant[] = "tenant:";
    char why[128];
    if (strcmp(role, "operator") == 0)
        return true;
    if (strncmp(role, tenant, strlen(tenant)) != 0) {
        error_set(e, ERR_CONFIG, "peers: \"%s\": a role is operator or tenant:NAME", item);
        return false;
    }
    if (!cleat_tenant_valid(role + strlen(tenant), why, sizeof why)) {
        error_set(e, ERR_CONFIG, "peers: \"%s\": %s", item, why);
        return false;
    }
    if (!p->is_group && p->id == 0) {
        error_set(e, ERR_CONFIG, "peers: \"%s\": root is an operator", item);
        return false;
    }
    p->tenant = mem_strdup(role + strlen(tenant));
    return true;
}

/* The tenant's name may have a '=' in it, that of a user has none. */
static bool read_item(const char *item, struct peer *p, struct error *e)
{
    const char *sign = strchr(item, '=');
    *p = (struct peer){.is_group = strncmp(item, "gid:", 4) == 0};
    if (!sign || !(p->is_group || strncmp(item, "uid:", 4) == 0)) {
        error_set(e, ERR_CONFIG,
                  "peers: \"%s\" is not uid:WHO=ROLE or gid:WHO=ROLE, with a role operator or "
                  "tenant:NAME",
                  item);
        return false;
    }
    char *who = mem_printf("%.*s", (int)(sign - item - 4), item + 4);
    bool fine = read_who(who, p, item, e) && read_role(sign + 1, p, item, e);
    free(who);
    return fine;
}

struct peers *peers_new(char *const *items, struct error *e)
{
    struct peers *peers = mem_alloc(sizeof *peers);
    for (; *items; items++) {
        peers->list = mem_grow(peers->list, (peers->count + 1) * sizeof *peers->list);
        if (!read_item(*items, &peers->list[peers->count], e)) {
            peers_free(peers);
            return NULL;
        }
        peers->count++;
    }
    return peers;
}

void peers_free(struct peers *peers)
{
    if (!peers)
        return;
    for (size_t i = 0; i < peers->count; i++)
        free(peers->list[i].tenant);
    free(peers->list);
    free(peers);
}

/* ---- a client ---- */

static bool is_among(gid_t gid, const gid_t *groups, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (groups[i] == gid)
            return true;
    return false;
}

static const struct peer *find(const struct peers *peers, const struct server_peer *who,
                               const gid_t *groups, size_t group_count)
{
    for (size_t i = 0; i < peers->count; i++) {
        const struct peer *p = &peers->list[i];
        bool fits = p->is_group ? who->gid == p->id || is_among(p->id, groups, group_count)
                                : who->uid == p->id;
        if (fits)
            return p;
    }
    return NULL;
}

enum role peers_role(const struct peers *peers, const struct server_request *request,
                     const char **tenant)
{
    const struct server_peer *who = server_peer(request);
    size_t group_count;
    *tenant = NULL;
    if (!who->is_unix || who->uid == (uid_t)-1)
        return ROLE_NONE;
    if (peers->count == 0 || who->uid == 0 || who->uid == geteuid())
        return ROLE_OPERATOR;
    gid_t *groups = server_peer_groups(request, &group_count);
    const struct peer *p = find(peers, who, groups, group_count);
    free(groups);
    if (p)
        *tenant = p->tenant;
    return !p ? ROLE_NONE : p->tenant ? ROLE_TENANT : ROLE_OPERATOR;
}
