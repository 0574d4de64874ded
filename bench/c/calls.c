/* SIP of the load: callers that call, are answered and hang up, and targets that ring, answer and are hung up on.
 *
 * Every call has a Call-ID, branches, tags and a user of its own. Requests are sent again at T1, 2*T1, ... (RFC 3261
 * 17.1), the target's 200 as well, until the caller gives up; whatever is sent again or comes again is counted. A target knows whose
 * call it is by the user part of From, which the server is expected to hand on (so do proxies).
 */
#define _GNU_SOURCE
#include "load.h"
#include "sip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define T1 (SECOND / 2)
#define SENDINGS 5            /* of one message: at 0, 0.5, 1.5, 3.5 and 7.5 s */
#define ROOM 4096

typedef enum { FREE, CALLING, RINGING, TALKING, LEAVING, WAITING } State;
static const char *const FLAWED = "a message that can't be read";

typedef struct {
    uint64_t serial, invited, left, answered_b;
    uint32_t attempt;                 /* counts what was begun, so that an old timer is known to be old */
    State state;
    bool rang, b_invited, b_acked, b_over;
    uint8_t sendings, b_sendings;
    uint16_t b_size;
    char to[160], contact[192], routes[512]; /* of the caller's dialog */
    char b_ok[1536];                         /* the target's 200, to be sent again */
} Call;

typedef enum { RESEND, RESEND_200, HANG_UP, GIVE_UP } What;
typedef struct {
    uint64_t when, serial;
    uint32_t call, attempt;
    What what;
} Timer;
/* Timers of one duration, so that they are due in the order in which they were set. */
typedef struct {
    Timer *ring;
    uint32_t first, count, room;
} Queue;

Account account;
Plan plan;
static Call *calls;
static uint32_t *free_calls, free_count;
static uint64_t serials, next_due;
static Queue resend[4], hang_up, give_up, retire;
static struct sockaddr_in server;
static int fds[2];
static uint16_t ports[2];
static bool placing, closing;
static uint64_t close_from, close_placed, close_next;
static double close_rate;
static uint32_t run;

static int open_port(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), size = 4 << 20;
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(fd, (struct sockaddr *)&at, sizeof at)) {
        perror("a port for SIP");
        exit(1);
    }
    return fd;
}

void calls_open(void) {
    calls = calloc(MAX_CALLS, sizeof *calls);
    free_calls = malloc(MAX_CALLS * sizeof *free_calls);
    if (!calls || !free_calls) {
        perror("memory for calls");
        exit(1);
    }
    for (uint32_t at = 0; at < MAX_CALLS; at++) free_calls[at] = MAX_CALLS - 1 - at;
    free_count = MAX_CALLS;
    for (int side = 0; side < 2; side++) {
        struct sockaddr_in at;
        socklen_t size = sizeof at;
        fds[side] = open_port();
        getsockname(fds[side], (struct sockaddr *)&at, &size);
        ports[side] = ntohs(at.sin_port);
        watch(fds[side], (uint64_t)(side == CALLER ? WATCH_CALLERS : WATCH_TARGETS) << 32);
    }
}

void calls_server(uint32_t address, uint16_t port) {
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = address;
    server.sin_port = htons(port);
}

uint16_t caller_port(void) { return ports[CALLER]; }
uint16_t target_port(void) { return ports[TARGET]; }
uint32_t calls_busy(void) { return MAX_CALLS - free_count; }
uint64_t call_serial(int call) { return calls[call].serial; }

uint32_t calls_talking(void) {
    uint32_t found = 0;
    for (int call = 0; call < MAX_MEDIA; call++)
        found += calls[call].state == TALKING && legs[call][CALLER].heard && legs[call][TARGET].heard;
    return found;
}

/* -- timers ------------------------------------------------------------------------------------------------------ */

/* How long a caller waits for an answer, or for its target to be hung up on, in ns. */
static uint64_t patience(void) { return (uint64_t)(plan.patience * 1e9); }

static void later(Queue *queue, uint64_t when, uint32_t call, What what) {
    if (queue->count == queue->room) {
        uint32_t room = queue->room ? 2 * queue->room : 1024;
        Timer *ring = malloc(room * sizeof *ring);
        if (!ring) abort();
        for (uint32_t at = 0; at < queue->count; at++) ring[at] = queue->ring[(queue->first + at) % queue->room];
        free(queue->ring);
        *queue = (Queue){ring, 0, queue->count, room};
    }
    queue->ring[(queue->first + queue->count++) % queue->room] =
        (Timer){when, calls[call].serial, call, calls[call].attempt, what};
}

