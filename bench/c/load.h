/* What the parts of the load generator share: time, histograms, calls and their two ends, RTP legs.
 *
 * One thread, one loop (load.c). calls.c speaks SIP for callers (A) and targets (B), audio.c sends and receives RTP.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_CALLS 65536  /* at once */
#define MAX_MEDIA 4096   /* calls at once that have audio of their own */
#define CALLER 0
#define TARGET 1
#define SECOND 1000000000ull
#define MS 1000000ull

/* Counts of durations in ns; 32 steps to each power of two, so a figure is right within three percent. */
typedef struct {
    uint64_t count, most;
    uint32_t cell[48 * 32];
} Histogram;

void histogram_add(Histogram *histogram, uint64_t value);
uint64_t histogram_at(const Histogram *histogram, double share); /* ns below which that share lies */

uint64_t now_ns(void);  /* CLOCK_MONOTONIC */
uint64_t wall_ns(void); /* CLOCK_REALTIME, which is what the kernel stamps packets with */

/* One end of a call's audio. */
typedef struct {
    int fd; /* 0: not opened yet */
    uint16_t port;
    struct sockaddr_in to; /* port 0: sends nothing */
    uint32_t ssrc, timestamp, number, sent, received, doubled, others;
    uint16_t sequence;
    bool numbered; /* whether what it sends now is measured */
    bool heard;    /* whether anything of the other end has come */
    uint32_t first, last, count; /* numbers that came, and how many did */
} Leg;

extern Leg legs[MAX_MEDIA][2];
extern Histogram audio_delay, audio_late, first_delay;
extern uint32_t first_missed;
extern bool audio_on;
extern int audio_payload[2]; /* payload type of each side */

Leg *leg_open(int call, int side);
void leg_start(int call, int side, uint32_t address, uint16_t port);
void leg_aim(int call, int side, uint32_t address, uint16_t port); /* elsewhere from now on */
void leg_stop(int call, int side);
void leg_account(int call, int side);
void leg_first(int call); /* the target's first packet, at once */
void audio_slot(uint64_t slot);
void audio_read(int call, int side);
void audio_measure(bool on);
void audio_forget(void);
uint16_t sink_port(void);
uint16_t rtcp_port(void);

/* Calls. */
typedef struct {
    double rate, seconds, hold; /* calls a second, for so long, each held so many seconds (below 0: until told) */
    uint32_t limit;             /* no more calls than that, 0: as many as rate and seconds make */
    double patience;            /* seconds after which a caller that gets nowhere gives up */
    bool transfer, media;
    char user[64];
} Plan;

typedef struct {
    uint64_t begun, finished; /* ns: first and last call that was placed; */
    uint64_t first_done, last_done;
    uint32_t placed, answered, up, completed, refused, refused_503, given_up, target_left;
    uint32_t resent, repeated, late, no_ringing, malformed, most_at_once, no_slot;
    int other_status;
    uint64_t audio_heard, audio_lost; /* of calls that are over: between the first and the last packet that came */
    Histogram answer, goodbye;
} Account;

extern Account account;
extern Plan plan;

void calls_open(void);
void calls_server(uint32_t address, uint16_t port);
uint16_t caller_port(void);
uint16_t target_port(void);
int caller_fd(void);
int target_fd(void);
void calls_begin(void);
bool calls_tick(uint64_t now); /* false when nothing is left to do for the plan */
uint64_t calls_next(uint64_t now);
void calls_read(int side);
void calls_hang_up(double rate);
uint32_t calls_busy(void);
uint32_t calls_talking(void); /* with both ends hearing each other */
uint64_t call_serial(int call);

void watch(int fd, uint64_t what); /* what: kind << 32 | number */
enum { WATCH_INPUT, WATCH_CALLERS, WATCH_TARGETS, WATCH_LEG };

#endif
