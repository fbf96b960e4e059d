/* Credentials for registries, as `docker login` leaves them: config.json of the engine's client
 * in $DOCKER_CONFIG, else in $HOME/.docker. Pure but for docker_auth_find. */
#ifndef CLEAT_DRIVER_DOCKER_AUTH_H
#define CLEAT_DRIVER_DOCKER_AUTH_H

#include <stddef.h>

/* The registry that an image comes from: "docker.io" without one in its name. */
void docker_registry_of(const char *image, char *registry, size_t size);

struct docker_auth {
    char *header;   /* value of X-Registry-Auth; NULL: nothing is known */
    char hint[160]; /* why the login that there is cannot be used; else "" */
};
/* text: of a config.json. */
void docker_auth_read(const char *text, const char *registry, struct docker_auth *);
/* Reads the file, which may not exist. */
void docker_auth_find(const char *image, struct docker_auth *);
void docker_auth_clear(struct docker_auth *);

#endif
