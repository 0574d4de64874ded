/* RTP of the calls: one packet in 20 ms from each end, numbered and stamped, and what becomes of it at the other end.
 *
 * A packet is 12 bytes of header and 160 of payload; the payload begins with a mark, whose it is, its number and when
 * it was sent. Delay is from just before sendto() to the moment at which the kernel received it here, so this process's
 * own lateness in reading is no part of it. A relay that changes the payload (mu-law to A-law) loses the mark: then
 * packets are counted, and have no delay.
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MARK 0x7e1e9401u
#define SIZE 172
#define SLOTS 20 /* of a millisecond */

typedef struct __attribute__((packed)) {
    uint8_t first, type;
    uint16_t sequence;
    uint32_t timestamp, ssrc;
    uint32_t mark, serial;
    uint16_t call;
    uint8_t side, generation;
    uint32_t number;
    uint64_t sent;
    uint8_t rest[SIZE - 36];
} Packet;

Leg legs[MAX_MEDIA][2];
Histogram audio_delay, audio_late, first_delay;
uint32_t first_missed;
bool audio_on;
int audio_payload[2] = {8, 8};
static uint8_t generation = 1;
static uint32_t slot_legs[SLOTS][2 * MAX_MEDIA / SLOTS + 2], slot_count[SLOTS];
static uint64_t first_sent[MAX_MEDIA];
static uint16_t sink, rtcp;

static int bound(uint16_t port) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at)) {
        if (fd >= 0) close(fd);
        return -1;
    }
    return fd;
}

static uint16_t port_of(int fd) {
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    getsockname(fd, (struct sockaddr *)&at, &size);
    return ntohs(at.sin_port);
}

/* A port that takes everything and keeps nothing: the kernel drops it before it is queued. */
static uint16_t hole(void) {
    struct sock_filter drop[] = {{BPF_RET | BPF_K, 0, 0, 0}};
    struct sock_fprog program = {1, drop};
    int fd = bound(0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program)) {
        perror("a port for what nobody hears");
        exit(1);
    }
    return port_of(fd);
}

uint16_t sink_port(void) { return sink ? sink : (sink = hole()); }
uint16_t rtcp_port(void) { return rtcp ? rtcp : (rtcp = hole()); }

Leg *leg_open(int call, int side) {
    Leg *leg = &legs[call][side];
    if (!leg->fd) {
        int on = 1, size = 1 << 20;
        int fd = bound(0);
        if (fd < 0) {
            perror("a port for audio");
            exit(1);
        }
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        leg->fd = fd;
        leg->port = port_of(fd);
        int slot = (2 * call * 7 + side * 9) % SLOTS;
        /* Spread evenly: the least filled slot from there on. */
        for (int step = 1; step < SLOTS; step++) {
            int other = ((2 * call * 7 + side * 9) + step) % SLOTS;
            if (slot_count[other] < slot_count[slot]) slot = other;
        }
        slot_legs[slot][slot_count[slot]++] = (uint32_t)(2 * call + side);
        watch(fd, (uint64_t)WATCH_LEG << 32 | (uint32_t)(2 * call + side));
    }
    return leg;
}

void leg_aim(int call, int side, uint32_t address, uint16_t port) {
    Leg *leg = leg_open(call, side);
    memset(&leg->to, 0, sizeof leg->to);
    leg->to.sin_family = AF_INET;
    leg->to.sin_addr.s_addr = address;
    leg->to.sin_port = htons(port);
}

void leg_start(int call, int side, uint32_t address, uint16_t port) {
    Leg *leg = leg_open(call, side);
    leg_aim(call, side, address, port);
    leg->ssrc = (uint32_t)rand();
    leg->sequence = (uint16_t)rand();
    leg->timestamp = (uint32_t)rand();
    leg->number = 0;
    leg->heard = false;
    leg->first = leg->last = leg->count = 0;
}

void leg_stop(int call, int side) { legs[call][side].to.sin_port = 0; }

