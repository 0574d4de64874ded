/* SIP messages as the load needs them: where the header fields are that it reads, and how a response is written.
 *
 * Nothing is copied: a Text points into the datagram. Knows no calls.
 */
#ifndef BENCH_SIP_H
#define BENCH_SIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *at;
    int size;
} Text;

typedef struct {
    int status; /* 0: a request */
    char method[16];
    Text from, to, callid, cseq, contact, vias[12], routes[12], body;
    int via_count, route_count;
} Message;

bool scan(char *data, size_t size, Message *message); /* data has room for one byte more */
void keep(char *room, size_t size, Text text);
void keep_uri(char *room, size_t size, Text text); /* the URI of a Contact */
void keep_routes(char *room, size_t size, const Message *message, bool backwards);
bool audio_port(const Message *message, uint32_t *address, uint16_t *port);
int respond(char *data, const Message *message, const char *status, const char *tag, const char *extra,
            const char *body, int length);

#endif
