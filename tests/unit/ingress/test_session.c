/* Conversations with ingress: who may do what, limits, time-outs, TLS, stop. */
#include "helper_world.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define STEPS      8
#define CLIENT     "198.51.100.7"
#define GREETING   "220; "
#define ENVELOPE   "MAIL FROM:<s@sender.test>\r\nRCPT TO:<a@example.org>\r\n"
#define ENVELOPE_S "250 2.1.0; 250 2.1.5"
#define MESSAGE    ENVELOPE "DATA\r\nSubject: x\r\n\r\nhello\r\n.\r\n"
#define MESSAGE_S  ENVELOPE_S "; 354; 250 2.0.0"

static struct client *hello(struct world *world)
{
    struct client *client = world_connect(world, CLIENT);

    assert_string_equal(client_say(client, "EHLO c.test\r\n"), "220; 250");
    return client;
}

/* ---- conversations as a table --------------------------------------------------------- */

struct step {
    const char *send;
    const char *expected;
};
struct conversation {
    const char *name;
    const char *conf;
    struct step steps[STEPS];
};

static const struct conversation conversations[] = {
    {"a mail", "", {{"EHLO c.test\r\n", "220; 250"}, {MESSAGE, MESSAGE_S}}},
    {"two mails",
     "",
     {{"EHLO c.test\r\n", "220; 250"}, {MESSAGE, MESSAGE_S}, {MESSAGE, MESSAGE_S}}},
    {"all at once",
     "",
     {{"EHLO c.test\r\n" MESSAGE MESSAGE "QUIT\r\n",
       "220; 250; " MESSAGE_S "; " MESSAGE_S "; 221 2.0.0; closed"}}},
    {"HELO", "", {{"HELO c.test\r\n" MESSAGE, "220; 250; " MESSAGE_S}}},
    {"nothing but QUIT", "", {{"QUIT\r\n", "220; 221 2.0.0; closed"}}},
    {"no EHLO", "", {{"MAIL FROM:<>\r\n", "220; 503 5.5.1"}}},
    {"null sender",
     "",
     {{"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n", "220; 250; " ENVELOPE_S}}},
    {"RSET drops the transaction",
     "",
     {{"EHLO c\r\n" ENVELOPE "RSET\r\nDATA\r\n",
       "220; 250; " ENVELOPE_S "; 250 2.0.0; 503 5.5.1"}}},
    {"EHLO drops the transaction",
     "",
     {{"EHLO c\r\n" ENVELOPE "EHLO c\r\nDATA\r\n",
       "220; 250; " ENVELOPE_S "; 250; 503 5.5.1"}}},
    {"a refused recipient leaves the others",
     "",
     {{"EHLO c\r\n" ENVELOPE "RCPT TO:<x@evil.test>\r\nDATA\r\n",
       "220; 250; " ENVELOPE_S "; 550 5.7.1; 354"}}},
    {"no recipient was accepted",
     "",
     {{"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<x@evil.test>\r\nDATA\r\n",
       "220; 250; 250 2.1.0; 550 5.7.1; 503 5.5.1"}}},
    {"small commands",
     "",
     {{"EHLO c\r\nNOOP\r\nHELP\r\nVRFY a@example.org\r\nEXPN list\r\nRSET\r\n",
       "220; 250; 250 2.0.0; 214 2.0.0; 252 2.1.5; 252 2.1.5; 250 2.0.0"}}},
    {"VRFY of nonsense", "", {{"EHLO c\r\nVRFY no@such.test\r\n", "220; 250; 252 2.1.5"}}},
    {"SIZE too large",
     "message_size = \"64K\"",
     {{"EHLO c\r\nMAIL FROM:<> SIZE=65537\r\n", "220; 250; 552 5.3.4"}}},
    {"SIZE beyond 64 bits",
     "",
     {{"EHLO c\r\nMAIL FROM:<> SIZE=18446744073709551617\r\n", "220; 250; 552 5.3.4"}}},
    {"postmaster",
     "",
     {{"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\n", "220; 250; " ENVELOPE_S}}},
    {"ETRN from a stranger", "", {{"EHLO c\r\nETRN example.org\r\n", "220; 250; 459 4.7.1"}}},
    {"ETRN of nobody",
     "etrn_clients = {\"198.51.100.0/24\"}",
     {{"EHLO c\r\nETRN #'; DROP\r\n", "220; 250; 501 5.5.4"}}},
    {"too many errors",
     "errors_max = 4",
     {{"X\r\nX\r\n", "220; 500 5.5.2; 500 5.5.2"},
      {"X\r\n", ""}, /* this answer comes a second later */
      {NULL, "500 5.5.2"},
      {"X\r\nNOOP\r\n", "421 4.7.0; closed"}}},
    {"refused recipients are errors",
     "errors_max = 3",
     {{"EHLO c\r\nMAIL FROM:<>\r\n", "220; 250; 250 2.1.0"},
      {"RCPT TO:<x@evil.test>\r\n", "550 5.7.1"},
      {"RCPT TO:<x@evil.test>\r\nRCPT TO:<x@evil.test>\r\n", ""},
      {NULL, "550 5.7.1; 421 4.7.0; closed"}}},
    {"VRFY is an error",
     "errors_max = 3",
     {{"VRFY a\r\n", "220; 252 2.1.5"},
      {"VRFY b\r\nVRFY c\r\n", ""},
      {NULL, "252 2.1.5; 421 4.7.0; closed"}}},
    {"a browser", "", {{"GET / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<>\r\n", "220; closed"}}},
    {"a TLS hello", "", {{"\x16\x03\x01\x02\r\n", "220; closed"}}},
    {"NUL in a command", "", {{NULL, "220"}, {"EHLO c\r\nNO\nOP\r\n", "250; 500 5.5.2"}}},
    {"a bare LF does not make two commands of one",
     "",
     {{"EHLO c\r\nMAIL FROM:<>\nRCPT TO:<a@example.org>\r\n", "220; 250; 500 5.5.2"}}},
    {"STARTTLS before EHLO", "", {{"STARTTLS\r\n", "220; 503 5.5.1"}}},
    {"STARTTLS with an argument", "", {{"EHLO c\r\nSTARTTLS now\r\n", "220; 250; 501 5.5.4"}}},
    {"STARTTLS in a transaction",
     "",
     {{"EHLO c\r\nMAIL FROM:<>\r\nSTARTTLS\r\n", "220; 250; 250 2.1.0; 503 5.5.1"}}},
    {"UTF-8 without SMTPUTF8",
     "",
     {{"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<j\xc3\xb6rg@example.org>\r\n",
       "220; 250; 250 2.1.0; 553 5.6.7"}}},
};

