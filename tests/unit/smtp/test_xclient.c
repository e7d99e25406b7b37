/* The arguments of XCLIENT: what is taken of them, and what is not. */
#include "postern/base/mem.h"
#include "postern/smtp/xclient.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define X10 "xxxxxxxxxx"
#define X250                                                                                   \
    X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10    \
        X10 X10 X10

struct row {
    const char *name;
    struct pn_str args;
    const char *want; /* "told name ip port proto helo login", or the reply's code */
};

#define BAD "501 5.5.4"

static const struct row rows[] = {
    {"all of it",
     PN_STR("NAME=a.test ADDR=192.0.2.1 PORT=25000 PROTO=ESMTP HELO=h LOGIN=joe "
            "DESTADDR=192.0.2.2 DESTPORT=25"),
     "ff a.test 192.0.2.1 25000 E h joe"},
    {"lower case, blanks", PN_STR("  name=a.test   addr=192.0.2.1  "),
     "3 a.test 192.0.2.1 0 -  "},
    {"IPv6", PN_STR("ADDR=IPV6:2001:db8::1"), "2  2001:db8::1 0 -  "},
    {"IPv6, lower case", PN_STR("ADDR=ipv6:2001:db8::1"), "2  2001:db8::1 0 -  "},
    {"IPv4 in IPv6", PN_STR("ADDR=IPV6:::ffff:192.0.2.1"), "2  192.0.2.1 0 -  "},
    {"IPv6 without its prefix", PN_STR("ADDR=2001:db8::1"), BAD},
    {"IPv4 with IPv6's prefix", PN_STR("ADDR=IPV6:192.0.2.1"), BAD},
    {"not an address", PN_STR("ADDR=a.test"), BAD},
    {"no address at all", PN_STR("ADDR=0.0.0.0"), BAD},
    {"nothing is known",
     PN_STR("NAME=[UNAVAILABLE] ADDR=[TEMPUNAVAIL] PORT=[unavailable] HELO=[UNAVAILABLE] "
            "LOGIN=[UNAVAILABLE] PROTO=[UNAVAILABLE]"),
     "3f  none 0 -  "},
    {"xtext", PN_STR("LOGIN=joe+40a.test HELO=a+2Bb"), "30  none 0 - a+b joe@a.test"},
    {"xtext in lower case", PN_STR("LOGIN=a+2bb"), "20  none 0 -  a+b"},
    {"broken xtext", PN_STR("LOGIN=a+2"), BAD},
    {"xtext of no digits", PN_STR("LOGIN=a+gg"), BAD},
    {"a NUL in xtext", PN_STR("LOGIN=a+00b"), BAD},
    {"a line end in xtext", PN_STR("HELO=a+0D+0Ab"), BAD},
    {"UTF-8 in xtext", PN_STR("HELO=+C3+A4"), "10  none 0 - \xc3\xa4 "},
    {"half a character of UTF-8", PN_STR("HELO=+C3"), BAD},
    {"a name with a parenthesis", PN_STR("NAME=a(b"), BAD},
    {"a name with a blank", PN_STR("NAME=a+20b"), BAD},
    {"PROTO=SMTP", PN_STR("PROTO=SMTP"), "8  none 0 -  "},
    {"PROTO=LMTP", PN_STR("PROTO=LMTP"), BAD},
    {"a port too large", PN_STR("PORT=65536"), BAD},
    {"a port with a sign", PN_STR("PORT=+2B1"), BAD},
    {"a destination that is none", PN_STR("DESTADDR=x"), BAD},
    {"a destination's port that is none", PN_STR("DESTPORT=x"), BAD},
    {"an attribute that there is not", PN_STR("COLOR=blue"), BAD},
    {"an attribute twice", PN_STR("NAME=a NAME=b"), BAD},
    {"no value", PN_STR("NAME="), BAD},
    {"no equals sign", PN_STR("NAME"), BAD},
    {"two equals signs", PN_STR("NAME=a=b"), BAD},
    {"nothing", PN_STR(""), BAD},
    {"the longest", PN_STR("HELO=" X250 "xxxxx"), "10  none 0 - " X250 "xxxxx "},
    {"longer than the longest", PN_STR("HELO=" X250 "xxxxxx"), BAD},
};

static void describe(const struct row *row, char *out, size_t size)
{
    struct smtp_xclient xclient;
    struct smtp_reply reply;
    char ip[PN_IP_CHARS];
    char *copy = pn_alloc(row->args.len + 1);

    memcpy(copy, row->args.ptr, row->args.len);
    copy = pn_realloc(copy, row->args.len > 0 ? row->args.len : 1);
    if (smtp_xclient_parse((struct pn_str){copy, row->args.len}, &xclient, &reply)) {
        snprintf(out, size, "%x %s %s %u %s %s %s", xclient.told, xclient.name,
                 pn_ip_format(&xclient.ip, ip), (unsigned)xclient.port,
                 xclient.extended ? "E" : "-", xclient.helo, xclient.login);
    } else {
        snprintf(out, size, "%d %s", reply.code, reply.enhanced);
    }
    free(copy);
}

static void test_arguments(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        char text[1024];

        print_message("%s\n", rows[i].name);
        describe(&rows[i], text, sizeof text);
        assert_string_equal(text, rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_arguments)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
