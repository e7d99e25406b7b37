/* A file of domains.d: what it means, and what is said about mistakes in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_conf.h"

#include "postern/base/mem.h"
#include "postern/base/time.h"

#include <stdio.h>
#include <string.h>

#define REST   "recipients = {any}\nwhen_up = accept\n"
#define TARGET "target = {\"mail.example.org\"}\n"

static const struct helper_row rows[] = {
    {"least", TARGET REST, ""},
    {"missing", "", "f: option \"target\" is missing; it has no default\n"},
    {"a target is enough", TARGET, ""},
    {"near", "targets = {\"mail.example.org\"}\n" REST,
     "f:1: unknown option \"targets\"; did you mean \"target\"?\n"},
    {"before what is unknown", TARGET "hold = 1m\nsession = 5\n" REST,
     "f:3: unknown option \"session\"; did you mean \"sessions\"?\n"
     "f:2: hold: \"1m\" is too small; it must be from 1h to 365d\n"},
    {"an option of postern.conf", TARGET REST "message_size = 1M\n",
     "f:4: option \"message_size\" does not belong here; it stands in postern.conf, outside of "
     "its sections\n"},
    {"no sections here", TARGET REST "listener \"x\" {}\n",
     "f:4: \"listener\" is a section of postern.conf and does not belong here\n"},
    {"set twice", TARGET TARGET REST, "f:2: option \"target\" is set twice\n"},
    {"when_up", TARGET "recipients = any\nwhen_up = acept\n",
     "f:3: when_up: \"acept\" is none of pass-through|accept|defer; did you mean "
     "\"accept\"?\n"},
    {"words belong to their option", TARGET "recipients = {defer}\nwhen_up = accept\n",
     "f:2: recipients: \"defer\" is none of list|call-ahead|any\n"},
    {"tls", TARGET REST "tls = must\n",
     "f:4: tls: \"must\" is none of may|none|encrypt|verify|fingerprint|dane|dane-only\n"},
    {"retry order", TARGET REST "retry_min = 2h\nretry_max = 1h\n",
     "f:5: retry_min is longer than retry_max: give both, the first not above the second\n"},
    {"sessions", TARGET REST "sessions = 0\n",
     "f:4: sessions: \"0\" is too small; it must be from 1 to 1000\n"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        helper_check(&rows[i], "example.org");
    }
}

/* One target, and the sentence about it, or what it is understood as. */
static const struct {
    const char *target;
    const char *why;         /* NULL: it is right */
    const char *destination; /* between "smtp:" and ";tls=may" */
} targets[] = {
    {"Mail.Example.ORG", NULL, "mail.example.org:25"},
    {"mail.example.org:2525", NULL, "mail.example.org:2525"},
    {"mail", NULL, "mail:25"},
    {"xn--bcher-kva.example", NULL, "xn--bcher-kva.example:25"},
    {"192.0.2.1", NULL, "192.0.2.1:25"},
    {"192.0.2.1:26", NULL, "192.0.2.1:26"},
    {"[2001:db8::1]:26", NULL, "[2001:db8::1]:26"},
    {"[2001:DB8:0::1]", NULL, "[2001:db8::1]:25"},
    {"2001:db8::1", NULL, "[2001:db8::1]:25"},
    {"[::ffff:192.0.2.1]", NULL, "192.0.2.1:25"},
    {"127.0.0.1:2525", NULL, "127.0.0.1:2525"},
    {"192.0.2.9", NULL, "192.0.2.9:25"},
    {"mail.example.org:0", "the port is a number from 1 to 65535", NULL},
    {"mail.example.org:65536", "the port is a number from 1 to 65535", NULL},
    {"mail.example.org:", "the port is a number from 1 to 65535", NULL},
    {"mail.example.org:smtp", "the port is a number from 1 to 65535", NULL},
    {":25", "it is empty", NULL},
    {"mail.example.org.", "leave out the dot at its end", NULL},
    {"b\xc3\xbc"
     "cher.example",
     "write it as A-labels (xn--...)", NULL},
    {"a@example.org", "a host name has letters, digits, hyphens and dots only", NULL},
    {"192.0.2", "it ends with a number, as addresses do", NULL},
    {"192.0.2.256", "it ends with a number, as addresses do", NULL},
    {"0.0.0.0", "this is the address of no host", NULL},
    {"[::]:25", "this is the address of no host", NULL},
    {"[192.0.2.1]:25", "brackets are for IPv6 addresses only", NULL},
    {"[2001:db8::1", "write \"[2001:db8::1]\" or \"[2001:db8::1]:25\"", NULL},
    {"[2001:db8::1]25", "write \"[2001:db8::1]\" or \"[2001:db8::1]:25\"", NULL},
    {"[2001:db8::1]:", "the port is a number from 1 to 65535", NULL},
    {"[mail.example.org]", "this is no IPv6 address; write \"[2001:db8::1]:25\"", NULL},
    {"[]:25", "this is no IPv6 address; write \"[2001:db8::1]:25\"", NULL},
    {"mail:25:26", "this is no IPv6 address; write \"[2001:db8::1]:25\"", NULL},
    {"MX2.example.net:2525", "this is our own hostname, mail would come back to us", NULL},
    {"192.0.2.9:2525", "we listen there ourselves, mail would come back to us", NULL},
    {"2001:db8::9", "we listen there ourselves, mail would come back to us", NULL},
    {"127.0.0.1:25", "we listen there ourselves, mail would come back to us", NULL},
};

