#include "http/aws_keys.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/mem.h"
#include "http/json.h"
#include "http/xml.h"

void aws_keys_copy(struct aws_keys *to, const struct aws_keys *from)
{
    *to = (struct aws_keys){mem_strdup(from->access_key), mem_strdup(from->secret_key),
                            mem_strdup(from->session_token), from->expires_ms};
}

static void erase(char *text)
{
    if (text)
        mem_wipe(text, strlen(text));
    free(text);
}

void aws_keys_clear(struct aws_keys *k)
{
    erase(k->access_key);
    erase(k->secret_key);
    erase(k->session_token);
    *k = (struct aws_keys){0};
}

static bool can_be_sent(const char *text)
{
    if (!*text)
        return false;
    for (; *text; text++)
        if (!isgraph((unsigned char)*text))
            return false;
    return true;
}

enum error_code aws_keys_check(const struct aws_keys *k, int64_t wall_ms, struct error *e)
{
    if (!k->access_key || !can_be_sent(k->access_key))
        return error_set(e, ERR_PROTOCOL, "there is no access key id in it");
    if (!k->secret_key || !can_be_sent(k->secret_key))
        return error_set(e, ERR_PROTOCOL, "there is no secret access key in it");
    if (k->session_token && !can_be_sent(k->session_token))
        return error_set(e, ERR_PROTOCOL, "its session token is empty or broken");
    if (k->expires_ms < 0)
        return error_set(e, ERR_PROTOCOL, "its time of expiry makes no sense");
    if (k->expires_ms > 0 && k->expires_ms <= wall_ms)
        return error_set(e, ERR_PROTOCOL, "its keys ran out %lld s ago",
                         (long long)(wall_ms - k->expires_ms) / 1000);
    return ERR_NONE;
}

static char *take_text(const char *text)
{
    return text && *text ? mem_strdup(text) : NULL;
}

enum error_code aws_keys_from_json(struct aws_keys *k, const char *text, size_t len,
                                   struct error *e)
{
    struct error why;
    json_t *o = js_parse_object(text, len, &why);
    if (!o)
        return error_set(e, ERR_PROTOCOL, "its answer is no JSON object");
    const char *code = json_string_value(json_object_get(o, "Code"));
    if (code && strcmp(code, "Success") != 0) {
        error_set(e, ERR_PROTOCOL, "it answered %.64s", code);
        json_decref(o);
        return ERR_PROTOCOL;
    }
    const char *expiration = json_string_value(json_object_get(o, "Expiration"));
    k->access_key = take_text(json_string_value(json_object_get(o, "AccessKeyId")));
    k->secret_key = take_text(json_string_value(json_object_get(o, "SecretAccessKey")));
    k->session_token = take_text(json_string_value(json_object_get(o, "Token")));
    k->expires_ms = expiration ? aws_time_ms(expiration) : 0;
    json_decref(o);
    return ERR_NONE;
}

enum error_code aws_keys_from_sts(struct aws_keys *k, const char *action, const char *text,
                                  size_t len, struct error *e)
{
    struct error why;
    struct xml *root = xml_parse(text, len, &why);
    if (!root)
        return error_set(e, ERR_PROTOCOL, "its answer is no XML");
    char *path = mem_printf("%sResult/Credentials", action);
    const struct xml *found = xml_find(root, path);
    const char *expiration = xml_text(found, "Expiration");
    k->access_key = take_text(xml_text(found, "AccessKeyId"));
    k->secret_key = take_text(xml_text(found, "SecretAccessKey"));
    k->session_token = take_text(xml_text(found, "SessionToken"));
    k->expires_ms = *expiration ? aws_time_ms(expiration) : 0;
    free(path);
    xml_free(root);
    return ERR_NONE;
}

int64_t aws_time_ms(const char *text)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest)
        return -1;
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (strcmp(rest, "Z") != 0 && strcmp(rest, "+00:00") != 0)
        return -1;
    return (int64_t)timegm(&tm) * 1000;
}
