/* See sip.h. */
#define _GNU_SOURCE
#include "sip.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool named(const char *line, size_t size, const char *name, char compact) {
    size_t length = strlen(name);
    if (size == length) return !strncasecmp(line, name, length);
    return size == 1 && tolower(line[0]) == compact;
}

bool scan(char *data, size_t size, Message *message) {
    memset(message, 0, sizeof *message);
    data[size] = 0;
    char *end = data + size, *line = data, *stop = memmem(data, size, "\r\n", 2);
    if (!stop) return false;
    if (!strncmp(data, "SIP/2.0 ", 8)) {
        message->status = atoi(data + 8);
    } else {
        size_t length = strcspn(data, " ");
        if (length >= sizeof message->method) return false;
        memcpy(message->method, data, length);
    }
    for (line = stop + 2; line < end; line = stop + 2) {
        stop = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!stop) return false;
        if (stop == line) {
            message->body = (Text){line + 2, (int)(end - line - 2)};
            break;
        }
        char *colon = memchr(line, ':', (size_t)(stop - line));
        if (!colon) return false;
        size_t name = (size_t)(colon - line);
        while (name && line[name - 1] == ' ') name--;
        char *value = colon + 1;
        while (value < stop && *value == ' ') value++;
        Text text = {value, (int)(stop - value)};
        switch (tolower(line[0])) {
        case 'v':
            if (named(line, name, "via", 'v') && message->via_count < 12) message->vias[message->via_count++] = text;
            break;
        case 'f':
            if (named(line, name, "from", 'f')) message->from = text;
            break;
        case 't':
            if (named(line, name, "to", 't')) message->to = text;
            break;
        case 'i':
            if (named(line, name, "i", 'i')) message->callid = text;
            break;
        case 'm':
            if (named(line, name, "m", 'm')) message->contact = text;
            break;
        case 'c':
            if (named(line, name, "call-id", 0)) message->callid = text;
            else if (named(line, name, "cseq", 0)) message->cseq = text;
            else if (named(line, name, "contact", 0)) message->contact = text;
            break;
        case 'r':
            if (named(line, name, "record-route", 0) && message->route_count < 12)
                message->routes[message->route_count++] = text;
        }
    }
    if (!message->callid.at || !message->cseq.at || !message->from.at || !message->to.at) return false;
    if (message->status) {
        const char *space = memchr(message->cseq.at, ' ', (size_t)message->cseq.size);
        if (!space) return false;
        int length = (int)(message->cseq.at + message->cseq.size - space - 1);
        if (length >= (int)sizeof message->method) return false;
        memcpy(message->method, space + 1, (size_t)length);
    }
    return true;
}

void keep(char *room, size_t size, Text text) {
    size_t length = (size_t)text.size < size - 1 ? (size_t)text.size : size - 1;
    memcpy(room, text.at, length);
    room[length] = 0;
}

/* The URI of a Contact. */
void keep_uri(char *room, size_t size, Text text) {
    const char *open = memchr(text.at, '<', (size_t)text.size);
    if (open) {
        const char *close = memchr(open, '>', (size_t)(text.at + text.size - open));
        if (close) text = (Text){open + 1, (int)(close - open - 1)};
    }
    keep(room, size, text);
}

/* Route lines of a dialog from Record-Route; backwards for who called (RFC 3261 12.1.2). */
void keep_routes(char *room, size_t size, const Message *message, bool backwards) {
    room[0] = 0;
    size_t used = 0;
    for (int at = 0; at < message->route_count; at++) {
        Text one = message->routes[backwards ? message->route_count - 1 - at : at];
        if (used + (size_t)one.size + 10 >= size) return;
        used += (size_t)sprintf(room + used, "Route: %.*s\r\n", one.size, one.at);
    }
}

/* Where a body wants its audio. */
bool audio_port(const Message *message, uint32_t *address, uint16_t *port) {
    if (!message->body.at || message->body.size <= 0) return false;
    const char *line = memmem(message->body.at, (size_t)message->body.size, "m=audio ", 8);
    const char *from = memmem(message->body.at, (size_t)message->body.size, "c=IN IP4 ", 9);
    if (!line) return false;
    char text[32] = "127.0.0.1";
    if (from) {
        size_t length = strcspn(from + 9, "\r\n");
        if (length < sizeof text) {
            memcpy(text, from + 9, length);
            text[length] = 0;
        }
    }
    *address = inet_addr(text);
    *port = (uint16_t)atoi(line + 8);
    return *port != 0;
}

int respond(char *data, const Message *message, const char *status, const char *tag, const char *extra,
                   const char *body, int length) {
    int size = sprintf(data, "SIP/2.0 %s\r\n", status);
    for (int at = 0; at < message->via_count; at++)
        size += sprintf(data + size, "Via: %.*s\r\n", message->vias[at].size, message->vias[at].at);
    for (int at = 0; at < message->route_count; at++)
        size += sprintf(data + size, "Record-Route: %.*s\r\n", message->routes[at].size, message->routes[at].at);
    return size + sprintf(data + size,
                          "From: %.*s\r\nTo: %.*s%s\r\nCall-ID: %.*s\r\nCSeq: %.*s\r\n%sContent-Length: %d\r\n\r\n%.*s",
                          message->from.size, message->from.at, message->to.size, message->to.at, tag,
                          message->callid.size, message->callid.at, message->cseq.size, message->cseq.at, extra,
                          length, length, body ? body : "");
}
