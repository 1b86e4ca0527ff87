/* Many clients in one process, cheap enough to be no part of what is measured.

   Owns the sockets of all clients and the exact count of what reaches them. A delivery is the mark
   ~note~ and 20 digits in a message: CLOCK_MONOTONIC, in ns, of the moment before the note was
   published. Each client must see its marks grow, so a delivery that comes again is noticed even if
   another one was lost. One read() into one large buffer for each socket that has data.

   After each look at the sockets it naps, as a network card does before it interrupts again. A send()
   that has to wake a sleeping reader costs twice as much here as one that need not: without naps
   a server that is faster than the load would be spared what a slower one pays for every delivery,
   and with clients on other machines neither pays it.

   load PORT PATH KIND CLIENTS, where KIND is ws, socket.io, or lines (of a chunked HTTP body).
   Prints "connected" once all are. Then commands, a line each:
     start   forget what was counted, and count notes that are published from now on: "started"
     end     a line of JSON with the counts, times in ns
   Meanwhile "all N" whenever every client has N notes, and "closed CODE" for each that was closed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 20, EVENTS = 512, CONNECTING = 64, MOST_NOTES = 1 << 20, STDIN = -1, NAP = 50 /* µs */ };
enum { STEPS = 64, BUCKETS = 64 * STEPS }; /* of the histogram: 64 steps for each power of two */
enum kind { WS, SOCKET_IO, LINES };

struct client {
    int fd, answered, open; /* answered: by HTTP; open: by Socket.IO too */
    char *rest;             /* the beginning of a message whose end has not come yet */
    size_t rest_size;
    uint32_t notes;
    uint64_t last; /* the newest mark */
};

static struct client *clients;
static int count, connecting, connected, opened, closed, poller;
static enum kind kind;
static const char *path;
static struct sockaddr_in server;
static char buffer[BUFFER];
static uint32_t reached[MOST_NOTES]; /* reached[n]: how many clients have more than n notes */
static uint64_t histogram[BUCKETS], since, finished, again, worst, cpu_before;

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "unexpected");
    exit(1);
}

static uint64_t nanoseconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void watch(int fd, int64_t who) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)who};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll");
}

static unsigned bucket(uint64_t value) {
    if (value < STEPS) return (unsigned)value;
    unsigned power = 63 - (unsigned)__builtin_clzll(value);
    return (power - 5) * STEPS + (unsigned)((value >> (power - 6)) & (STEPS - 1));
}

static uint64_t bucket_start(unsigned index) {
    if (index < STEPS) return index;
    return (uint64_t)(STEPS + index % STEPS) << (index / STEPS - 1);
}

/* The value below which a share of all deliveries lies, to 1.6 %. */
static uint64_t quantile(double share, uint64_t total) {
    uint64_t wanted = (uint64_t)(share * (double)total), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        if ((seen += histogram[i]) > wanted) return bucket_start(i);
    return worst;
}