static Timer *due(Queue *queue, uint64_t now) {
    if (!queue->count || queue->ring[queue->first].when > now) return NULL;
    Timer *timer = &queue->ring[queue->first];
    queue->first = (queue->first + 1) % queue->room;
    queue->count--;
    return timer;
}

/* -- writing ----------------------------------------------------------------------------------------------------- */

static void send_to_server(int side, const char *data, int size) {
    if (size > 0) sendto(fds[side], data, (size_t)size, 0, (struct sockaddr *)&server, sizeof server);
}

static int describe(char *at, uint32_t call, int side) {
    uint16_t port = plan.media && call < MAX_MEDIA ? leg_open((int)call, side)->port : sink_port();
    return sprintf(at,
                   "v=0\r\no=- %llu 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                   "m=audio %u RTP/AVP %d 101\r\na=rtpmap:%d %s/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
                   "a=fmtp:101 0-15\r\na=ptime:20\r\na=rtcp:%u\r\na=sendrecv\r\n",
                   (unsigned long long)calls[call].serial, port, audio_payload[side], audio_payload[side],
                   audio_payload[side] ? "PCMA" : "PCMU", rtcp_port());
}

/* A request of the caller's: INVITE, ACK or BYE. */
static void caller_sends(uint32_t call, const char *method, bool rejected) {
    Call *one = &calls[call];
    char data[ROOM], body[512];
    bool invite = !strcmp(method, "INVITE"), first = invite || rejected;
    char address[96];
    unsigned long long serial = one->serial;
    snprintf(address, sizeof address, "sip:%s@127.0.0.1:%u", plan.user, ntohs(server.sin_port));
    int length = invite ? describe(body, call, CALLER) : 0;
    int size = snprintf(
        data, sizeof data,
        "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%u;rport;branch=z9hG4bK%x.%llu.%s\r\nMax-Forwards: 70\r\n%s"
        "From: <sip:c%u-%llu@127.0.0.1:%u>;tag=f%x%llu\r\nTo: <%s>%s\r\nCall-ID: %u.%llu.%x@127.0.0.1\r\n"
        "CSeq: %d %s\r\nContact: <sip:c%u-%llu@127.0.0.1:%u>\r\n%sContent-Length: %d\r\n\r\n%.*s",
        method, first ? address : one->contact, ports[CALLER], run, serial, rejected ? "INVITE" : method,
        first ? "" : one->routes, call, serial, ports[CALLER], run, serial, address, invite ? "" : one->to, call,
        serial, run, !strcmp(method, "BYE") ? 2 : 1, method, call, serial, ports[CALLER],
        invite ? "Content-Type: application/sdp\r\nAllow: INVITE, ACK, CANCEL, BYE, UPDATE\r\n" : "", length, length,
        body);
    send_to_server(CALLER, data, size);
}

/* -- callers ----------------------------------------------------------------------------------------------------- */

static void send_again_later(uint32_t call, What what, int sendings) {
    if (sendings < SENDINGS) later(&resend[sendings - 1], now_ns() + (T1 << (sendings - 1)), call, what);
}

static void over(uint32_t call) {
    Call *one = &calls[call];
    one->state = FREE;
    one->serial = 0;
    one->attempt++;
    if (call < MAX_MEDIA) {
        leg_stop((int)call, CALLER);
        leg_stop((int)call, TARGET);
        leg_account((int)call, CALLER);
        leg_account((int)call, TARGET);
    }
    free_calls[free_count++] = call;
    account.finished = now_ns();
}

static void done(uint32_t call) {
    uint64_t now = now_ns();
    if (!account.completed++) account.first_done = now;
    account.last_done = now;
    account.no_ringing += !calls[call].rang;
    over(call);
}

static void place(uint64_t now) {
    if (!free_count) {
        account.no_slot++;
        return;
    }
    uint32_t call = free_calls[--free_count];
    Call *one = &calls[call];
    uint32_t attempt = one->attempt + 1;
    memset(one, 0, offsetof(Call, b_ok));
    one->attempt = attempt;
    one->serial = ++serials;
    one->state = CALLING;
    one->invited = now;
    one->sendings = 1;
    one->b_over = !plan.transfer;
    account.placed++;
    if (calls_busy() > account.most_at_once) account.most_at_once = calls_busy();
    caller_sends(call, "INVITE", false);
    send_again_later(call, RESEND, 1);
    later(&give_up, now + patience(), call, GIVE_UP);
}