static void test_targets(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(targets); i++) {
        char text[512];
        char expected[512] = "";

        (void)snprintf(text, sizeof text, "target = {\n\"%s\"}\n" REST, targets[i].target);
        if (targets[i].why) {
            (void)snprintf(expected, sizeof expected, "f:2: target: \"%s\": %s\n",
                           targets[i].target, targets[i].why);
        }
        helper_check(&(struct helper_row){targets[i].target, text, expected}, "example.org");
        if (!targets[i].why) {
            struct conf_domain *domain = helper_domain("example.org", pn_str_z(text));

            (void)snprintf(expected, sizeof expected, "smtp:%s;tls=may",
                           targets[i].destination);
            assert_string_equal(domain->destination, expected);
            conf_domain_unref(&domain);
        }
    }
}

static const struct helper_row list_rows[] = {
    {"twice", "target = {a.example,\n b.example,\n \"A.example:25\"}\n" REST,
     "f:3: target: \"A.example:25\": it stands in the list twice\n"},
    {"two ports", "target = {a.example, \"a.example:26\"}\n" REST, ""},
    {"each says its mistake", "target = {\"a_b\",\n \"c:0\"}\n" REST,
     "f:1: target: \"a_b\": a host name has letters, digits, hyphens and dots only\n"
     "f:2: target: \"c:0\": the port is a number from 1 to 65535\n"},
    {"too many", "target = {a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q}\n" REST,
     "f:1: target: 17 items are too many; at most 16\n"},
};

static void test_target_lists(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(list_rows); i++) {
        helper_check(&list_rows[i], "example.org");
    }
}

#define LIST "recipient_list = \"/etc/postern/lists/example.org\"\n"

static const struct helper_row recipient_rows[] = {
    {"a list", TARGET LIST "recipients = {list}\n", ""},
    {"all in order", TARGET LIST "recipients = {list, call-ahead, any}\n", ""},
    {"twice", TARGET "recipients = {call-ahead,\n call-ahead}\n",
     "f:3: recipients: \"call-ahead\" stands in the list twice\n"},
    {"near", TARGET "recipients = {call_ahead}\n",
     "f:2: recipients: \"call_ahead\" is none of list|call-ahead|any; did you mean "
     "\"call-ahead\"?\n"},
    {"list without a list", TARGET "recipients = {call-ahead, list}\n",
     "f:2: recipients: \"list\" needs a recipient_list; write recipient_list = "
     "\"/etc/postern/lists/example.org\"\n"},
    {"a list that nobody reads", TARGET LIST "recipients = {call-ahead}\n",
     "f:2: warning: recipient_list is not used: \"list\" is missing in recipients\n"},
    {"nothing after any", TARGET LIST "recipients = {any, list}\n",
     "f:3: recipients: nothing after \"any\" is ever asked; make it the last or leave it "
     "out\n"},
    {"a no kept", TARGET "invalid_refresh = 4d\n",
     "f:2: invalid_refresh is longer than invalid_keep: give both, the first not above the "
     "second\n"},
    {"a yes kept", TARGET "valid_keep = 6d\n",
     "f:2: valid_refresh is longer than valid_keep: give both, the first not above the "
     "second\n"},
    {"delimiters", TARGET "recipient_delimiter = \"+-=_\"\n", ""},
    {"a percent sign", TARGET "recipient_delimiter = \"%\"\n", ""},
    {"too many delimiters", TARGET "recipient_delimiter = \"+-=_#\"\n",
     "f:2: recipient_delimiter: \"+-=_#\" has something else than at most 4 of "
     "!#$%&'*+-/=?^_`{|}~.\n"},
    {"a letter", TARGET "recipient_delimiter = x\n",
     "f:2: recipient_delimiter: \"x\" has something else than at most 4 of "
     "!#$%&'*+-/=?^_`{|}~.\n"},
    {"an at sign", TARGET "recipient_delimiter = \"@\"\n",
     "f:2: recipient_delimiter: \"@\" has something else than at most 4 of "
     "!#$%&'*+-/=?^_`{|}~.\n"},
    {"aliases", TARGET "aliases = {\"Example.com\", example.net}\n", ""},
    {"an alias of itself", TARGET "aliases = {example.net,\n Example.ORG}\n",
     "f:3: aliases: \"Example.ORG\": this is the domain itself\n"},
    {"an alias twice", TARGET "aliases = {example.net,\n Example.NET}\n",
     "f:3: aliases: \"Example.NET\": it stands in the list twice\n"},
    {"no name", TARGET "aliases = {\"a_b.example\"}\n",
     "f:2: aliases: \"a_b.example\": a host name has letters, digits, hyphens and dots only\n"},
};

