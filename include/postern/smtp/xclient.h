/*
 * smtp/xclient.h - what a front end tells of its client by XCLIENT (Postfix's protocol).
 *
 *     XCLIENT NAME=mail.example.net ADDR=IPV6:2001:db8::1 PORT=40000 LOGIN=[UNAVAILABLE]
 *
 * Values are xtext. [UNAVAILABLE] and [TEMPUNAVAIL] say that the front end does not know:
 * the attribute counts as told, and its value is empty.
 */
#ifndef POSTERN_SMTP_XCLIENT_H
#define POSTERN_SMTP_XCLIENT_H

#include "postern/base/ip.h"
#include "postern/smtp/reply.h"

/* As EHLO announces them. */
#define SMTP_XCLIENT_NAMES "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"

#define SMTP_XCLIENT_VALUE_MAX 255 /* octets, when xtext is decoded */

/* The bits of `told`. */
enum smtp_xclient_attribute {
    SMTP_XCLIENT_NAME = 1 << 0,
    SMTP_XCLIENT_ADDR = 1 << 1,
    SMTP_XCLIENT_PORT = 1 << 2,
    SMTP_XCLIENT_PROTO = 1 << 3,
    SMTP_XCLIENT_HELO = 1 << 4,
    SMTP_XCLIENT_LOGIN = 1 << 5,
    SMTP_XCLIENT_DESTADDR = 1 << 6, /* looked at, and not kept */
    SMTP_XCLIENT_DESTPORT = 1 << 7,
};

struct smtp_xclient {
    unsigned told;
    struct pn_ip ip;
    uint16_t port;
    bool extended; /* PROTO=ESMTP */
    char name[SMTP_XCLIENT_VALUE_MAX + 1];
    char helo[SMTP_XCLIENT_VALUE_MAX + 1];
    char login[SMTP_XCLIENT_VALUE_MAX + 1];
};

/* args: what stands behind XCLIENT. False: out_reply says what is wrong. */
bool smtp_xclient_parse(struct pn_str args, struct smtp_xclient *out,
                        struct smtp_reply *out_reply);

#endif