static void talking(uint32_t call) {
    account.up++;
    if (plan.hold >= 0) later(&hang_up, now_ns() + (uint64_t)(plan.hold * 1e9), call, HANG_UP);
}

static void leave(uint32_t call) {
    Call *one = &calls[call];
    one->state = LEAVING;
    one->attempt++;
    one->sendings = 1;
    one->left = now_ns();
    if (call < MAX_MEDIA) leg_stop((int)call, CALLER);
    caller_sends(call, "BYE", false);
    send_again_later(call, RESEND, 1);
    later(&give_up, one->left + patience(), call, GIVE_UP);
}

static void answered(uint32_t call, const Message *message) {
    Call *one = &calls[call];
    const char *to = memmem(message->to.at, (size_t)message->to.size, ">", 1);
    if (to) keep(one->to, sizeof one->to, (Text){to + 1, (int)(message->to.at + message->to.size - to - 1)});
    keep_uri(one->contact, sizeof one->contact, message->contact);
    keep_routes(one->routes, sizeof one->routes, message, true);
    one->state = TALKING;
    one->attempt++;
    account.answered++;
    histogram_add(&account.answer, now_ns() - one->invited);
    caller_sends(call, "ACK", false);
    uint32_t address;
    uint16_t port;
    if (plan.media && call < MAX_MEDIA && audio_port(message, &address, &port))
        leg_start((int)call, CALLER, address, port);
    if (!plan.transfer || one->b_acked) {
        talking(call);
    } else { /* the target has to come about as well */
        later(&give_up, now_ns() + patience(), call, GIVE_UP);
    }
}

static Call *whose(const Message *message, uint32_t *call, unsigned long long *serial) {
    unsigned number;
    if (sscanf(message->callid.at, "%u.%llu.", &number, serial) != 2 || number >= MAX_CALLS) return NULL;
    *call = number;
    return &calls[number];
}

static void response(const Message *message) {
    uint32_t call;
    unsigned long long serial;
    Call *one = whose(message, &call, &serial);
    if (!one || one->serial != serial) {
        account.late++;
        return;
    }
    bool invite = !strcmp(message->method, "INVITE");
    if (invite && one->state != CALLING && one->state != RINGING) {
        if (message->status >= 200) {
            account.repeated++;
            if (message->status < 300) caller_sends(call, "ACK", false);
        }
    } else if (invite && message->status < 200) {
        if (one->state == CALLING) one->attempt++; /* stops the INVITE's timer, starts one of its own */
        if (one->state == CALLING) later(&give_up, now_ns() + patience(), call, GIVE_UP);
        one->state = RINGING;
        if (message->status == 180) {
            account.repeated += one->rang;
            one->rang = true;
        }
    } else if (invite && message->status < 300) {
        answered(call, message);
    } else if (invite) {
        const char *to = memmem(message->to.at, (size_t)message->to.size, ">", 1);
        if (to) keep(one->to, sizeof one->to, (Text){to + 1, (int)(message->to.at + message->to.size - to - 1)});
        caller_sends(call, "ACK", true);
        account.refused++;
        if (message->status == 503) account.refused_503++;
        else account.other_status = message->status;
        over(call);
    } else if (message->status >= 200) {
        if (one->state != LEAVING) {
            account.repeated++;
            return;
        }
        histogram_add(&account.goodbye, now_ns() - one->left);
        one->attempt++;
        if (one->b_over) {
            done(call);
        } else {
            one->state = WAITING;
            later(&retire, now_ns() + patience(), call, GIVE_UP);
        }
    }
}

/* -- targets ----------------------------------------------------------------------------------------------------- */

/* The server wants the audio of a call that is up to go elsewhere, or asks where it is. */
static void invited_again(int side, const Message *message, uint32_t call) {
    char data[ROOM], extra[256], body[512];
    uint32_t address;
    uint16_t port;
    int length = describe(body, call, side);
    snprintf(extra, sizeof extra, "Contact: <sip:%c%u@127.0.0.1:%u>\r\nContent-Type: application/sdp\r\n",
             side == CALLER ? 'c' : 't', call, ports[side]);
    send_to_server(side, data, respond(data, message, "200 OK", "", extra, body, length));
    if (plan.media && call < MAX_MEDIA && audio_port(message, &address, &port)) leg_aim((int)call, side, address, port);
}

