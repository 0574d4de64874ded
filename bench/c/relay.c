/* A relay that does nothing but relay: what arrives at one socket of a call leaves through the other one.
 *
 *     call A B     opens two sockets, one connected to port A and one to port B of loopback; answers with their ports
 *
 * The limit of what a relay with a socket for each leg can cost: a recv, a send, and twelve bytes touched.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct Leg {
    int fd;
    struct Leg *other;
    uint16_t shift;
} Leg;

static int poller;

static Leg *opened(int towards, unsigned *port) {
    Leg *leg = calloc(1, sizeof *leg);
    int size = 1 << 20;
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t length = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    leg->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    setsockopt(leg->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(leg->fd, (struct sockaddr *)&at, sizeof at)) exit(1);
    getsockname(leg->fd, (struct sockaddr *)&at, &length);
    *port = ntohs(at.sin_port);
    at.sin_port = htons((uint16_t)towards);
    if (connect(leg->fd, (struct sockaddr *)&at, sizeof at)) exit(1);
    leg->shift = (uint16_t)rand();
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = leg};
    epoll_ctl(poller, EPOLL_CTL_ADD, leg->fd, &event);
    return leg;
}

static void relay(Leg *leg) {
    uint8_t data[2048];
    ssize_t size = recv(leg->fd, data, sizeof data, 0);
    if (size < 12) return;
    uint16_t sequence = (uint16_t)((data[2] << 8 | data[3]) + leg->shift);
    data[2] = (uint8_t)(sequence >> 8);
    data[3] = (uint8_t)sequence;
    if (send(leg->other->fd, data, (size_t)size, 0) < 0) return;
}

int main(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(0);
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL}, events[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input);
    setvbuf(stdin, NULL, _IONBF, 0);
    for (;;) {
        int count = epoll_wait(poller, events, 256, -1);
        for (int at = 0; at < count; at++) {
            if (events[at].data.ptr) {
                relay(events[at].data.ptr);
                continue;
            }
            char line[64];
            int a, b;
            unsigned ports[2];
            if (!fgets(line, sizeof line, stdin) || sscanf(line, "call %d %d", &a, &b) != 2) return 0;
            Leg *first = opened(a, &ports[0]), *second = opened(b, &ports[1]);
            first->other = second;
            second->other = first;
            printf("%u %u\n", ports[0], ports[1]);
            fflush(stdout);
        }
    }
}
