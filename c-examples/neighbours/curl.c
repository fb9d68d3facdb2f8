#include <errno.h>

#include "curl.h"

/* What has ended is taken out of libcurl's hands and told. The tasks that wait are woken, not
 * called: so nobody uses libcurl while it is inside of its own calls. */
static void tell(struct curl_loop *l) {
    CURLMsg *msg;
    for (int left; (msg = curl_multi_info_read(l->multi, &left)) != NULL;) {
        if (msg->msg != CURLMSG_DONE) continue;
        CURLcode code = msg->data.result; /* the message goes with the handle */
        struct transfer *t;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        curl_multi_remove_handle(l->multi, t->easy);
        t->easy = NULL;
        answer_give(&t->answer, code);
    }
}

static void on_socket(void *arg, int fd, uint32_t ready) {
    struct curl_loop *l = arg;
    int running, events = 0;
    if (ready & (RT_READABLE | RT_READ_CLOSED)) events |= CURL_CSELECT_IN;
    if (ready & (RT_WRITABLE | RT_WRITE_CLOSED)) events |= CURL_CSELECT_OUT;
    if (ready & RT_ERROR) events |= CURL_CSELECT_ERR;
    curl_multi_socket_action(l->multi, fd, events, &running);
    tell(l);
}

static void on_time(void *arg, int fd, uint32_t ready) {
    struct curl_loop *l = arg;
    int running;
    (void)fd, (void)ready;
    curl_multi_socket_action(l->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    tell(l);
}

/* libcurl says what it wants of a socket, at any moment; before it closes it, CURL_POLL_REMOVE. */
static int want(CURL *easy, curl_socket_t fd, int what, void *arg, void *kept) {
    struct curl_loop *l = arg;
    rt_watch w = (uintptr_t)kept;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        rt_watch_close(w);
        curl_multi_assign(l->multi, fd, NULL);
        return 0;
    }
    if (w == 0) {
        if (rt_watch_open(l->rt, l->near, fd, on_socket, l, NULL, &w) < 0) return -1;
        curl_multi_assign(l->multi, fd, (void *)(uintptr_t)w);
    }
    uint32_t interest = what & CURL_POLL_IN ? RT_READABLE : 0;
    rt_watch_for(w, what & CURL_POLL_OUT ? interest | RT_WRITABLE : interest);
    return 0;
}

/* Not even for 0 ms is libcurl called from here: it is inside of a call. */
static int want_time(CURLM *multi, long ms, void *arg) {
    struct curl_loop *l = arg;
    (void)multi;
    rt_watch_at(l->timer, ms < 0 ? RT_NEVER : rt_now() + (uint64_t)ms * 1000000);
    return 0;
}

int64_t curl_loop_open(rt_runtime rt, rt_task near, struct curl_loop *l) {
    l->rt = rt, l->near = near;
    int64_t r = rt_watch_open(rt, near, -1, on_time, l, NULL, &l->timer);
    if (r < 0) return r;
    if ((l->multi = curl_multi_init()) == NULL) return curl_loop_close(l), -ENOMEM;
    curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, want);
    curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l);
    curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, want_time);
    curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l);
    return 0;
}

/* Connections that libcurl kept for later are closed, which calls `want`. */
void curl_loop_close(struct curl_loop *l) {
    curl_multi_cleanup(l->multi);
    rt_watch_close(l->timer);
    l->multi = NULL, l->timer = 0;
}

int64_t curl_begin(struct curl_loop *l, CURL *easy, struct transfer *t) {
    curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    if (curl_multi_add_handle(l->multi, easy) != CURLM_OK) return -ENOMEM;
    t->easy = easy;
    return 0;
}

int64_t curl_poll(rt_cx *cx, struct transfer *t) { return answer_poll(cx, &t->answer); }

void curl_cancel(struct curl_loop *l, struct transfer *t) {
    if (t->easy != NULL) curl_multi_remove_handle(l->multi, t->easy);
    t->easy = NULL;
    answer_drop(&t->answer);
}