static void test_conversations(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(conversations); i++) {
        const struct conversation *row = &conversations[i];
        struct world *world = world_new(row->conf);
        struct client *client = world_connect(world, CLIENT);

        print_message("%s\n", row->name);
        for (size_t n = 0; n < STEPS && row->steps[n].expected; n++) {
            if (row->steps[n].send) {
                client_write(client, pn_str_z(row->steps[n].send));
                world_run(world);
            } else {
                world_pass(world, PN_SECONDS(2));
            }
            assert_string_equal(client_replies(client), row->steps[n].expected);
        }
        world_free(&world);
    }
}

/* ---- open relay ------------------------------------------------------------------------ */

struct relay_row {
    const char *sender;
    const char *recipient;
};

/* The classic third-party tests (FAULTS, end of section 3), and ours. */
static const struct relay_row relay_rows[] = {
    {"<s@evil.test>", "<x@evil.test>"},
    {"<s@example.org>", "<x@evil.test>"},
    {"<>", "<x@evil.test>"},
    {"<s@localhost>", "<x@evil.test>"},
    {"<s@[127.0.0.1]>", "<x@evil.test>"},
    {"<s@example.org>", "<x%evil.test@example.org>"},
    {"<s@example.org>", "<x%evil.test@[127.0.0.1]>"},
    {"<s@example.org>", "<\"x@evil.test\">"},
    {"<s@example.org>", "<\"x%evil.test\">"},
    {"<s@example.org>", "<x@evil.test@example.org>"},
    {"<s@example.org>", "<\"x@evil.test\"@example.org>"},
    {"<s@example.org>", "<x@evil.test@[127.0.0.1]>"},
    {"<s@example.org>", "<@example.org:x@evil.test>"},
    {"<s@example.org>", "<@[127.0.0.1]:x@evil.test>"},
    {"<s@example.org>", "<evil.test!x>"},
    {"<s@example.org>", "<evil.test!x@example.org>"},
    {"<s@example.org>", "<evil.test!x@[127.0.0.1]>"},
    {"<>", "<x@evil.test.>"},
    {"<>", "<x@[127.0.0.1]>"},
    {"<>", "<x@localhost>"},
    {"<>", "<x@example.org.evil.test>"},
    {"<>", "<x@xexample.org>"},
    {"<>", "<x@evil.test(example.org)>"},
    {"<>", "<x@evil.test#@example.org>"},
    {"<>", "<x@evil.test@example.org>"},
    {"<>", "<x@example.org><x@evil.test>"},
    {"<>", "<\"x\\\"@evil.test\"@example.org>"},
    {"<>", "<x@[IPv6:::1]>"},
    {"<>", "<x@[IPv6:::ffff:127.0.0.1]>"},
    {"<>", "<x@sub.example.org>"},
    {"<>", "<>"},
    {"<>", "x@example.org>"},
};

