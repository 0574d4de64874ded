/* The load generator: calls and audio against a server on loopback, told what to do by lines on standard input.
 *
 *     ports                                     {"caller": ..., "target": ..., "sink": ...}
 *     server PORT                               who is called
 *     payload A B                               payload types (0 or 8) of callers and targets
 *     run rate=R seconds=S hold=H limit=N transfer=0|1 media=0|1 patience=P user=U
 *                                               places calls and waits until all are over; with hold=-1, until all are up
 *     talk seconds=S                            numbers and counts the audio of what is up, for so long
 *     say seconds=S                             audio, uncounted
 *     rest seconds=S                            no audio
 *     hang rate=R                               ends what is up
 *     leg CALL SIDE PORT                        sends that leg's audio to a port, without any SIP (0: its own port only)
 *
 * Each is answered by one line of JSON. No message is sent anywhere but to 127.0.0.1.
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static int poller;

uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

uint64_t wall_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

void histogram_add(Histogram *histogram, uint64_t value) {
    if ((int64_t)value < 1) value = 1;
    int power = 63 - __builtin_clzll(value);
    uint32_t step = power >= 5 ? (uint32_t)(value >> (power - 5)) & 31 : (uint32_t)(value << (5 - power)) & 31;
    if (power > 47) power = 47;
    histogram->cell[power * 32 + (int)step]++;
    histogram->count++;
    if (value > histogram->most) histogram->most = value;
}

uint64_t histogram_at(const Histogram *histogram, double share) {
    uint64_t wanted = (uint64_t)(share * (double)histogram->count + 0.999999), found = 0;
    if (!wanted) return 0;
    for (int at = 0; at < 48 * 32; at++) {
        found += histogram->cell[at];
        if (found >= wanted) {
            uint64_t base = 1ull << (at / 32);
            return base + (uint64_t)((double)base * ((at % 32) + 1) / 32.0);
        }
    }
    return histogram->most;
}

void watch(int fd, uint64_t what) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = what};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) {
        perror("epoll_ctl");
        exit(1);
    }
}

static void print_histogram(const char *name, const Histogram *one) {
    printf(", \"%s\": {\"count\": %llu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"most_ms\": %.3f}", name,
           (unsigned long long)one->count, (double)histogram_at(one, 0.5) / 1e6, (double)histogram_at(one, 0.99) / 1e6,
           (double)one->most / 1e6);
}

/* Serve sockets and the plan until `until`, or with 0 until the plan is done, at most until `limit`. */
static bool serve(uint64_t until, uint64_t limit) {
    struct epoll_event events[512];
    uint64_t origin = now_ns(), slot = 0;
    for (;;) {
        uint64_t now = now_ns();
        bool busy = calls_tick(now);
        if (until ? now >= until : !busy) return true;
        if (now >= limit) return false;
        uint64_t next = calls_next(now);
        if (audio_on) {
            uint64_t due = origin + slot * MS;
            if (now >= due) {
                histogram_add(&audio_late, now - due);
                audio_slot(slot++);
                if (now < origin + slot * MS + 1) next = origin + slot * MS;
                else next = now;
            } else if (due < next) {
                next = due;
            }
        }
        struct timespec wait = {0, next > now ? (long)(next - now) : 0};
        int count = epoll_pwait2(poller, events, 512, &wait, NULL);
        for (int at = 0; at < count; at++) {
            uint32_t number = (uint32_t)events[at].data.u64;
            switch (events[at].data.u64 >> 32) {
            case WATCH_CALLERS:
                calls_read(CALLER);
                break;
            case WATCH_TARGETS:
                calls_read(TARGET);
                break;
            case WATCH_LEG:
                audio_read((int)(number / 2), (int)(number % 2));
            }
        }
    }
}

static double option(const char *line, const char *name, double otherwise) {
    char wanted[32];
    snprintf(wanted, sizeof wanted, " %s=", name);
    const char *at = strstr(line, wanted);
    return at ? atof(at + strlen(wanted)) : otherwise;
}

static void print_account(bool ended, double cpu) {
    const Account *one = &account;
    double span = one->completed > 1 ? (double)(one->last_done - one->first_done) / 1e9 : 0;
    printf("{\"ended\": %s, \"placed\": %u, \"answered\": %u, \"up\": %u, \"completed\": %u, \"refused\": %u, "
           "\"refused_503\": %u, \"other_status\": %d, \"given_up\": %u, \"target_left\": %u, \"resent\": %u, "
           "\"repeated\": %u, \"late\": %u, \"no_ringing\": %u, \"malformed\": %u, \"no_slot\": %u, "
           "\"most_at_once\": %u, \"seconds\": %.4f, \"completed_per_second\": %.2f, \"first_missed\": %u, "
           "\"audio_heard\": %llu, \"audio_lost\": %llu, \"cpu_seconds\": %.3f",
           ended ? "true" : "false", one->placed, one->answered, one->up, one->completed, one->refused,
           one->refused_503, one->other_status, one->given_up, one->target_left, one->resent, one->repeated, one->late,
           one->no_ringing, one->malformed, one->no_slot, one->most_at_once, (double)(now_ns() - one->begun) / 1e9,
           span > 0 ? (one->completed - 1) / span : 0.0, first_missed,
           (unsigned long long)one->audio_heard, (unsigned long long)one->audio_lost, cpu);
    print_histogram("answer", &one->answer);
    print_histogram("goodbye", &one->goodbye);
    print_histogram("first_packet", &first_delay);
    printf("}\n");
}

