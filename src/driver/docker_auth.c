#include "driver/docker_auth.h"
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "base/mem.h"
#include "http/json.h"
#include "loop/child.h"

#define CONFIG_MAX (1u << 20)
#define DOCKER_HUB "docker.io"

void docker_registry_of(const char *image, char *registry, size_t size)
{
    size_t len = strcspn(image, "/");
    bool is_host = image[len] == '/' && (memchr(image, '.', len) || memchr(image, ':', len) ||
                                         strncmp(image, "localhost/", 10) == 0);
    if (is_host)
        snprintf(registry, size, "%.*s", (int)len, image);
    else
        mem_copy_string(registry, size, DOCKER_HUB);
}

/* Logins are kept under host names, some with a scheme and a path, Docker Hub's as
 * https://index.docker.io/v1/. */
static bool names_registry(const char *key, const char *registry)
{
    const char *host = strstr(key, "://");
    host = host != NULL ? host + 3 : key;
    size_t len = strcspn(host, "/");
    if (strcmp(registry, DOCKER_HUB) == 0 && len == 15 &&
        memcmp(host, "index.docker.io", 15) == 0)
        return true;
    return strlen(registry) == len && memcmp(host, registry, len) == 0;
}

static const json_t *member(const json_t *o, const char *registry)
{
    const char *key;
    const json_t *value;
    json_object_foreach ((json_t *)o, key, value)
        if (names_registry(key, registry))
            return value;
    return NULL;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "";
}

/* RFC 4648 section 5, with padding. */
static char *encode(const char *text)
{
    size_t len = strlen(text);
    char *out = mem_alloc(len / 3 * 4 + 5);
    EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)text, (int)len);
    for (char *p = out; *p != '\0'; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
    return out;
}

/* "USER:PASSWORD" in base64. NULL: it is none. */
static char *decode(const char *text)
{
    size_t len = strlen(text), pad = strspn(text + strcspn(text, "="), "=");
    char *out = mem_alloc(len + 1);
    int n = EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)text, (int)len);
    if (n < 0 || pad > 2 || (size_t)n < pad || strchr(out, ':') == NULL) {
        mem_wipe(out, len);
        free(out);
        return NULL;
    }
    out[(size_t)n - pad] = '\0';
    return out;
}

static char *make_header(json_t *o)
{
    char *text = js_text(o), *header = encode(text);
    mem_wipe(text, strlen(text));
    free(text);
    json_decref(o);
    return header;
}

/* NULL: it has none that can be read. */
static json_t *login_of(const json_t *login, const char *registry)
{
    const char *token = text_of(login, "identitytoken");
    if (*token)
        return json_pack("{s:s, s:s}", "identitytoken", token, "serveraddress", registry);
    char *both = decode(text_of(login, "auth"));
    if (both == NULL)
        return NULL;
    char *password = strchr(both, ':');
    *password++ = '\0';
    json_t *o = json_pack("{s:s, s:s, s:s}", "username", both, "password", password,
                          "serveraddress", registry);
    mem_wipe(password, strlen(password));
    free(both);
    return o;
}

static void take_login(const json_t *login, const char *registry, struct docker_auth *auth)
{
    json_t *o = login_of(login, registry);
    if (o != NULL)
        auth->header = make_header(o);
    else
        snprintf(auth->hint, sizeof(auth->hint),
                 "the login for %.80s in the client's config.json cannot be read", registry);
}

void docker_auth_read(const char *text, const char *registry, struct docker_auth *auth)
{
    *auth = (struct docker_auth){0};
    json_t *o = json_loads(text, 0, NULL);
    const json_t *login = member(json_object_get(o, "auths"), registry);
    const char *helper = json_string_value(member(json_object_get(o, "credHelpers"), registry));
    if (helper == NULL)
        helper = text_of(o, "credsStore");
    if (!json_is_object(o))
        snprintf(auth->hint, sizeof(auth->hint), "the client's config.json is no JSON object");
    else if (*text_of(login, "auth") || *text_of(login, "identitytoken"))
        take_login(login, registry, auth);
    else if (*helper)
        snprintf(auth->hint, sizeof(auth->hint),
                 "a login for %.60s may be with docker-credential-%.30s, which cleatd does not "
                 "run: it reads auths alone",
                 registry, helper);
    error_make_printable(auth->hint);
    json_decref(o);
}

void docker_auth_find(const char *image, struct docker_auth *auth)
{
    char registry[256];
    const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
    *auth = (struct docker_auth){0};
    char *path = dir != NULL && *dir ? mem_printf("%s/config.json", dir)
                 : home != NULL      ? mem_printf("%s/.docker/config.json", home)
                                     : NULL;
    char *text = path != NULL ? file_read(path, CONFIG_MAX) : NULL;
    if (text != NULL) {
        docker_registry_of(image, registry, sizeof(registry));
        docker_auth_read(text, registry, auth);
        mem_wipe(text, strlen(text));
    }
    free(text);
    free(path);
}

void docker_auth_clear(struct docker_auth *auth)
{
    if (auth->header != NULL)
        mem_wipe(auth->header, strlen(auth->header));
    free(auth->header);
    *auth = (struct docker_auth){0};
}