static void test_relays_for_nobody_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(relay_rows); i++) {
        const struct relay_row *row = &relay_rows[i];
        struct world *world = world_new("");
        struct client *client = hello(world);
        char text[256];

        print_message("from %s to %s\n", row->sender, row->recipient);
        snprintf(text, sizeof text, "MAIL FROM:%s\r\n", row->sender);
        assert_string_equal(client_say(client, text), "250 2.1.0");
        snprintf(text, sizeof text, "RCPT TO:%s\r\n", row->recipient);
        assert_int_equal(client_say(client, text)[0], '5');
        assert_string_equal(client_say(client, "DATA\r\n"), "503 5.5.1");
        world_free(&world);
    }
}

static void test_a_nul_hides_nothing(void **state)
{
    struct world *world = world_new("");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, "MAIL FROM:<>\r\n"), "250 2.1.0");
    assert_string_equal(
        client_say_str(client, PN_STR("RCPT TO:<x@evil.test\0.example.org>\r\n")), "500 5.5.2");
    world_free(&world);
}

/* ---- what is stored -------------------------------------------------------------------- */

static void test_stores_a_mail(void **state)
{
    struct world *world = world_new("");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, MESSAGE), MESSAGE_S);
    assert_int_equal(world->job_count, 1);
    assert_string_equal(world->jobs[0].queue, "example.org");
    assert_int_equal(world->jobs[0].job.flags, 0);
    assert_int_equal(world->jobs[0].job.due_ms,
                     queue_clock_now(&world->clock, world->loop.now));
    assert_string_equal(world_message(world, 0), "a@example.org|Subject: x\r\n\r\nhello\r\n");
    assert_non_null(strstr(world_received(world, 0), "from c.test "));
    assert_non_null(strstr(world_received(world, 0), "[198.51.100.7]"));
    assert_non_null(strstr(world_received(world, 0), "by mx2.example.net "));
    assert_non_null(strstr(world_received(world, 0), "with ESMTP "));
    assert_non_null(strstr(world_received(world, 0), "for <a@example.org>"));
    assert_true(world_logged(world, "message.stored peer=198.51.100.7 qid="));
    assert_true(world_logged(world, "from=s@sender.test rcpts=1 to=a@example.org size="));
    assert_int_equal(stats_get(world->counters, STATS_MESSAGES_STORED), 1);
    assert_int_equal(stats_get(world->counters, STATS_RCPT_ACCEPTED), 1);
    assert_int_equal(stats_get(world->counters, STATS_CONNECTIONS), 1);
    assert_int_equal(stats_get(world->counters, STATS_OCTETS_STORED),
                     world->jobs[0].job.size_octets);
    assert_int_equal(policy_memory_used(world->limits), 0);
    assert_string_equal(client_say(client, "QUIT\r\n"), "221 2.0.0; closed");
    assert_true(world_logged(world, "smtp.disconnect peer=198.51.100.7 end=quit"));
    assert_true(world_logged(world, " messages=1 rcpts=1 refused=0 errors=0 "));
    world_free(&world);
}