static void print_audio(double cpu) {
    uint64_t sent[2] = {0, 0}, received[2] = {0, 0}, others[2] = {0, 0};
    for (int call = 0; call < MAX_MEDIA; call++)
        for (int side = 0; side < 2; side++) {
            sent[side] += legs[call][side].sent;
            received[side] += legs[call][side].received;
            others[side] += legs[call][side].others;
        }
    printf("{\"sent\": [%llu, %llu], \"received\": [%llu, %llu], \"others\": [%llu, %llu], \"lost\": %lld, "
           "\"cpu_seconds\": %.3f",
           (unsigned long long)sent[0], (unsigned long long)sent[1], (unsigned long long)received[0],
           (unsigned long long)received[1], (unsigned long long)others[0], (unsigned long long)others[1],
           (long long)(sent[0] + sent[1]) - (long long)(received[0] + received[1]), cpu);
    print_histogram("delay", &audio_delay);
    print_histogram("lateness", &audio_late);
    printf("}\n");
}

static double cpu_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void obey(const char *line) {
    double cpu = cpu_seconds();
    int call, side, port;
    if (!strncmp(line, "ports", 5)) {
        printf("{\"caller\": %u, \"target\": %u, \"sink\": %u}\n", caller_port(), target_port(), sink_port());
    } else if (sscanf(line, "server %d", &port) == 1) {
        calls_server(htonl(INADDR_LOOPBACK), (uint16_t)port);
        printf("{}\n");
    } else if (sscanf(line, "payload %d %d", &call, &side) == 2) {
        audio_payload[CALLER] = call;
        audio_payload[TARGET] = side;
        printf("{}\n");
    } else if (sscanf(line, "leg %d %d %d", &call, &side, &port) == 3 && call >= 0 && call < MAX_MEDIA &&
               (side == 0 || side == 1)) {
        uint16_t own = leg_open(call, side)->port;
        if (port) leg_start(call, side, htonl(INADDR_LOOPBACK), (uint16_t)port);
        printf("{\"port\": %u}\n", own);
    } else if (!strncmp(line, "run", 3)) {
        plan.rate = option(line, "rate", 10);
        plan.seconds = option(line, "seconds", 1);
        plan.hold = option(line, "hold", 0.1);
        plan.patience = option(line, "patience", 8);
        plan.limit = (uint32_t)option(line, "limit", 0);
        plan.transfer = option(line, "transfer", 0) != 0;
        plan.media = option(line, "media", 0) != 0;
        const char *user = strstr(line, " user=");
        snprintf(plan.user, sizeof plan.user, "%.*s", user ? (int)strcspn(user + 6, " \r\n") : 4,
                 user ? user + 6 : "3300");
        audio_forget();
        audio_on = plan.media;
        calls_begin();
        double most = (plan.limit ? plan.limit / plan.rate : plan.seconds) + (plan.hold > 0 ? plan.hold : 0) + 60;
        bool ended = serve(0, now_ns() + (uint64_t)(most * 1e9));
        print_account(ended, cpu_seconds() - cpu);
    } else if (!strncmp(line, "talk", 4)) {
        audio_on = true;
        audio_measure(true);
        serve(now_ns() + (uint64_t)(option(line, "seconds", 1) * 1e9), UINT64_MAX);
        cpu = cpu_seconds() - cpu;
        audio_on = false;
        serve(now_ns() + 200 * MS, UINT64_MAX); /* what is under way */
        print_audio(cpu);
        audio_measure(false);
    } else if (!strncmp(line, "say", 3) || !strncmp(line, "rest", 4)) {
        audio_on = line[0] == 's';
        serve(now_ns() + (uint64_t)(option(line, "seconds", 1) * 1e9), UINT64_MAX);
        printf("{\"talking\": %u}\n", calls_talking());
    } else if (!strncmp(line, "hang", 4)) {
        audio_on = false;
        uint32_t before = account.completed;
        calls_hang_up(option(line, "rate", 100));
        bool ended = serve(0, now_ns() + 120 * SECOND);
        printf("{\"ended\": %s, \"completed\": %u, \"left\": %u, \"resent\": %u, \"target_left\": %u, \"given_up\": %u}\n",
               ended ? "true" : "false", account.completed - before, calls_busy(), account.resent,
               account.target_left, account.given_up);
    } else {
        printf("{\"error\": \"no such command\"}\n");
    }
    fflush(stdout);
}

int main(void) {
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    srand((unsigned)getpid());
    calls_open();
    char line[512];
    while (fgets(line, sizeof line, stdin)) obey(line);
    return 0;
}