static void invited(const Message *message, Call *one, uint32_t call) {
    char data[ROOM], tag[64], contact[256], body[512];
    if (one->b_invited) {
        account.repeated++;
        if (one->b_size) send_to_server(TARGET, one->b_ok, one->b_size);
        return;
    }
    one->b_invited = true;
    snprintf(tag, sizeof tag, ";tag=t%x%llu", run, (unsigned long long)one->serial);
    snprintf(contact, sizeof contact, "Contact: <sip:t%u@127.0.0.1:%u>\r\n", call, ports[TARGET]);
    send_to_server(TARGET, data, respond(data, message, "180 Ringing", tag, contact, NULL, 0));
    strcat(contact, "Content-Type: application/sdp\r\n");
    int length = describe(body, call, TARGET);
    int size = respond(data, message, "200 OK", tag, contact, body, length);
    one->b_size = 0;
    if (size < (int)sizeof one->b_ok) {
        memcpy(one->b_ok, data, (size_t)size);
        one->b_size = (uint16_t)size;
    }
    uint32_t address;
    uint16_t port;
    send_to_server(TARGET, data, size);
    one->answered_b = now_ns();
    if (plan.media && call < MAX_MEDIA && audio_port(message, &address, &port)) {
        leg_start((int)call, TARGET, address, port);
        leg_first((int)call);
    }
    one->b_sendings = 1;
    send_again_later(call, RESEND_200, 1);
}

static void request(Message *message) {
    unsigned number;
    unsigned long long serial;
    const char *user = memmem(message->from.at, (size_t)message->from.size, "sip:c", 5);
    Call *one = NULL;
    char data[ROOM];
    if (user && sscanf(user, "sip:c%u-%llu@", &number, &serial) == 2 && number < MAX_CALLS &&
        calls[number].serial == serial)
        one = &calls[number];
    bool ack = !strcmp(message->method, "ACK");
    if (!strcmp(message->method, "BYE")) {
        send_to_server(TARGET, data, respond(data, message, "200 OK", "", "", NULL, 0));
    } else if (strcmp(message->method, "INVITE") && !ack) {
        /* CANCEL, OPTIONS, ...: answered, and of no more interest. */
        send_to_server(TARGET, data, respond(data, message, "200 OK", "", "", NULL, 0));
        return;
    }
    if (!one) {
        if (!ack) account.late++;
        return;
    }
    bool within = memmem(message->to.at, (size_t)message->to.size, ";tag=", 5) != NULL;
    if (!ack && within && !strcmp(message->method, "INVITE")) {
        invited_again(TARGET, message, number);
    } else if (ack) {
        if (one->b_acked) {
            uint32_t address;
            uint16_t port;
            if (plan.media && number < MAX_MEDIA && !one->b_over && audio_port(message, &address, &port))
                leg_aim((int)number, TARGET, address, port);
            return;
        }
        one->b_acked = true;
        if (one->state == TALKING) {
            one->attempt++; /* no longer waited for */
            talking(number);
        }
    } else if (!strcmp(message->method, "BYE")) {
        if (one->b_over) {
            account.repeated++;
            return;
        }
        one->b_over = true;
        if (number < MAX_MEDIA) leg_stop((int)number, TARGET);
        if (one->state == WAITING) done(number);
    } else {
        invited(message, one, number);
    }
}

/* What the server asks of a caller is granted. A BYE while the caller talks means that the server ended a call that the
 * caller had not: counted as one whose target left. */
static void asked_of_caller(const Message *message) {
    char data[ROOM];
    uint32_t call, address;
    uint16_t port;
    unsigned long long serial;
    Call *one = whose(message, &call, &serial);
    bool ours = one && one->serial == serial && one->state == TALKING;
    if (ours && !strcmp(message->method, "INVITE")) {
        invited_again(CALLER, message, call);
    } else if (!strcmp(message->method, "ACK")) {
        if (ours && plan.media && call < MAX_MEDIA && audio_port(message, &address, &port))
            leg_aim((int)call, CALLER, address, port);
    } else {
        send_to_server(CALLER, data, respond(data, message, "200 OK", "", "", NULL, 0));
        if (ours && !strcmp(message->method, "BYE")) {
            account.target_left++;
            over(call);
        }
    }
}