static void test_recipients(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(recipient_rows); i++) {
        helper_check(&recipient_rows[i], "example.org");
    }
}

/* One recipient_list, and the sentence about it. */
static const struct {
    const char *list;
    const char *why; /* NULL: it is right */
} lists[] = {
    {"/etc/postern/lists/example.org", NULL},
    {"https://lists.example.net/example.org.txt", NULL},
    {"http://192.0.2.1:8080/list?domain=example.org", NULL},
    {"HTTPS://[2001:db8::1]:8443", NULL},
    {"https://lists.example.net/user@example.org", NULL},
    {"lists/example.org", "write an absolute path, or an http:// or https:// address"},
    {"file:///etc/passwd", "write an absolute path, or an http:// or https:// address"},
    {"https://", "write an absolute path, or an http:// or https:// address"},
    {"https:///list", "it is empty"},
    {"https://lists.example.net:0/", "the port is a number from 1 to 65535"},
    {"https://list server/", "blanks and letters beyond ASCII must be percent-encoded"},
    {"https://lists.example.net/#a", "leave out the part from # on, it is never sent"},
    {"https://me:secret@lists.example.net/",
     "a user and a password in the address are not supported; let the server allow this host's "
     "address"},
};

static void test_lists(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(lists); i++) {
        char text[512];
        char expected[512] = "";

        (void)snprintf(text, sizeof text, TARGET "recipients = {list}\nrecipient_list = \"%s\"",
                       lists[i].list);
        if (lists[i].why) {
            (void)snprintf(expected, sizeof expected, "f:3: recipient_list: \"%s\": %s\n",
                           lists[i].list, lists[i].why);
        }
        helper_check(&(struct helper_row){lists[i].list, text, expected}, "example.org");
    }
}

static const struct {
    const char *name;
    const char *why; /* NULL: it is right */
} names[] = {
    {"example.org", NULL},
    {"xn--bcher-kva.example", NULL},
    {"lan", NULL},
    {"Example.org", "rename the file to lower case"},
    {"", "it is empty"},
    {"example.org.", "leave out the dot at its end"},
    {"a..b", "it has an empty label (a dot too many)"},
    {"192.0.2.1", "it ends with a number, as addresses do"},
    {"a/b.example", "a host name has letters, digits, hyphens and dots only"},
    {"b\xc3\xbc"
     "cher.example",
     "write it as A-labels (xn--...)"},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b",
     "a label of it is longer than 63 octets"},
};

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(names); i++) {
        char expected[512] = "";
        struct pn_str shown = pn_str_sub(pn_str_z(names[i].name), 0, 60);

        if (names[i].why) {
            (void)snprintf(expected, sizeof expected,
                           "f: the file's name says the domain is \"%.*s%s\", which cannot be: "
                           "%s\n",
                           PN_FMT(shown), strlen(names[i].name) > 60 ? "..." : "",
                           names[i].why);
        }
        helper_check(&(struct helper_row){names[i].name, TARGET REST, expected}, names[i].name);
    }
}

static void test_long_name(void **state)
{
    char name[256];

    (void)state;
    for (size_t i = 0; i < 254; i++) {
        name[i] = i % 2 == 1 ? '.' : 'a';
    }
    name[254] = 'a';
    name[255] = '\0';
    helper_check(
        &(struct helper_row){"255 octets", TARGET REST,
                             "f: the file's name says the domain is "
                             "\"a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a."
                             "a.a....\", which cannot be: it is longer than 253 "
                             "octets\n"},
        name);
}

