#include "http/lease.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "http/json.h"
#include "loop/child.h"

#define KEY_FILE_MAX 256

enum error_code lease_key_read(uint8_t key[PROOF_SECRET_SIZE], const char *path,
                               struct error *e)
{
    char *text = file_read_private(path, KEY_FILE_MAX, e);
    if (!text)
        return e->code;
    text[strcspn(text, "\r\n")] = '\0';
    bool fine = hex_decode(key, PROOF_SECRET_SIZE, text);
    mem_wipe(text, strlen(text));
    free(text);
    return fine ? ERR_NONE
                : error_set(e, ERR_CONFIG, "%.200s does not hold 64 hexadecimal digits", path);
}

char *lease_seal(const uint8_t key[PROOF_SECRET_SIZE], const uint8_t random[PROOF_SEAL_RANDOM],
                 const json_t *message)
{
    char *text = js_text(message), *sealed = proof_seal(key, random, text, strlen(text));
    json_t *o = json_pack("{s:s}", "sealed", sealed);
    char *body = js_text(o);
    json_decref(o);
    free(sealed);
    mem_wipe(text, strlen(text)); /* it may hold a secret */
    free(text);
    return body;
}

json_t *lease_open(const uint8_t key[PROOF_SECRET_SIZE], const void *body, size_t len,
                   struct error *e)
{
    static const char *const keys[] = {"sealed", NULL};
    const char *sealed = NULL;
    char *text = NULL;
    json_t *message = NULL, *o = js_parse_object(body, len, e);
    if (o) {
        js_only(o, keys, e);
        js_string(o, "sealed", true, LEASE_MAX, &sealed, e);
    }
    if (!e->code && !proof_open(key, sealed, &text))
        error_set(e, ERR_FORBIDDEN, "it was not sealed under this claim key");
    json_decref(o);
    if (text) {
        message = js_parse_object(text, strlen(text), e);
        mem_wipe(text, strlen(text));
        free(text);
    }
    return message;
}