static void test_one_job_for_each_queue(void **state)
{
    struct world *world = world_new("");
    struct client *client = hello(world);

    (void)state;
    client_say(client, "MAIL FROM:<s@sender.test>\r\nRCPT TO:<a@example.org>\r\n"
                       "RCPT TO:<b@example.net>\r\nRCPT TO:<c@example.org>\r\n"
                       "RCPT TO:<d@sub.example.com>\r\nRCPT TO:<a@EXAMPLE.org>\r\n"
                       "RCPT TO:<A@example.org>\r\nRCPT TO:<postmaster>\r\n");
    assert_string_equal(client_say(client, "DATA\r\nx\r\n.\r\n"), "354; 250 2.0.0");
    assert_int_equal(world->job_count, 3);
    assert_string_equal(world->jobs[0].queue, "example.org");
    assert_string_equal(world_message(world, 0),
                        "a@example.org c@example.org A@example.org|x\r\n");
    assert_string_equal(world->jobs[1].queue, "example.net");
    assert_string_equal(world_message(world, 1), "b@example.net postmaster@example.net|x\r\n");
    assert_string_equal(world->jobs[2].queue, "example.com");
    assert_string_equal(world_message(world, 2), "d@sub.example.com|x\r\n");
    assert_null(strstr(world_received(world, 0), "for <"));
    assert_true(world_logged(world, " rcpts=6 "));
    world_free(&world);
}

struct protocol_row {
    const char *name;
    const char *hello;
    bool tls;
    const char *params;
    const char *with;
};

static const struct protocol_row protocol_rows[] = {
    {"HELO", "HELO c\r\n", false, "", "with SMTP "},
    {"EHLO", "EHLO c\r\n", false, "", "with ESMTP "},
    {"TLS", "EHLO c\r\n", true, "", "with ESMTPS "},
    {"SMTPUTF8", "EHLO c\r\n", false, " SMTPUTF8", "with UTF8SMTP "},
    {"SMTPUTF8 and TLS", "EHLO c\r\n", true, " SMTPUTF8", "with UTF8SMTPS "},
};

static void test_received_names_the_protocol(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(protocol_rows); i++) {
        const struct protocol_row *row = &protocol_rows[i];
        struct world *world = world_new("");
        struct client *client = world_connect(world, CLIENT);
        char text[512];

        print_message("%s\n", row->name);
        client_say(client, row->hello);
        if (row->tls) {
            client_say(client, "STARTTLS\r\n");
            client_secure(client, true);
            client_say(client, row->hello);
        }
        snprintf(text, sizeof text,
                 "MAIL FROM:<>%s\r\nRCPT TO:<a@example.org>\r\nDATA\r\n.\r\n", row->params);
        assert_string_equal(client_say(client, text), MESSAGE_S);
        assert_non_null(strstr(world_received(world, 0), row->with));
        assert_int_equal(strstr(world_received(world, 0), "TLSv1.3") != NULL, row->tls);
        world_free(&world);
    }
}

static void answer_query(struct world *world, enum resolver_status status, const char *name,
                         const char *address)
{
    struct resolver_query *query = world->asked;
    struct resolver_record record = {0};
    struct resolver_answer answer = {
        .status = status, .why = "", .count = 1, .records = &record};

    snprintf(record.name, sizeof record.name, "%s", name);
    if (address[0]) {
        assert_true(pn_ip_parse(pn_str_z(address), &record.ip));
    }
    query->pending = NULL;
    world->asked = NULL;
    query->on_answer(query, &answer);
}

static void test_a_name_counts_when_it_leads_back(void **state)
{
    static const char *const addresses[] = {CLIENT, "203.0.113.1"};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(addresses); i++) {
        struct world *world = world_new("");
        struct client *client = hello(world);

        assert_string_equal(world->asked_name, CLIENT);
        assert_int_equal(world->asked_type, RESOLVER_PTR);
        answer_query(world, RESOLVER_FOUND, "client.test", "");
        assert_string_equal(world->asked_name, "client.test");
        assert_int_equal(world->asked_type, RESOLVER_A);
        answer_query(world, RESOLVER_FOUND, "", addresses[i]);
        client_say(client, MESSAGE);
        assert_int_equal(strstr(world_received(world, 0), "(client.test ") != NULL, i == 0);
        assert_null(world->asked);
        world_free(&world);
    }
}

static void test_a_slow_resolver_delays_nothing(void **state)
{
    struct world *world = world_new("");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, MESSAGE "QUIT\r\n"),
                        MESSAGE_S "; 221 2.0.0; closed");
    assert_null(world->asked); /* withdrawn */
    world_free(&world);
}