static void test_fields(void **state)
{
    struct conf_domain *domain = helper_domain(
        "example.org",
        PN_STR("target = {\"Mail.example.org\", \"[2001:db8::1]:26\", 192.0.2.1}\n"
               "service = lmtp tls = encrypt subdomains = yes sessions = 3\n" REST));

    (void)state;
    assert_string_equal(domain->name, "example.org");
    assert_string_equal(domain->destination,
                        "lmtp:mail.example.org:24,[2001:db8::1]:26,192.0.2.1:24;tls=encrypt");
    assert_int_equal(domain->target_count, 3);
    assert_string_equal(domain->targets[0].host, "mail.example.org");
    assert_false(domain->targets[0].literal);
    assert_int_equal(domain->targets[0].port, 24);
    assert_string_equal(domain->targets[1].host, "2001:db8::1");
    assert_true(domain->targets[1].literal);
    assert_int_equal(domain->targets[1].ip.family, PN_IPV6);
    assert_int_equal(domain->targets[1].port, 26);
    assert_int_equal(domain->service, CONF_LMTP);
    assert_int_equal(domain->tls, CONF_TLS_ENCRYPT);
    assert_true(domain->subdomains);
    assert_int_equal(domain->recipients.count, 1);
    assert_int_equal(domain->recipients.words[0], CONF_RECIPIENTS_ANY);
    assert_int_equal(domain->when_up, CONF_WHEN_UP_ACCEPT);
    assert_int_equal(domain->sessions, 3);
    assert_int_equal(domain->hold_ms, PN_DAYS(14));
    assert_true(sizeof *domain <= 640); /* 100,000 of them are held at once */
    conf_domain_unref(&domain);
}

static void test_recipient_fields(void **state)
{
    struct conf_domain *domain = helper_domain("example.org", PN_STR(TARGET));

    (void)state;
    assert_int_equal(domain->recipients.count, 1);
    assert_int_equal(domain->recipients.words[0], CONF_RECIPIENTS_CALL_AHEAD);
    assert_int_equal(domain->when_up, CONF_WHEN_UP_PASS_THROUGH);
    assert_int_equal(domain->unknown_when_down, CONF_UNKNOWN_DEFER);
    assert_int_equal(domain->valid_keep_ms, PN_DAYS(31));
    assert_string_equal(domain->recipient_list, "");
    assert_int_equal(domain->aliases.count, 0);
    conf_domain_unref(&domain);
    domain = helper_domain("example.org", PN_STR(TARGET LIST "recipients = {list, call-ahead}\n"
                                                             "aliases = Example.COM\n"));
    assert_int_equal(domain->recipients.count, 2);
    assert_int_equal(domain->recipients.words[0], CONF_RECIPIENTS_LIST);
    assert_int_equal(domain->recipients.words[1], CONF_RECIPIENTS_CALL_AHEAD);
    assert_string_equal(domain->aliases.items[0], "example.com");
    conf_domain_unref(&domain);
}

static const struct {
    const char *text;
    const char *formatted;
} formats[] = {
    {TARGET REST "hold = 14d\n",
     "target = {\"mail.example.org\"}\nrecipients = {any}\nwhen_up = accept\n"},
    {TARGET "recipients = {call-ahead}\nwhen_up = pass-through\nrecipient_delimiter = \"\"\n",
     "target = {\"mail.example.org\"}\n"},
    {TARGET "recipients = {call-ahead, list}\n" LIST "aliases = {\"Example.NET\", a.example}\n",
     "target = {\"mail.example.org\"}\nrecipients = {call-ahead, list}\n" LIST
     "aliases = {\"example.net\", \"a.example\"}\n"},
    {"target = {a, \"b:26\"}\nsubdomains = on\nhold = 36h\ntls = none\nsessions = 7\n" REST,
     "target = {\"a\", \"b:26\"}\nrecipients = {any}\nwhen_up = accept\nsubdomains = yes\n"
     "hold = 1d12h\ntls = none\nsessions = 7\n"},
    {TARGET REST "service = lmtp\nhold = 2w\nretry_max = 1800s\n",
     "target = {\"mail.example.org\"}\nservice = lmtp\nrecipients = {any}\nwhen_up = accept\n"},
};

static void test_format(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(formats); i++) {
        struct conf_domain *domain = helper_domain("example.org", pn_str_z(formats[i].text));
        struct conf_domain *again;
        struct pn_buf out;

        pn_buf_init(&out, 4096);
        assert_int_equal(conf_domain_format(domain, &out), 0);
        assert_int_equal(pn_buf_append_char(&out, '\0'), 0);
        assert_string_equal(pn_buf_str(&out).ptr, formats[i].formatted);
        again = helper_domain("example.org", pn_str_z(pn_buf_str(&out).ptr));
        assert_string_equal(again->destination, domain->destination);
        assert_int_equal(again->hold_ms, domain->hold_ms);
        conf_domain_unref(&again);
        conf_domain_unref(&domain);
        pn_buf_fini(&out);
    }
}

static void test_format_in_little_room(void **state)
{
    struct conf_domain *domain = helper_domain("example.org", PN_STR(TARGET REST));
    struct pn_buf out;

    (void)state;
    pn_buf_init(&out, 40);
    assert_int_equal(conf_domain_format(domain, &out), PN_ENOSPACE);
    pn_buf_fini(&out);
    conf_domain_unref(&domain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_target_lists),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_format_in_little_room),
        cmocka_unit_test(test_recipients),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_recipient_fields),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