void calls_read(int side) {
    static char data[65536];
    for (int count = 0; count < 64; count++) {
        ssize_t size = recv(fds[side], data, sizeof data - 1, 0);
        if (size < 0) return;
        Message message;
        if (!scan(data, (size_t)size, &message)) {
            account.malformed++;
            fprintf(stderr, "%s: %.60s\n", FLAWED, data);
            continue;
        }
        if (message.status) {
            response(&message);
        } else if (side == CALLER) {
            asked_of_caller(&message);
        } else {
            request(&message);
        }
    }
}

/* -- the plan ---------------------------------------------------------------------------------------------------- */

void calls_begin(void) {
    if (!run) run = (uint32_t)getpid();
    memset(&account, 0, sizeof account);
    /* Nobody's timers any more; those of another patience would keep the new ones waiting. */
    if (!calls_busy()) give_up.count = retire.count = hang_up.count = 0;
    account.begun = next_due = now_ns();
    placing = true;
}

static void fire(Timer timer, uint64_t now) {
    Call *one = &calls[timer.call];
    if (one->serial != timer.serial) return;
    if (timer.what == RESEND_200) {
        if (one->b_acked || one->b_over || !one->b_size) return;
        account.resent++;
        send_to_server(TARGET, one->b_ok, one->b_size);
        send_again_later(timer.call, RESEND_200, ++one->b_sendings);
        return;
    }
    if (one->attempt != timer.attempt) return;
    switch (timer.what) {
    case RESEND:
        account.resent++;
        caller_sends(timer.call, one->state == LEAVING ? "BYE" : "INVITE", false);
        send_again_later(timer.call, RESEND, ++one->sendings);
        break;
    case HANG_UP:
        if (one->state == TALKING) leave(timer.call);
        break;
    case GIVE_UP:
        if (one->state == WAITING) account.target_left++;
        else account.given_up++;
        over(timer.call);
        break;
    default:
        break;
    }
    (void)now;
}

bool calls_tick(uint64_t now) {
    Timer *timer;
    for (int at = 0; at < 4; at++)
        while ((timer = due(&resend[at], now))) fire(*timer, now);
    while ((timer = due(&hang_up, now))) fire(*timer, now);
    while ((timer = due(&give_up, now))) fire(*timer, now);
    while ((timer = due(&retire, now))) fire(*timer, now);
    if (placing) {
        uint64_t end = account.begun + (uint64_t)(plan.seconds * 1e9);
        double gap = 1e9 / plan.rate;
        /* Not more than a few at once, however late this process is: a burst would be no rate. */
        for (int burst = 0; burst < 50 && placing && next_due <= now; burst++) {
            if ((plan.limit && account.placed + account.no_slot >= plan.limit) || (!plan.limit && next_due >= end)) {
                placing = false;
                break;
            }
            place(now);
            next_due = account.begun + (uint64_t)((double)(account.placed + account.no_slot) * gap);
        }
    }
    if (closing) {
        while (close_next < MAX_CALLS && close_from + (uint64_t)((double)close_placed / close_rate * 1e9) <= now) {
            if (calls[close_next].state == TALKING) {
                leave((uint32_t)close_next);
                close_placed++;
            }
            close_next++;
        }
        if (close_next == MAX_CALLS) closing = false;
    }
    if (placing || closing) return true;
    /* Others may be up that an earlier plan left. */
    if (plan.hold >= 0)
        return account.completed + account.refused + account.given_up + account.target_left < account.placed;
    /* Calls that stay: done when each is up or has failed. */
    return account.up + account.refused + account.given_up + account.target_left < account.placed;
}

void calls_hang_up(double rate) {
    close_from = now_ns();
    close_placed = close_next = 0;
    close_rate = rate;
    closing = true;
    plan.hold = 0;
}

uint64_t calls_next(uint64_t now) {
    uint64_t next = now + 2 * MS;
    if (placing && next_due < next) next = next_due;
    if (hang_up.count && hang_up.ring[hang_up.first].when < next) next = hang_up.ring[hang_up.first].when;
    return next > now ? next : now;
}

int caller_fd(void) { return fds[CALLER]; }
int target_fd(void) { return fds[TARGET]; }
