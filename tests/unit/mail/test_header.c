/* The header scan, however the text is cut, and our own trace header. */
#include "postern/mail/header.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct row {
    const char *name;
    struct pn_str text;
    unsigned received;
    const char *flags; /* c: came back, h: 8 bits in header, b: in body, B: in body now */
};

#define OUR "Received: from x by mx2.example.net (Postern) with ESMTP id 1; date\r\n"

static const struct row rows[] = {
    {"empty", PN_STR(""), 0, ""},
    {"a header", PN_STR("A: b\r\nReceived: x\r\n"), 1, ""},
    {"header and body", PN_STR("A: b\r\n\r\nReceived: by mx2.example.net\r\n"), 0, "B"},
    {"no header", PN_STR("\r\nReceived: x\r\n"), 0, "B"},
    {"a line without a colon", PN_STR("A: b\r\nhello world\r\nReceived: x\r\n"), 0, "B"},
    {"one word without a colon", PN_STR("A: b\r\nhello\r\nReceived: x\r\n"), 0, "B"},
    {"an empty name (3.13)", PN_STR("A: b\r\n: x\r\nReceived: x\r\n"), 0, "B"},
    {"__proto__", PN_STR("__proto__: b\r\nReceived: x\r\n"), 1, ""},
    {"a blank before the colon", PN_STR("Received \t: x\r\n"), 1, ""},
    {"a continued first line", PN_STR(" A: b\r\nReceived: x\r\n"), 0, "B"},
    {"case", PN_STR("rEcEIVED:x\r\n"), 1, ""},
    {"longer names", PN_STR("Receivedx: x\r\nX-Received: x\r\nReceive: x\r\n"), 0, ""},
    {"continued", PN_STR("A: b\r\n Received: x\r\n\tReceived: x\r\n"), 0, ""},
    {"many", PN_STR("Received: a\r\nReceived: b\r\nC: d\r\nReceived:\r\n\r\n"), 3, "B"},
    {"8 bits in the header", PN_STR("A: \xc3\xbc\r\n"), 0, "h"},
    {"8 bits in a Received", PN_STR("Received: \xc3\xbc\r\n"), 1, "h"},
    {"8 bits in a folded line", PN_STR("A: b\r\n \xc3\xbc\r\n\r\n"), 0, "hB"},
    {"8 bits in the body", PN_STR("A: b\r\n\r\nx\xc3\xbc\r\n"), 0, "bB"},
    {"8 bits in a name", PN_STR("A: b\r\n\xc3: x\r\n"), 0, "bB"},
    {"ours", PN_STR(OUR), 1, "c"},
    {"ours among others", PN_STR("Received: from a by b; c\r\n" OUR "A: b\r\n\r\n"), 2, "cB"},
    {"folded", PN_STR("Received: from x\r\n\tBY\r\n\tMX2.Example.NET\r\n (x)\r\n"), 1, "c"},
    {"a dot behind the name", PN_STR("Received: by mx2.example.net.;x\r\n"), 1, "c"},
    {"no blank before the date", PN_STR("Received: by mx2.example.net;x\r\n"), 1, "c"},
    {"a comment between", PN_STR("Received: by(a (b\\)) c)mx2.example.net(d)\r\n"), 1, "c"},
    {"at the end of the field", PN_STR("Received: by mx2.example.net\r\n\r\n"), 1, "cB"},
    {"in a comment", PN_STR("Received: from x (by mx2.example.net) by y\r\n"), 1, ""},
    {"in a folded comment", PN_STR("Received: from x (z\r\n by mx2.example.net) by y\r\n"), 1,
     ""},
    {"behind a bracket in quotes", PN_STR("Received: \"(\" by mx2.example.net\r\n"), 1, "c"},
    {"in quotes", PN_STR("Received: from \"x by mx2.example.net \" by y\r\n"), 1, ""},
    {"behind the date", PN_STR("Received: by x; by mx2.example.net\r\n"), 1, ""},
    {"an open comment ends with its field",
     PN_STR("Received: (x\r\nReceived: by mx2.example.net\r\n"), 2, "c"},
    {"an open quote ends with its field",
     PN_STR("Received: \"\\\r\nReceived: by mx2.example.net\r\n"), 2, "c"},
    {"a backslash ends with its field",
     PN_STR("Received: \"\\\r\nReceived: () by mx2.example.net\r\n"), 2, "c"},
    {"from us, by another", PN_STR("Received: from mx2.example.net by x; d\r\n"), 1, ""},
    {"a longer name", PN_STR("Received: by mx2.example.nets\r\n"), 1, ""},
    {"a shorter name", PN_STR("Received: by mx2.example.ne\r\n"), 1, ""},
    {"a name before ours", PN_STR("Received: by xmx2.example.net\r\n"), 1, ""},
    {"two words", PN_STR("Received: by mx2 .example.net\r\n"), 1, ""},
    {"another word", PN_STR("Received: bye mx2.example.net\r\n"), 1, ""},
    {"a name by", PN_STR("Received: from by by mx2.example.net\r\n"), 1, "c"},
    {"a single dot", PN_STR("Received: by .\r\n"), 1, ""},
    {"another field", PN_STR("X-Loop: by mx2.example.net\r\n"), 0, ""},
};

