/* The least that a server can do for its clients: one send() to each, of bytes that are ready.

   Owns the physical limit that every system is measured against. It accepts WebSockets, and for each
   line on standard input sends one frame to every client; of a burst all frames in one send(). There
   is no database, no encoding and no bookkeeping; the sockets block, since nobody here is slow.

   limit PAYLOAD, where PAYLOAD is the message, with ~note~ and 20 digits in it.
   Prints "ready PORT". Then lines: "MARK COUNT SKIP": sends COUNT frames with MARK, MARK + 1 and so on
   to all clients but the first SKIP ones, which is for tests. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_CLIENTS = 20000, MOST_FRAMES = 1000, EVENTS = 512 };

/* The answer to the key that the load always sends, which is the one in RFC 6455, section 1.3. */
static const char ANSWER[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static int clients[MOST_CLIENTS], count, poller, listener;
static char *frames;
static size_t frame_size, digits;

static void fail(const char *what) {
    fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll");
}

/* Makes MOST_FRAMES frames of the payload, one behind the other. */
static void prepare(const char *payload) {
    size_t size = strlen(payload), head = size < 126 ? 2 : 4;
    const char *mark = strstr(payload, "~note~");
    if (!mark || size > 65535) fail("the payload");
    frame_size = head + size;
    digits = head + (size_t)(mark - payload) + 6;
    if (!(frames = malloc(MOST_FRAMES * frame_size))) fail("memory");
    for (char *at = frames; at < frames + MOST_FRAMES * frame_size; at += frame_size) {
        at[0] = (char)0x81;
        at[1] = (char)(size < 126 ? size : 126);
        if (head == 4) at[2] = (char)(size >> 8), at[3] = (char)size;
        memcpy(at + head, payload, size);
    }
}

static void publish(uint64_t mark, size_t number, int skip) {
    for (size_t i = 0; i < number; i++) {
        char text[21];
        snprintf(text, sizeof text, "%020lu", mark + i);
        memcpy(frames + i * frame_size + digits, text, 20);
    }
    for (int i = skip; i < count; i++)
        for (size_t sent = 0; sent < number * frame_size;) {
            ssize_t size = send(clients[i], frames + sent, number * frame_size - sent, MSG_NOSIGNAL);
            if (size < 0) break; /* the client is gone, which it notices itself */
            sent += (size_t)size;
        }
}

static void command(void) {
    static char line[4096];
    static size_t size;
    ssize_t got = read(0, line + size, sizeof line - size);
    if (got <= 0) exit(0);
    size += (size_t)got;
    for (char *newline; (newline = memchr(line, '\n', size)) != NULL;) {
        uint64_t mark;
        size_t number;
        int skip;
        *newline = 0;
        if (sscanf(line, "%lu %zu %d", &mark, &number, &skip) != 3 || number > MOST_FRAMES) fail("a line");
        publish(mark, number, skip);
        size -= (size_t)(newline + 1 - line);
        memmove(line, newline + 1, size);
    }
}

static void greet(int fd) {
    char request[4096];
    int yes = 1;
    if (epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL) < 0 || read(fd, request, sizeof request) <= 0) fail("handshake");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (count == MOST_CLIENTS || send(fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) < 0) fail("handshake");
    clients[count++] = fd;
}

int main(int arguments, char **argument) {
    if (arguments != 2) {
        fprintf(stderr, "limit PAYLOAD\n");
        return 2;
    }
    prepare(argument[1]);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 4096) < 0) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    poller = epoll_create1(0);
    watch(0);
    watch(listener);
    printf("ready %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (struct epoll_event events[EVENTS];;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == 0)
                command();
            else if (fd == listener)
                watch(accept(listener, NULL, NULL));
            else
                greet(fd);
        }
    }
}
