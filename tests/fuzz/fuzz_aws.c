/* What AWS services say when a call fails, what the metadata services and STS hand out, and the
 * shared files of profiles. Bytes: which reader, then texts with a NUL in between. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "fuzz.h"
#include "http/aws_error.h"
#include "http/aws_ini.h"
#include "http/aws_keys.h"
#include "http/aws_metadata.h"
#include "http/aws_profile.h"
#include "http/aws_verdict.h"

#define WALL_MS INT64_C(1795000000000)

/* ---- errors */

static void check_fault(const char *body, size_t len, const char *type)
{
    struct aws_fault fault;
    bool understood = aws_fault_read(&fault, body, len, type);
    must(understood == (fault.code[0] != '\0'));
    for (const char *c = fault.code; *c; c++)
        must((unsigned char)*c > 0x20 && *c != 0x7f);
    for (const char *c = fault.message; *c; c++)
        must((unsigned char)*c >= 0x20 && *c != 0x7f);
    enum aws_class class = aws_classify(fault.code, 400, fault.message);
    must(class != AWS_FINE && *aws_class_name(class));
}

static void check_verdict(const struct aws_answer *a, const struct http_answer *http)
{
    bool fine = a->class == AWS_FINE;
    must(fine == (a->error.code == ERR_NONE));
    must(!fine || http->status / 100 == 2); /* no error passes as success */
    if (!fine)
        fuzz_check_error(a->error.code, &a->error);
}

static void try_error(struct fuzz *f)
{
    static const char *const methods[] = {"POST", "GET", "PUT"};
    static const char *const actions[] = {"RunTask", "GetObject", "CopyObject",
                                          "CompleteMultipartUpload"};
    static const int statuses[] = {200, 400, 403, 429, 500, 503, 404, 204};
    enum aws_service service = fuzz_number(f, AWS_SERVICES);
    const char *method = methods[fuzz_number(f, 3)], *action = actions[fuzz_number(f, 4)];
    int status = statuses[fuzz_number(f, 8)];
    char *type = fuzz_line(f), *date = fuzz_line(f);
    size_t len;
    char *bytes = fuzz_bytes(f, &len), *body = mem_alloc(len + 1);
    memcpy(body, bytes, len);
    struct http_header headers[] = {
        {"x-amzn-errortype", type}, {"date", date}, {"x-amz-bucket-region", type}};
    struct http_answer http = {
        .status = status, .body = body, .body_len = len, .headers = headers, .header_count = 3};
    struct aws_answer answer;
    check_fault(bytes, len, *type ? type : NULL);
    aws_verdict(&answer, service, method, action, &http, WALL_MS);
    check_verdict(&answer, &http);
    must(!answer.sent || status != 0);
    free(bytes);
    free(body);
    free(type);
    free(date);
}

/* ---- keys */

static void check_keys(struct aws_keys *k, enum error_code read, const struct error *why)
{
    struct error e = {0};
    if (read != ERR_NONE) {
        fuzz_check_error(ERR_PROTOCOL, why);
        must(!k->access_key && !k->secret_key && !k->session_token);
    } else if (aws_keys_check(k, WALL_MS, &e) == ERR_NONE) {
        must(*k->access_key && *k->secret_key);
        must(!strpbrk(k->access_key, " \r\n\t") && !strpbrk(k->secret_key, " \r\n\t"));
        must(!k->session_token || !strpbrk(k->session_token, " \r\n\t"));
        must(k->expires_ms == 0 || k->expires_ms > WALL_MS);
    } else {
        fuzz_check_error(ERR_PROTOCOL, &e);
    }
    aws_keys_clear(k);
}

static void try_keys(struct fuzz *f)
{
    struct aws_keys keys = {0};
    struct error e = {0};
    size_t len;
    char *text = fuzz_bytes(f, &len);
    enum error_code code = aws_keys_from_json(&keys, text, len, &e);
    check_keys(&keys, code, &e);
    e = (struct error){0};
    code = aws_keys_from_sts(&keys, "AssumeRole", text, len, &e);
    check_keys(&keys, code, &e);
    free(text);
}

/* ---- shared files */

static void check_plan(struct aws_plan *plan, enum error_code code, const struct error *e)
{
    if (code != ERR_NONE) {
        fuzz_check_error(ERR_CONFIG, e);
        must(plan->base == AWS_BASE_NONE && plan->role_count == 0 && !plan->keys.access_key &&
             !plan->token_file);
        return;
    }
    must(plan->role_count <= AWS_ROLES_MAX);
    must(plan->base != AWS_BASE_NONE || plan->role_count == 0);
    must(plan->base != AWS_BASE_KEYS || (plan->keys.access_key && plan->keys.secret_key));
    must((plan->base == AWS_BASE_WEB_IDENTITY) == (plan->token_file != NULL));
    must(plan->base != AWS_BASE_WEB_IDENTITY || plan->role_count > 0);
    for (size_t i = 0; i < plan->role_count; i++)
        must(plan->roles[i].arn && *plan->roles[i].arn && plan->roles[i].duration_s >= 0);
}

/* An empty text at the end of the bytes; NULs separate the files. */
static char *next_file(struct fuzz *f)
{
    struct fuzz all = *f;
    const uint8_t *end = f->left ? memchr(f->at, '\0', f->left) : NULL;
    size_t len = end ? (size_t)(end - f->at) : f->left;
    f->at += len + (end ? 1 : 0);
    f->left -= len + (end ? 1 : 0);
    all.left = len;
    return len ? fuzz_text(&all) : mem_strdup("");
}

static void try_profile(struct fuzz *f)
{
    static const char *const keys[] = {"region", "role_arn", "aws_access_key_id"};
    char *profile = fuzz_line(f);
    char *config = next_file(f), *credentials = next_file(f);
    struct aws_plan plan = {0};
    struct error e = {0};
    enum error_code code =
        aws_profile_plan(&plan, config, credentials, *profile ? profile : "default", &e);
    check_plan(&plan, code, &e);
    aws_plan_clear(&plan);
    for (size_t i = 0; i < 3; i++) {
        char *value = aws_profile_value(config, credentials, profile, keys[i]);
        must(!value || (*value && !strchr(value, '\n') &&
                        (strstr(config, value) || strstr(credentials, value))));
        free(value);
        value = aws_ini_value(config, profile, keys[i]);
        must(!value || aws_ini_has(config, profile));
        free(value);
    }
    free(profile);
    free(config);
    free(credentials);
}

static void try_url(struct fuzz *f)
{
    char *url = fuzz_text(f);
    if (aws_container_url_allowed(url) && strncasecmp(url, "https://", 8) != 0) {
        const char *host = url + strlen("http://");
        must(strncasecmp(url, "http://", 7) == 0);
        must(strncmp(host, "127.", 4) == 0 || strncmp(host, "169.254.170.", 12) == 0 ||
             *host == '[' || strncasecmp(host, "localhost", 9) == 0);
        must(!memchr(host, '@', strcspn(host, "/?#")));
    }
    must(aws_time_ms(url) >= -1 || strchr(url, '-'));
    free(url);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(struct fuzz *) = {try_error, try_keys, try_profile, try_url};
    struct fuzz f = {data, size};
    readers[fuzz_number(&f, 4)](&f);
    return 0;
}
