/* Typed causes. One table gives each its stable name (API, logs, metrics), its HTTP status
 * and whether the same request may succeed later. */
#ifndef CLEAT_BASE_ERROR_H
#define CLEAT_BASE_ERROR_H

#include <stdbool.h>

enum error_code {
    ERR_NONE,
    /* what the caller asked for */
    ERR_INVALID,   /* invalid_request 400 */
    ERR_NO_CLASS,  /* no_class_fits 400: no class has such resources */
    ERR_FORBIDDEN, /* forbidden 403 */
    ERR_NOT_FOUND, /* not_found 404 */
    ERR_CONFLICT,  /* conflict 409: same request id, other parameters */
    ERR_CLOSED,    /* session_closed 409: closing or closed */
    ERR_NOT_READY, /* not_ready 409, retryable: not now */
    ERR_BLOCKED,   /* request_id_closed 410: this request id was cleaned up */
    ERR_TOO_LARGE, /* too_large 413 */
    ERR_FULL,      /* full 429, retryable */
    ERR_DRAINING,  /* draining 503, retryable: no new sessions for now */
    /* how a session can fail */
    ERR_QUEUE_TIMEOUT,  /* queue_timeout 503, retryable */
    ERR_CREATE_TIMEOUT, /* create_timeout 504, retryable */
    ERR_WAIT_TIMEOUT,   /* wait_timeout 504, retryable: only the wait ended, not the session */
    ERR_LAUNCH,         /* launch_failed 502, retryable */
    ERR_CAPACITY,       /* no_capacity 503, retryable: the engine has no room now */
    ERR_DIED,           /* container_died 502 */
    ERR_UNHEALTHY,      /* never_healthy 504, retryable */
    ERR_REGISTER,       /* register_failed 502, retryable */
    ERR_MISROUTE,       /* misroute 502, retryable */
    ERR_EXEC_TIMEOUT,   /* exec_timeout 504 */
    ERR_INPUT,          /* input_failed 502, retryable: it did not reach its container */
    ERR_CANCELLED,      /* cancelled 409 */
    ERR_LOST,           /* journal_lost 500: adopted, but not all that it needs was found */
    /* what went wrong on a connection */
    ERR_CONNECT,  /* connect_failed 502, retryable: nothing was sent */
    ERR_TIMEOUT,  /* timeout 504, retryable */
    ERR_RESET,    /* connection_lost 502, retryable: broke after sending began */
    ERR_PROTOCOL, /* protocol_error 502: an answer that makes no sense */
    /* ourselves */
    ERR_STORE,     /* store_failed 503, retryable */
    ERR_CONFIG,    /* bad_configuration 500 */
    ERR_PERMANENT, /* permanent 502: the engine says that repeating is pointless */
    ERR_INTERNAL,  /* internal 500 */
    ERR_COUNT
};

struct error {
    enum error_code code;
    char message[256];  /* one sentence for a person, no trailing stop, no control characters */
    bool of_engine;     /* the engine as a whole failed: anybody's call would have, now */
    const char *reason; /* a word that tells causes of one code apart; static, or NULL */
    int retry_after_s;  /* when it may succeed, as far as is known; 0: it is not */
};

const char *error_name(enum error_code);
enum error_code error_find(const char *name); /* ERR_NONE: there is none of that name */
int error_http_status(enum error_code);
bool error_retryable(enum error_code);

/* ERR_CAPACITY when this machine has no descriptor, process or memory left (errno(3)), which
 * passes; else otherwise. */
enum error_code error_of_errno(int number, enum error_code otherwise);

/* Each byte that is a control character or no UTF-8 becomes '?'. */
void error_make_printable(char *text);

/* Fills *e (when not NULL; of_engine, reason and retry_after_s are none) and returns the code.
 */
enum error_code error_set(struct error *e, enum error_code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