static void check(const struct row *row, size_t cut, size_t others)
{
    struct mail_scan scan;

    mail_scan_init(&scan, PN_STR("mx2.example.net"));
    for (size_t at = 0; at < row->text.len;) {
        struct pn_str piece = pn_str_sub(row->text, at, at < cut ? cut - at : others);

        mail_scan_feed(&scan, piece);
        at += piece.len;
    }
    if (scan.received != row->received || scan.came_back != !!strchr(row->flags, 'c') ||
        scan.header_8bit != !!strchr(row->flags, 'h') ||
        scan.body_8bit != !!strchr(row->flags, 'b') ||
        scan.in_body != !!strchr(row->flags, 'B')) {
        fail_msg("%s, cut %zu/%zu: %u%s%s%s%s", row->name, cut, others, scan.received,
                 scan.came_back ? " c" : "", scan.header_8bit ? " h" : "",
                 scan.body_8bit ? " b" : "", scan.in_body ? " B" : "");
    }
}

static void test_scan(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        check(&rows[i], 0, 1000);
        check(&rows[i], 0, 1);
        for (size_t cut = 1; cut < rows[i].text.len; cut++) {
            check(&rows[i], cut, 1000);
        }
    }
}

/* FAULTS 4.15: a field of any length is one field. */
static void test_long_fields(void **state)
{
    static char line[100000];
    struct mail_scan scan;

    (void)state;
    memset(line, 'x', sizeof line);
    mail_scan_init(&scan, PN_STR("mx2.example.net"));
    mail_scan_feed(&scan, (struct pn_str){line, sizeof line});
    mail_scan_feed(&scan, PN_STR(": y\r\nReceived: by "));
    mail_scan_feed(&scan, (struct pn_str){line, sizeof line});
    mail_scan_feed(&scan, PN_STR(" \r\n\t"));
    mail_scan_feed(&scan, (struct pn_str){line, sizeof line});
    mail_scan_feed(&scan, PN_STR(" by mx2.example.net; x\r\nReceived: y\r\n"));
    assert_int_equal(scan.received, 2);
    assert_true(scan.came_back);
    assert_false(scan.in_body);
}

/* A host that cannot be compared matches nothing, not even its own beginning. */
static void test_hosts(void **state)
{
    static char host[MAIL_SCAN_HOST_MAX + 1];
    struct mail_scan scan;

    (void)state;
    memset(host, 'x', sizeof host);
    for (size_t spare = 0; spare < 2; spare++) {
        mail_scan_init(&scan, (struct pn_str){host, sizeof host - spare});
        mail_scan_feed(&scan, PN_STR("Received: by "));
        mail_scan_feed(&scan, (struct pn_str){host, sizeof host - spare});
        mail_scan_feed(&scan, PN_STR("\r\n"));
        assert_int_equal(scan.came_back, spare);
    }
    mail_scan_init(&scan, PN_STR(""));
    mail_scan_feed(&scan, PN_STR("Received: by . by\r\n"));
    assert_false(scan.came_back);
}

struct received_row {
    const char *name;
    const char *helo;
    const char *client_name;
    const char *client;
    const char *tls;
    const char *for_;
    const char *want;
};

#define BY   "\r\n\tby mx2.example.net (Postern) with ESMTPS id 00000000000000000000000000"
#define DATE "; Thu, 1 Jan 1970 00:00:00 +0000\r\n"