static void test_signs_of_life(void **state)
{
    struct world *world = world_new("");
    struct client *target = world_connect(world, "192.0.2.25");

    (void)state;
    client_say(target, "EHLO mail.example.org\r\n");
    assert_string_equal(client_say(target, "ETRN example.org\r\n"), "250 2.0.0");
    assert_int_equal(world->sign_count, 1);
    assert_string_equal(world->signs[0], "example.org flush");
    assert_string_equal(client_say(target, ENVELOPE), ENVELOPE_S);
    assert_string_equal(client_say(target, "RSET\r\n" ENVELOPE), "250 2.0.0; " ENVELOPE_S);
    assert_int_equal(world->sign_count, 2); /* once in a session */
    assert_string_equal(world->signs[1], "example.org");
    world_free(&world);
}

/* ---- limits ---------------------------------------------------------------------------- */

static void test_recipients_have_a_limit_that_is_no_error(void **state)
{
    struct world *world = world_new("recipients_max = 100\nerrors_max = 3\n");
    struct client *client = hello(world);
    char text[64];

    (void)state;
    client_say(client, "MAIL FROM:<>\r\n");
    for (int i = 0; i < 110; i++) {
        snprintf(text, sizeof text, "RCPT TO:<r%d@example.org>\r\n", i);
        assert_string_equal(client_say(client, text), i < 100 ? "250 2.1.5" : "452 4.5.3");
    }
    assert_string_equal(client_say(client, "DATA\r\n.\r\n"), "354; 250 2.0.0");
    assert_int_equal(world->jobs[0].job.recipients, 100);
    assert_int_equal(stats_get(world->counters, STATS_RCPT_REFUSED), 10);
    world_free(&world);
}

static void test_recipients_cost_memory(void **state)
{
    struct world *world = world_new("recipients_max = 2000\nmemory = \"16M\"\n");
    struct client *client = hello(world);
    uint64_t rest = policy_memory_max(world->limits);
    char text[64];
    int taken = 0;

    (void)state;
    assert_true(policy_memory_take(world->limits, rest));
    client_say(client, "MAIL FROM:<>\r\n");
    do {
        snprintf(text, sizeof text, "RCPT TO:<r%d@example.org>\r\n", taken++);
        assert_true(taken < 1000);
    } while (strcmp(client_say(client, text), "250 2.1.5") == 0);
    assert_true(taken > 10); /* small transactions are free */
    policy_memory_give(world->limits, rest);
    assert_string_equal(client_say(client, text), "250 2.1.5");
    assert_true(policy_memory_used(world->limits) > 0);
    client_say(client, "RSET\r\n");
    assert_int_equal(policy_memory_used(world->limits), 0);
    world_free(&world);
}

static void test_sessions_have_limits(void **state)
{
    struct world *world = world_new("sessions_max = 10\nsessions_per_network = 1\n"
                                    "unlimited_networks = {\"203.0.113.0/24\"}\n");
    struct client *first = world_connect(world, CLIENT);
    struct client *second = world_connect(world, "198.51.100.8");

    (void)state;
    assert_string_equal(client_replies(first), "220");
    assert_string_equal(client_replies(second), "421 4.3.2; closed");
    for (int i = 0; i < 9; i++) {
        assert_string_equal(client_replies(world_connect(world, "203.0.113.1")), "220");
    }
    assert_string_equal(client_replies(world_connect(world, "203.0.113.1")),
                        "421 4.3.2; closed");
    assert_int_equal(stats_get(world->counters, STATS_CONNECTIONS), 10);
    assert_int_equal(stats_get(world->counters, STATS_CONNECTIONS_REFUSED), 2);
    assert_true(world_logged(world, "smtp.refused-connect peer=198.51.100.8"));
    client_fail(first);
    assert_int_equal(ingress_sessions(world->ingress), 9);
    assert_string_equal(client_replies(world_connect(world, "198.51.100.8")), "220");
    world_free(&world);
}

static void test_noop_does_not_go_on_forever(void **state)
{
    struct world *world = world_new("errors_max = 3");
    struct client *client = hello(world);
    int count = 0;

    (void)state;
    while (!client->closed) {
        client_say(client, "NOOP\r\n");
        world_pass(world, PN_SECONDS(2));
        assert_true(++count < 200);
    }
    assert_true(count >= 100);
    world_free(&world);
}

