/* What is signed or sealed: labels of containers, credentials. Whatever was changed, shortened
 * or made for somebody else is refused, and what we made reads as it was meant. Bytes: a
 * choice, then a label, its JSON, a create request, or a text to seal. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/base64.h"
#include "base/id.h"
#include "base/mem.h"
#include "cleat.h"
#include "fuzz.h"
#include "http/json.h"
#include "http/proof.h"
#include "session/config.h"
#include "session/label.h"
#include "session/request.h"
#include "session/session.h"

#define SESSION "019aa000-0000-7000-8000-000000000001"
#define OTHER "019aa000-0000-7000-8000-000000000002"
#define ALPHABET "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

static struct cleat core;
static struct group group;

static void set_up(void)
{
    if (core.config)
        return;
    core.config = cleat_config_new();
    core.settings = &core.config->settings;
    core.loop = loop_new(NULL);
    TAILQ_INIT(&core.sessions);
    TAILQ_INIT(&core.journal);
    group = (struct group){.core = &core, .class = &core.config->classes[0]};
}

/* ---- labels */

static bool read_label(const char *session, const char *text, struct label *l)
{
    struct error e;
    if (label_read(&core, session, text, l, &e)) {
        must(l->tenant && l->request_id && l->class_name && l->created > 0);
        return true;
    }
    fuzz_check_error(e.code, &e);
    must(e.code == ERR_INVALID || e.code == ERR_FORBIDDEN);
    must(!l->tenant && !l->parameters);
    return false;
}

/* Nobody makes one without the key. */
static void try_stranger(struct fuzz *f)
{
    struct label l;
    char *text = fuzz_text(f);
    must(!read_label(SESSION, text, &l));
    free(text);
}

static char *sign(const char *json, size_t len)
{
    char proof[PROOF_HEX_SIZE], *text = base64url_encode(json, len);
    proof_label(proof, core.master, SESSION, text);
    char *label = mem_printf("1%.32s%s", proof, text);
    free(text);
    return label;
}

/* One of another version of ours, rightly signed. */
static void try_signed(struct fuzz *f)
{
    struct label l;
    size_t len;
    char *json = fuzz_bytes(f, &len), *text = sign(json, len);
    must(!read_label(OTHER, text, &l));
    if (read_label(SESSION, text, &l))
        label_release(&l);
    free(text);
    free(json);
}

static char *without_env(const char *parameters)
{
    json_t *o = json_loads(parameters, 0, NULL);
    json_object_del(o, "env");
    char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(o);
    return text;
}

static void check_own(const struct session *s, const struct create_request *r, unsigned damage)
{
    struct label l;
    char *text = label_make(s);
    must(strlen(text) <= LABEL_MAX && text[strspn(text, ALPHABET)] == '\0');
    must(read_label(s->id, text, &l));
    must(strcmp(l.tenant, r->tenant) == 0 && strcmp(l.request_id, s->request_id) == 0);
    must(strcmp(l.class_name, r->class_name) == 0 && l.created == s->created);
    must(l.env == (r->env && json_object_size(r->env) > 0));
    if (l.parameters) {
        char *wanted = without_env(r->parameters);
        must(strcmp(l.parameters, wanted) == 0);
        free(wanted);
    }
    label_release(&l);
    must(!read_label(OTHER, text, &l));
    size_t at = damage % strlen(text);
    text[at] = text[at] == 'x' ? 'y' : 'x';
    must(!read_label(s->id, text, &l));
    text[at] = '\0';
    must(!read_label(s->id, text, &l));
    free(text);
}

static void try_own(struct fuzz *f)
{
    struct create_request r;
    struct error e;
    unsigned damage = fuzz_byte(f) * 7u;
    size_t len;
    char *text = fuzz_bytes(f, &len);
    if (create_request_parse(core.config, NULL, text, len, &r, &e)) {
        struct session *s = session_new(&core, &group, SESSION, r.tenant,
                                        r.request_id ? r.request_id : SESSION);
        session_fill(s, &r);
        s->created = 5;
        check_own(s, &r, damage);
        session_free(s);
        create_request_release(&r);
    }
    free(text);
}

/* ---- credentials */

static void try_seal(struct fuzz *f)
{
    uint8_t secret[PROOF_SECRET_SIZE] = {1}, random[PROOF_SEAL_RANDOM] = {2};
    unsigned damage = fuzz_byte(f) * 3u;
    char *opened = NULL, *foreign = mem_strndup((const char *)f->at, f->left);
    size_t len;
    char *text = fuzz_bytes(f, &len);
    must(!proof_open(secret, foreign, &opened));
    char *sealed = proof_seal(secret, random, text, len);
    must(proof_open(secret, sealed, &opened));
    must(memcmp(opened, text, len) == 0 && opened[len] == '\0');
    free(opened);
    size_t at = damage % strlen(sealed);
    sealed[at] = sealed[at] == '0' ? '1' : '0';
    must(!proof_open(secret, sealed, &opened));
    sealed[at] = '\0';
    must(!proof_open(secret, sealed, &opened));
    free(sealed);
    free(foreign);
    free(text);
}

/* Bytes as text and back; of texts, only the one that is made of their bytes. */
static void try_encodings(struct fuzz *f)
{
    char *bytes = NULL, *foreign = mem_strndup((const char *)f->at, f->left), digits[9];
    uint32_t number;
    size_t len, size;
    if (base64url_decode(foreign, &bytes, &len)) {
        char *again = base64url_encode(bytes, len);
        must(strcmp(again, foreign) == 0);
        free(again);
        free(bytes);
    }
    if (hex_decode(&number, sizeof number, foreign)) {
        hex_encode(digits, &number, sizeof number);
        must(strcasecmp(digits, foreign) == 0);
    }
    must(!id_valid(foreign) || strlen(foreign) == ID_SIZE - 1);
    free(foreign);
    char *data = fuzz_bytes(f, &size), *text = base64url_encode(data, size);
    must(text[strspn(text, ALPHABET)] == '\0' && base64url_decode(text, &bytes, &len));
    must(len == size && memcmp(bytes, data, size) == 0);
    free(bytes);
    free(text);
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(struct fuzz *) = {try_stranger, try_signed, try_own,
                                                     try_seal, try_encodings};
    struct fuzz f = {data, size};
    set_up();
    readers[fuzz_number(&f, 5)](&f);
    return 0;
}