static const struct received_row received_rows[] = {
    {"all there is", "a.example", "b.example", "192.0.2.1", "TLSv1.3 TLS_AES_256_GCM_SHA384",
     "x@y",
     "Received: from a.example (b.example [192.0.2.1])" BY
     "\r\n\t(TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n\tfor <x@y>" DATE},
    {"as little as possible", "", "", "2001:db8::1", "", "",
     "Received: from unknown (unknown [IPv6:2001:db8::1])" BY DATE},
    {"a literal as HELO", "[IPv6:::1]", "", "192.0.2.1", "", "",
     "Received: from [IPv6:::1] (unknown [192.0.2.1])" BY DATE},
    {"hostile names (3.14)", "a b) by evil\r\nX: y", "(\\\"\xff<", "192.0.2.1", "1)(",
     "x@y\r\nX: y",
     "Received: from a?b??by?evil??X:?y (?"
     "?"
     "?"
     "?"
     "? [192.0.2.1])" BY "\r\n\t(1?"
     "?)" DATE},
    {"a UTF-8 recipient", "a", "b", "192.0.2.1", "", "\xc3\xbc@y",
     "Received: from a (b [192.0.2.1])" BY DATE},
    {"no address", "a", "b", "", "", "", "Received: from a (b)" BY DATE},
};

static void test_received(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(received_rows); i++) {
        const struct received_row *row = &received_rows[i];
        struct mail_envelope envelope = {
            .helo = pn_str_z(row->helo),
            .client_name = pn_str_z(row->client_name),
            .protocol = PN_STR("ESMTPS"),
            .tls = pn_str_z(row->tls),
        };
        struct pn_buf out;

        pn_buf_init(&out, 4096);
        (void)pn_ip_parse(pn_str_z(row->client), &envelope.client.ip);
        assert_int_equal(mail_received_write(&envelope, PN_STR("mx2.example.net"),
                                             pn_str_z(row->for_), &out),
                         0);
        if (!pn_str_eq(pn_buf_str(&out), pn_str_z(row->want))) {
            fail_msg("%s: %.*s", row->name, PN_FMT(pn_buf_str(&out)));
        }
        pn_buf_fini(&out);
    }
}

/* The scan finds what we write, and values of any length give lines of a legal length. */
static void test_received_is_found_again(void **state)
{
    static char junk[5000];
    struct pn_str long_ = {junk, sizeof junk};
    struct mail_envelope envelope = {
        .helo = long_, .client_name = long_, .protocol = PN_STR("ESMTP"), .tls = long_};
    struct mail_scan scan;
    struct pn_buf out;
    struct pn_str rest;

    (void)state;
    memset(junk, '(', sizeof junk);
    pn_buf_init(&out, 4096);
    assert_int_equal(mail_received_write(&envelope, PN_STR("mx2.example.net"), long_, &out), 0);
    mail_scan_init(&scan, PN_STR("mx2.example.net"));
    mail_scan_feed(&scan, pn_buf_str(&out));
    assert_true(scan.came_back);
    assert_int_equal(scan.received, 1);
    rest = pn_buf_str(&out);
    while (rest.len > 0) {
        assert_true(pn_str_cut(&rest, '\n').len < 998);
    }
    pn_buf_fini(&out);
}

static void test_received_without_room(void **state)
{
    struct mail_envelope envelope = {.helo = PN_STR("a")};

    struct pn_buf whole;

    (void)state;
    pn_buf_init(&whole, 4096);
    assert_int_equal(mail_received_write(&envelope, PN_STR("b"), PN_STR(""), &whole), 0);
    for (size_t max = 1; max <= pn_buf_str(&whole).len; max++) {
        struct pn_buf out;

        pn_buf_init(&out, max);
        assert_int_equal(pn_buf_append(&out, PN_STR("x")), 0);
        assert_int_equal(mail_received_write(&envelope, PN_STR("b"), PN_STR(""), &out),
                         PN_ENOSPACE);
        assert_true(pn_str_eq(pn_buf_str(&out), PN_STR("x")));
        pn_buf_fini(&out);
    }
    pn_buf_fini(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan),
        cmocka_unit_test(test_long_fields),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_received),
        cmocka_unit_test(test_received_is_found_again),
        cmocka_unit_test(test_received_without_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