static void test_who_does_not_read_is_not_read_from(void **state)
{
    struct world *world = world_new("");
    struct client *client = hello(world);
    struct pn_buf text;

    (void)state;
    client->deaf = true;
    pn_buf_init(&text, 1 << 20);
    assert_int_equal(pn_buf_append_z(&text, "MAIL FROM:<>\r\n"), 0);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(pn_buf_append_z(&text, "RCPT TO:<a@example.org>\r\n"), 0);
    }
    client_write(client, pn_buf_str(&text));
    world_run(world);
    assert_true(pn_buf_str(&client->unsent).len > 16 << 10);
    assert_true(pn_buf_str(&client->unsent).len < 20 << 10);
    assert_true(pn_buf_str(&client->in).len > 0);
    world_pass(world, PN_MINUTES(5) - 1);
    assert_false(client->closed);
    world_pass(world, 2);
    assert_true(client->aborted);
    pn_buf_fini(&text);
    world_free(&world);
}

static void test_who_reads_late_is_answered_in_full(void **state)
{
    struct world *world = world_new("");
    struct client *client = hello(world);
    struct pn_buf text;

    (void)state;
    client->deaf = true;
    pn_buf_init(&text, 1 << 20);
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(
            pn_buf_append_z(&text, i == 0 ? "MAIL FROM:<>\r\n" : "RCPT TO:<a@example.org>\r\n"),
            0);
    }
    client_write(client, pn_buf_str(&text));
    world_run(world);
    client->deaf = false;
    world_run(world);
    assert_int_equal(strlen(client_replies(client)), 2000 * strlen("250 2.1.5; ") - 2);
    assert_int_equal(pn_buf_str(&client->in).len, 0);
    pn_buf_fini(&text);
    world_free(&world);
}

/* ---- time ------------------------------------------------------------------------------ */

static void test_waits_for_a_command(void **state)
{
    struct world *world = world_new("command_timeout = \"1m\"");
    struct client *client = hello(world);

    (void)state;
    world_pass(world, PN_SECONDS(59));
    assert_string_equal(client_say(client, "NOOP\r\n"), "250 2.0.0");
    world_pass(world, PN_SECONDS(59));
    /* Half a command is none. */
    assert_string_equal(client_say(client, "NO"), "");
    world_pass(world, PN_SECONDS(2));
    assert_string_equal(client_replies(client), "421 4.4.2; closed");
    assert_true(world_logged(world, "end=timeout"));
    world_free(&world);
}

static void test_waits_for_text(void **state)
{
    struct world *world = world_new("data_timeout = \"1m\"\ncommand_timeout = \"10s\"\n");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, ENVELOPE "DATA\r\n"), ENVELOPE_S "; 354");
    for (int i = 0; i < 5; i++) {
        world_pass(world, PN_SECONDS(59));
        client_say(client, "x\r\n");
    }
    world_pass(world, PN_SECONDS(61));
    assert_string_equal(client_replies(client), "421 4.4.2; closed");
    assert_int_equal(world->job_count, 0);
    world_free(&world);
}

static void test_text_that_is_thrown_away_counts_as_well(void **state)
{
    struct world *world = world_new("data_timeout = \"1m\"");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, ENVELOPE "DATA\r\nx\ny\r\n"), ENVELOPE_S "; 354");
    for (int i = 0; i < 5; i++) {
        world_pass(world, PN_SECONDS(59));
        assert_string_equal(client_say(client, "x\r\n"), "");
    }
    assert_string_equal(client_say(client, ".\r\n"), "550 5.6.11");
    assert_int_equal(policy_memory_used(world->limits), 0);
    world_free(&world);
}

static void test_a_transaction_has_an_end(void **state)
{
    struct world *world = world_new("transaction_time = \"10m\"");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, ENVELOPE "DATA\r\n"), ENVELOPE_S "; 354");
    for (int i = 0; i < 9; i++) {
        world_pass(world, PN_MINUTES(1));
        assert_string_equal(client_say(client, "x\r\n"), "");
    }
    world_pass(world, PN_MINUTES(1));
    assert_string_equal(client_replies(client), "421 4.4.2; closed");
    world_free(&world);
}

/* ---- TLS ------------------------------------------------------------------------------- */

