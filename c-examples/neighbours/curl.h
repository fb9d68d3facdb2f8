/* libcurl in this loop, by curl_multi_socket_action: any number of transfers, none of which blocks.
 *
 * All calls are made on the worker of `near`, a pinned task. */
#ifndef CURL_LOOP_H
#define CURL_LOOP_H

#include <curl/curl.h>

#include "answer.h"

struct curl_loop {
    rt_runtime rt;
    rt_task near;
    CURLM *multi; /* for options, such as CURLMOPT_MAX_HOST_CONNECTIONS */
    rt_watch timer;
};

/* Zero at first. */
struct transfer {
    struct answer answer;
    CURL *easy; /* NULL unless it is on its way */
};

int64_t curl_loop_open(rt_runtime rt, rt_task near, struct curl_loop *l);

/* No transfer must be on its way. Good for a zeroed loop, too. */
void curl_loop_close(struct curl_loop *l);

/* Begins the transfer that `easy` describes. 0, or -ENOMEM. CURLOPT_PRIVATE is taken. */
int64_t curl_begin(struct curl_loop *l, CURL *easy, struct transfer *t);

/* Awaitable: the CURLcode. */
int64_t curl_poll(rt_cx *cx, struct transfer *t);

/* Ends a transfer, wherever it is: for a deadline, or a drop function. */
void curl_cancel(struct curl_loop *l, struct transfer *t);

#endif
