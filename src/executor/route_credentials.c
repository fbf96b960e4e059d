#include <string.h>
#include <stdlib.h>
#include "base/log.h"
#include "base/mem.h"
#include "executor/executor.h"
#include "executor/helper.h"
#include "executor/settings.h"
#include "http/json.h"
#include "http/proof.h"

#define SEALED_MAX 65536

static enum error_code open_keys(const struct config *c, const char *sealed,
                                 struct aws_keys *keys, struct error *e)
{
    char *text;
    if (!proof_open(c->secret, sealed, &text))
        return error_set(e, ERR_FORBIDDEN, "the credentials were not sealed for this session");
    json_t *o = js_parse_object(text, strlen(text), e);
    if (o)
        settings_read_keys(o, keys, e);
    json_decref(o);
    mem_wipe(text, strlen(text));
    free(text);
    return e->code;
}

static void take_keys(struct executor *x, const struct aws_keys *keys)
{
    settings_release_keys(&x->keys);
    x->keys = *keys;
    helper_settings(settings_line(x->config.helper_env, &x->keys));
    log_info("credentials.taken", KI("expires_ms", keys->expires_ms));
}

void route_credentials(struct executor *x, struct server_request *r, const char *rest)
{
    (void)rest;
    struct error e = {0};
    const char *sealed = NULL;
    struct aws_keys keys = {0};
    json_t *body = contract_body(x, r);
    if (!body)
        return;
    js_string(body, "sealed", true, SEALED_MAX, &sealed, &e);
    if (!e.code)
        open_keys(&x->config, sealed, &keys, &e);
    json_decref(body);
    if (e.code) {
        contract_refuse(x, r, &e);
        return;
    }
    take_keys(x, &keys);
    contract_answer(x, r, 200,
                    json_pack("{s:s,s:I}", "session_id", x->config.session, "expires_ms",
                              (json_int_t)keys.expires_ms));
}