static void open_next(void) {
    while (opened < count && connecting < CONNECTING) {
        struct client *c = &clients[opened];
        char request[1024];
        int yes = 1, size = snprintf(request, sizeof request,
            kind == LINES ? "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
                          : "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", path);
        if ((c->fd = socket(AF_INET, SOCK_STREAM, 0)) < 0) fail("socket");
        if (connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0) fail("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (write(c->fd, request, (size_t)size) != size) fail("handshake");
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        watch(c->fd, opened++);
        connecting++;
    }
}

static void now_connected(void) {
    connecting--;
    if (++connected == count) printf("connected\n");
    open_next();
}

/* Sends a frame; its mask is zeros, which leaves the payload as it is (RFC 6455, section 5.3). */
static void send_frame(struct client *c, int opcode, const char *payload, size_t size) {
    char frame[132] = {(char)(0x80 | opcode), (char)(0x80 | size)};
    if (size > 125) fail("a control frame is too long");
    memcpy(frame + 6, payload, size);
    if (write(c->fd, frame, size + 6) != (ssize_t)size + 6) fail("write");
}

static void lose(struct client *c, int code) {
    close(c->fd); /* which ends its watch too */
    c->fd = -1;
    closed++;
    printf("closed %d\n", code);
}

static void delivery(struct client *c, uint64_t mark, uint64_t now) {
    if (mark < since) return; /* of an earlier run */
    if (mark <= c->last) {
        again++;
        return;
    }
    c->last = mark;
    uint64_t took = now - mark;
    histogram[bucket(took)]++;
    if (took > worst) worst = took;
    finished = now;
    if (c->notes == MOST_NOTES) fail("too many notes");
    if (++reached[c->notes++] == (uint32_t)count) printf("all %u\n", c->notes);
}

static void find_marks(struct client *c, const char *at, const char *end, uint64_t now) {
    while ((at = memchr(at, '~', (size_t)(end - at))) != NULL) {
        if (end - at >= 26 && !memcmp(at, "~note~", 6)) {
            uint64_t mark = 0;
            for (at += 6; *at >= '0' && *at <= '9'; at++) mark = mark * 10 + (uint64_t)(*at - '0');
            delivery(c, mark, now);
        } else
            at++;
    }
}

static void text(struct client *c, const char *data, size_t size, uint64_t now) {
    if (kind == SOCKET_IO && size && !c->open && data[0] == '0')
        send_frame(c, 1, "40", 2); /* join the default namespace */
    else if (kind == SOCKET_IO && size > 1 && !c->open && !memcmp(data, "40", 2)) {
        c->open = 1;
        now_connected();
    } else if (kind == SOCKET_IO && size == 1 && data[0] == '2')
        send_frame(c, 1, "3", 1);
    else
        find_marks(c, data, data + size, now);
}

/* Handles the first frame; its size, or 0 while it is not there as a whole. */
static size_t frame(struct client *c, const char *data, size_t have, uint64_t now) {
    const unsigned char *head = (const unsigned char *)data;
    if (have < 2) return 0;
    size_t size = head[1], from = size == 127 ? 10 : size == 126 ? 4 : 2;
    if (have < from) return 0;
    if (from > 2) size = 0;
    for (size_t i = 2; i < from; i++) size = size << 8 | head[i];
    if (have < from + size) return 0;
    int opcode = head[0] & 15;
    if (opcode == 8)
        lose(c, size < 2 ? 0 : head[from] << 8 | head[from + 1]);
    else if (opcode == 9)
        send_frame(c, 10, data + from, size);
    else
        text(c, data + from, size, now);
    return from + size;
}

/* Handles all whole lines; their size. */
static size_t lines(struct client *c, const char *data, size_t have, uint64_t now) {
    const char *end = memrchr(data, '\n', have);
    size_t size = end ? (size_t)(end - data) + 1 : 0;
    find_marks(c, data, data + size, now);
    return size;
}

/* Handles the answer to the request; its size, or 0 while it is not there as a whole. */
static size_t answer(struct client *c, const char *data, size_t have) {
    const char *end = memmem(data, have, "\r\n\r\n", 4);
    if (!end) return 0;
    if (memcmp(data + 9, kind == LINES ? "200" : "101", 3)) {
        fprintf(stderr, "load: the handshake was answered: %.*s\n", (int)(strchr(data, '\r') - data), data);
        exit(1);
    }
    c->answered = 1;
    if (kind != SOCKET_IO) now_connected();
    return (size_t)(end - data) + 4;
}

static void readable(struct client *c) {
    if (c->fd < 0) return;
    if (c->rest_size) memcpy(buffer, c->rest, c->rest_size);
    ssize_t got = read(c->fd, buffer + c->rest_size, BUFFER - c->rest_size);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        lose(c, 0);
        return;
    }
    uint64_t now = nanoseconds(CLOCK_MONOTONIC);
    size_t have = c->rest_size + (size_t)got, at = 0, size;
    do {
        const char *data = buffer + at;
        size = !c->answered ? answer(c, data, have - at)
             : kind == LINES ? lines(c, data, have - at, now) : frame(c, data, have - at, now);
        at += size;
    } while (size && at < have && c->fd >= 0);
    c->rest_size = have - at;
    if (c->rest_size == BUFFER) fail("a message is too long");
    if (c->rest_size) {
        if (!(c->rest = realloc(c->rest, c->rest_size))) fail("memory");
        memcpy(c->rest, buffer + at, c->rest_size);
    }
}

static void start(void) {
    uint32_t most = 0;
    for (int i = 0; i < count; i++) {
        if (clients[i].notes > most) most = clients[i].notes;
        clients[i].notes = 0;
    }
    memset(reached, 0, most * sizeof *reached);
    memset(histogram, 0, sizeof histogram);
    again = worst = 0;
    cpu_before = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    finished = since = nanoseconds(CLOCK_MONOTONIC);
    printf("started\n");
}

static void end(void) {
    uint64_t total = 0, cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_before;
    uint32_t least = UINT32_MAX, most = 0;
    for (int i = 0; i < count; i++) {
        uint32_t notes = clients[i].notes;
        total += notes;
        if (notes < least) least = notes;
        if (notes > most) most = notes;
    }
    printf("{\"deliveries\":%lu,\"least\":%u,\"most\":%u,\"again\":%lu,\"closed\":%d,\"finished\":%lu,\"cpu\":%lu,"
           "\"p50\":%lu,\"p99\":%lu,\"p999\":%lu,\"worst\":%lu}\n",
           total, least, most, again, closed, finished, cpu, quantile(.5, total), quantile(.99, total),
           quantile(.999, total), worst);
}

static void command(void) {
    static char line[4096];
    static size_t size;
    ssize_t got = read(0, line + size, sizeof line - size);
    if (got <= 0) exit(0);
    size += (size_t)got;
    for (char *newline; (newline = memchr(line, '\n', size)) != NULL;) {
        *newline = 0;
        if (!strcmp(line, "start"))
            start();
        else
            end();
        size -= (size_t)(newline + 1 - line);
        memmove(line, newline + 1, size);
    }
}

int main(int arguments, char **argument) {
    if (arguments != 5) {
        fprintf(stderr, "load PORT PATH ws|socket.io|lines CLIENTS\n");
        return 2;
    }
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argument[1]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    path = argument[2];
    kind = argument[3][0] == 'l' ? LINES : argument[3][0] == 's' ? SOCKET_IO : WS;
    count = atoi(argument[4]);
    clients = calloc((size_t)count, sizeof *clients);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    prctl(PR_SET_TIMERSLACK, 1);
    poller = epoll_create1(0);
    watch(0, STDIN);
    open_next();
    for (struct epoll_event events[EVENTS];;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if ((int64_t)events[i].data.u64 == STDIN)
                command();
            else
                readable(&clients[events[i].data.u64]);
        }
        fflush(stdout);
        if (connected == count) usleep(NAP);
    }
}