static void test_tls_begins_anew(void **state)
{
    struct world *world = world_new("");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, "STARTTLS\r\n"), "220 2.0.0");
    client_secure(client, true);
    assert_string_equal(client_say(client, "MAIL FROM:<>\r\n"), "503 5.5.1");
    assert_string_equal(client_say(client, "EHLO c\r\nSTARTTLS\r\n"), "250; 503 5.5.1");
    assert_string_equal(client_say(client, MESSAGE), MESSAGE_S);
    assert_int_equal(stats_get(world->counters, STATS_TLS_SESSIONS), 1);
    assert_true(world_logged(world, "smtp.tls "));
    world_free(&world);
}

static void test_plaintext_after_starttls_ends_it(void **state)
{
    static const char *const injections[] = {"STARTTLS\r\nEHLO evil\r\n", "STARTTLS\r\nM",
                                             "STARTTLS\r\n\r\n", "STARTTLS\r\n\n"};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(injections); i++) {
        struct world *world = world_new("");
        struct client *client = hello(world);

        client_say(client, injections[i]);
        assert_true(client->aborted);
        assert_true(world_logged(world, "plaintext after STARTTLS"));
        world_free(&world);
    }
}

static void test_a_handshake_fails(void **state)
{
    struct world *world = world_new("command_timeout = \"1m\"");
    struct client *broken = hello(world);
    struct client *slow = hello(world);

    (void)state;
    client_say(broken, "STARTTLS\r\n");
    client_secure(broken, false);
    assert_true(broken->aborted);
    assert_true(world_logged(world, "smtp.tls-failed peer=198.51.100.7 what=\"it broke\""));
    client_say(slow, "STARTTLS\r\n");
    world_pass(world, PN_SECONDS(61));
    assert_true(slow->aborted);
    world_free(&world);
}

static void test_tls_is_gone_after_a_reload(void **state)
{
    struct world *world = world_new("");
    struct client *client = hello(world);
    struct ingress_settings settings = {world->conf, world->domains, NULL};

    (void)state;
    ingress_configure(world->ingress, &settings);
    assert_string_equal(client_say(client, "STARTTLS\r\n"), "454 4.7.0");
    world_free(&world);
}

static void test_a_domain_counts_from_the_next_mail_on(void **state)
{
    struct world *world = world_new("");
    struct client *client = hello(world);
    struct domains_change gone = {.name = PN_STR("example.org")};
    struct domains *less = domains_with(world->domains, &gone, 1);
    struct ingress_settings settings = {world->conf, less, &world->tls};

    (void)state;
    client_say(client, "MAIL FROM:<>\r\n");
    ingress_configure(world->ingress, &settings);
    domains_unref(&less);
    assert_string_equal(client_say(client, "RCPT TO:<a@example.org>\r\n"), "250 2.1.5");
    assert_string_equal(client_say(client, "RSET\r\n" ENVELOPE),
                        "250 2.0.0; 250 2.1.0; 550 5.7.1");
    world_free(&world);
}

/* ---- the end --------------------------------------------------------------------------- */

struct stop_row {
    const char *name;
    const char *say; /* before the stop */
    bool store_stopped;
    bool waits;       /* the ingress does not stop at once */
    const char *then; /* what the client says after it */
    const char *expected;
};

static const struct stop_row stop_rows[] = {
    {"fresh", "", false, false, "", "220; 421 4.3.2; closed"},
    {"greeted", "EHLO c\r\n", false, false, "", "220; 250; 421 4.3.2; closed"},
    {"half a command", "EHLO c\r\nNO", false, false, "", "220; 250; 421 4.3.2; closed"},
    {"in a pause", "X\r\nX\r\nX\r\n", false, false, "",
     "220; 500 5.5.2; 500 5.5.2; 500 5.5.2; 421 4.3.2; closed"},
    {"handshake", "EHLO c\r\nSTARTTLS\r\n", false, false, "", "220; 250; 220 2.0.0; aborted"},
    {"after MAIL", "EHLO c\r\nMAIL FROM:<>\r\n", false, true, "RSET\r\n",
     "220; 250; 250 2.1.0; 250 2.0.0; 421 4.3.2; closed"},
    {"in text", "EHLO c\r\n" ENVELOPE "DATA\r\nx\r\n", false, true, ".\r\n",
     "220; 250; " ENVELOPE_S "; 354; 250 2.0.0; 421 4.3.2; closed"},
    {"while storing", "EHLO c\r\n" MESSAGE, true, true, "",
     "220; 250; " MESSAGE_S "; 421 4.3.2; closed"},
};

