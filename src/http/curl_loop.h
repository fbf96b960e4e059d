/* libcurl's multi handle on our loop: its sockets are watched and its timer runs. */
#ifndef CLEAT_HTTP_CURL_LOOP_H
#define CLEAT_HTTP_CURL_LOOP_H

#include <curl/curl.h>
#include <stdbool.h>
#include "loop/loop.h"

/* A transfer is over; private: its CURLOPT_PRIVATE. Not within a callback of libcurl's: the
 * handle may be removed. */
typedef void curl_loop_fn(void *private, CURLcode result);

struct curl_loop {
    struct loop *loop;
    CURLM *multi;
    struct timer timer; /* libcurl's own */
    curl_loop_fn *ended;
};

/* False: libcurl has no memory. */
bool curl_loop_open(struct curl_loop *, struct loop *, curl_loop_fn *ended);
void curl_loop_close(struct curl_loop *); /* after all easy handles */

#endif
