#include "driver/haproxy_step.h"

#include <string.h>

#define DRAIN_MS 5000 /* requests under way may take that long after maintenance began */

static enum haproxy_step step_out(const struct haproxy_wish *w, const struct haproxy_server *s)
{
    if (s == NULL)
        return STEP_NONE;
    if (!s->maint)
        return STEP_MAINT;
    if (s->sessions == 0)
        return STEP_DELETE;
    return w->leaving_for_ms >= DRAIN_MS ? STEP_SHUTDOWN : STEP_NONE;
}

static enum haproxy_step step_in(const struct class *c, const struct haproxy_wish *w,
                                 const struct haproxy_server *s)
{
    if (s == NULL)
        return STEP_ADD;
    if (!s->maint || s->paused || s->port != w->port || strcmp(s->ip, w->ip) != 0)
        return STEP_NONE;
    if (!s->checked)
        return STEP_CHECK;
    int64_t rise = s->rise > 0 ? s->rise : c->check_rise;
    return s->health >= rise && !s->failing ? STEP_ENABLE : STEP_NONE;
}

enum haproxy_step haproxy_step_next(const struct class *c, const struct haproxy_wish *w,
                                    const struct haproxy_server *s)
{
    return w->leaving ? step_out(w, s) : step_in(c, w, s);
}

/* Without a number of its own a new server gets the same place as the others in the tree from
 * which `balance random` and every hash pick (measured on 2.6.12): most would never get a
 * request. */
void haproxy_step_write(const struct class *c, const struct haproxy_wish *w,
                        enum haproxy_step step, int64_t *last_id, struct buf *out)
{
    const char *be = c->haproxy_backend, *id = w->id;
    switch (step) {
    case STEP_NONE:
        break;
    case STEP_ADD:
        buf_printf(out,
                   "add server %s/%s %s:%u id %lld check inter %lldms fall %lld rise %lld;", be,
                   id, w->ip, w->port, (long long)++*last_id, (long long)c->check_interval_ms,
                   (long long)c->check_fall, (long long)c->check_rise);
        buf_printf(out, "enable health %s/%s;", be, id);
        break;
    case STEP_CHECK:
        buf_printf(out, "enable health %s/%s;", be, id);
        break;
    case STEP_ENABLE:
        buf_printf(out, "enable server %s/%s;", be, id);
        break;
    case STEP_MAINT:
        buf_printf(out, "set server %s/%s state maint;", be, id);
        break;
    case STEP_SHUTDOWN:
        buf_printf(out, "shutdown sessions server %s/%s;", be, id);
        break;
    case STEP_DELETE:
        buf_printf(out, "del server %s/%s;", be, id);
        break;
    }
}