/* A call is over: what it heard, and what is missing from that. */
void leg_account(int call, int side) {
    Leg *leg = &legs[call][side];
    if (leg->heard) {
        uint32_t expected = leg->last - leg->first + 1;
        account.audio_heard += leg->count;
        if (expected > leg->count) account.audio_lost += expected - leg->count;
    }
    leg->heard = false;
}

static void leg_send(int call, int side) {
    static Packet packet;
    Leg *leg = &legs[call][side];
    if (!leg->to.sin_port) return;
    if (!packet.first) memset(packet.rest, 0xd5, sizeof packet.rest);
    packet.first = 0x80;
    packet.type = (uint8_t)(audio_payload[side] | (leg->number ? 0 : 0x80));
    packet.sequence = htons(leg->sequence++);
    packet.timestamp = htonl(leg->timestamp);
    packet.ssrc = leg->ssrc;
    packet.mark = MARK;
    packet.serial = (uint32_t)call_serial(call);
    packet.call = (uint16_t)call;
    packet.side = (uint8_t)side;
    packet.generation = leg->numbered ? generation : 0;
    packet.number = leg->number++;
    leg->timestamp += 160;
    packet.sent = wall_ns();
    if (sendto(leg->fd, &packet, SIZE, 0, (struct sockaddr *)&leg->to, sizeof leg->to) == SIZE && leg->numbered)
        leg->sent++;
}

void leg_first(int call) {
    first_sent[call] = wall_ns();
    leg_send(call, TARGET);
}

void audio_slot(uint64_t slot) {
    uint32_t *list = slot_legs[slot % SLOTS], count = slot_count[slot % SLOTS];
    for (uint32_t at = 0; at < count; at++) leg_send((int)(list[at] / 2), (int)(list[at] % 2));
}

void audio_read(int call, int side) {
    Leg *leg = &legs[call][side];
    Packet packet;
    char control[128];
    struct iovec part = {&packet, sizeof packet};
    for (;;) {
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                                 .msg_controllen = sizeof control};
        ssize_t size = recvmsg(leg->fd, &message, 0);
        if (size < 0) return;
        if (size != SIZE) {
            leg->others++;
            continue;
        }
        uint64_t came = 0;
        for (struct cmsghdr *one = CMSG_FIRSTHDR(&message); one; one = CMSG_NXTHDR(&message, one))
            if (one->cmsg_level == SOL_SOCKET && one->cmsg_type == SCM_TIMESTAMPNS) {
                struct timespec *time = (struct timespec *)CMSG_DATA(one);
                came = (uint64_t)time->tv_sec * SECOND + (uint64_t)time->tv_nsec;
            }
        if (packet.mark != MARK) {
            leg->others++;
            continue;
        }
        if (packet.call != call || packet.side == side || packet.serial != (uint32_t)call_serial(call)) continue;
        if (!leg->heard) {
            leg->heard = true;
            leg->first = leg->last = packet.number;
            leg->count = 0;
            if (side == CALLER && first_sent[call]) {
                histogram_add(&first_delay, came - first_sent[call]);
                first_missed += packet.number > 0;
                first_sent[call] = 0;
            }
        }
        if (packet.number > leg->last) leg->last = packet.number;
        leg->count++;
        if (packet.generation != generation || !packet.generation) continue;
        leg->received++;
        histogram_add(&audio_delay, came - packet.sent);
    }
}

void audio_measure(bool on) {
    if (on && ++generation == 0) generation = 1;
    for (int call = 0; call < MAX_MEDIA; call++)
        for (int side = 0; side < 2; side++) {
            Leg *leg = &legs[call][side];
            leg->numbered = on;
            if (on) leg->sent = leg->received = leg->others = 0;
        }
    if (on) {
        memset(&audio_delay, 0, sizeof audio_delay);
        memset(&audio_late, 0, sizeof audio_late);
    }
}

void audio_forget(void) {
    memset(&first_delay, 0, sizeof first_delay);
    first_missed = 0;
}