static void test_stops_in_each_state(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(stop_rows); i++) {
        const struct stop_row *row = &stop_rows[i];
        struct world *world = world_new("errors_max = 5");
        struct client *client = world_connect(world, CLIENT);

        print_message("%s\n", row->name);
        world->store.stopped = row->store_stopped;
        client_write(client, pn_str_z(row->say));
        world_run(world);
        world_stop(world);
        world_run(world);
        assert_int_equal(world->stopped, !row->waits);
        assert_string_equal(client_replies(world_connect(world, CLIENT)), "421 4.3.2; closed");
        world->store.stopped = false;
        client_write(client, pn_str_z(row->then));
        world_run(world);
        assert_string_equal(client_replies(client), row->expected);
        assert_true(world->stopped);
        world_free(&world);
    }
}

/* The same states, ended at once. While a message is being stored nobody knows what becomes of
 * it, and nothing is said. */
static void test_frees_in_each_state(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(stop_rows); i++) {
        const struct stop_row *row = &stop_rows[i];
        struct world *world = world_new("errors_max = 5");
        struct client *client = world_connect(world, CLIENT);

        print_message("%s\n", row->name);
        world->store.stopped = row->store_stopped;
        client_write(client, pn_str_z(row->say));
        world_run(world);
        ingress_free(&world->ingress);
        assert_true(client->closed);
        assert_int_equal(strstr(client_replies(client), "421 4.3.2") != NULL,
                         !row->store_stopped && strcmp(row->name, "handshake") != 0);
        assert_int_equal(policy_sessions(world->limits), 0);
        assert_int_equal(policy_memory_used(world->limits), 0);
        world_free(&world);
    }
}

static void test_stops_without_a_session(void **state)
{
    struct world *world = world_new("");

    (void)state;
    world_stop(world);
    world_run(world);
    assert_true(world->stopped);
    world_free(&world);
}

static void test_a_client_that_goes_ends_its_session(void **state)
{
    struct world *world = world_new("");
    struct client *gone = hello(world);
    struct client *ended = hello(world);

    (void)state;
    client_say(gone, ENVELOPE "DATA\r\nhalf a");
    client_fail(gone);
    assert_true(gone->aborted);
    /* What was said before the end is still done, and answered. */
    client_write(ended, PN_STR(MESSAGE));
    client_end(ended);
    assert_string_equal(client_replies(ended), MESSAGE_S "; closed");
    assert_int_equal(ingress_sessions(world->ingress), 0);
    assert_int_equal(world->job_count, 1);
    world_free(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversations),
        cmocka_unit_test(test_relays_for_nobody_else),
        cmocka_unit_test(test_a_nul_hides_nothing),
        cmocka_unit_test(test_stores_a_mail),
        cmocka_unit_test(test_one_job_for_each_queue),
        cmocka_unit_test(test_received_names_the_protocol),
        cmocka_unit_test(test_a_name_counts_when_it_leads_back),
        cmocka_unit_test(test_a_slow_resolver_delays_nothing),
        cmocka_unit_test(test_signs_of_life),
        cmocka_unit_test(test_recipients_have_a_limit_that_is_no_error),
        cmocka_unit_test(test_recipients_cost_memory),
        cmocka_unit_test(test_sessions_have_limits),
        cmocka_unit_test(test_noop_does_not_go_on_forever),
        cmocka_unit_test(test_who_does_not_read_is_not_read_from),
        cmocka_unit_test(test_who_reads_late_is_answered_in_full),
        cmocka_unit_test(test_waits_for_a_command),
        cmocka_unit_test(test_waits_for_text),
        cmocka_unit_test(test_text_that_is_thrown_away_counts_as_well),
        cmocka_unit_test(test_a_transaction_has_an_end),
        cmocka_unit_test(test_tls_begins_anew),
        cmocka_unit_test(test_plaintext_after_starttls_ends_it),
        cmocka_unit_test(test_a_handshake_fails),
        cmocka_unit_test(test_tls_is_gone_after_a_reload),
        cmocka_unit_test(test_a_domain_counts_from_the_next_mail_on),
        cmocka_unit_test(test_stops_in_each_state),
        cmocka_unit_test(test_frees_in_each_state),
        cmocka_unit_test(test_stops_without_a_session),
        cmocka_unit_test(test_a_client_that_goes_ends_its_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
