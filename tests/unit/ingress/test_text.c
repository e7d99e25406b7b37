/* The text of messages: where it ends, what is kept, what it costs, what the store says. */
#include "helper_world.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CLIENT     "198.51.100.7"
#define ENVELOPE   "MAIL FROM:<s@sender.test>\r\nRCPT TO:<a@example.org>\r\n"
#define ENVELOPE_S "250 2.1.0; 250 2.1.5"
#define MESSAGE    ENVELOPE "DATA\r\nSubject: x\r\n\r\nhello\r\n.\r\n"
#define MESSAGE_S  ENVELOPE_S "; 354; 250 2.0.0"

static struct client *begin(struct world *world, const char *more)
{
    struct client *client = world_connect(world, CLIENT);

    client_say(client, "EHLO c.test\r\n" ENVELOPE);
    client_say(client, more);
    return client;
}

/* ---- the end of a message --------------------------------------------------------------- */

struct text_row {
    const char *name;
    const char *begin; /* "DATA\r\n", or "" */
    struct pn_str text;
    const char *expected;           /* all replies to text, when bare_newline = reject */
    const char *stored;             /* the message, "" : none */
    const char *expected_normalise; /* NULL: as with reject */
    const char *stored_normalise;
};

#define S(literal)                                                                             \
    {                                                                                          \
        literal, sizeof(literal) - 1                                                           \
    }
#define EVIL "MAIL FROM:<e@evil.test>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nevil\r\n.\r\n"

/* FAULTS 1.1 to 1.8: after each of the false ends a second mail would follow. */
static const struct text_row text_rows[] = {
    {"the true end", "DATA\r\n", S("a\r\n.\r\n"), "250 2.0.0", "a\r\n", NULL, NULL},
    {"empty", "DATA\r\n", S(".\r\n"), "250 2.0.0", "", NULL, NULL},
    {"stuffed dots", "DATA\r\n", S("..\r\n..a\r\n.b\r\na.\r\n.\r\n"), "250 2.0.0",
     ".\r\n.a\r\nb\r\na.\r\n", NULL, NULL},
    {"two mails", "DATA\r\n", S("a\r\n.\r\n" EVIL), "250 2.0.0; " MESSAGE_S, "a\r\n", NULL,
     NULL},
    {"LF . LF", "DATA\r\n", S("a\n.\n" EVIL), "550 5.6.11", "", "250 2.0.0",
     "a\r\n.\r\nMAIL FROM:<e@evil.test>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nevil\r\n"},
    {"LF . CR LF", "DATA\r\n", S("a\n.\r\nx\r\n.\r\n"), "550 5.6.11", "", "250 2.0.0",
     "a\r\n.\r\nx\r\n"},
    {"CR LF . LF", "DATA\r\n", S("a\r\n.\nx\r\n.\r\n"), "550 5.6.11", "", "250 2.0.0",
     "a\r\n\r\nx\r\n"},
    {"CR LF . CR CR LF", "DATA\r\n", S("a\r\n.\r\r\nx\r\n.\r\n"), "550 5.6.11", "", "250 2.0.0",
     "a\r\n\r\n\r\nx\r\n"},
    {"CR . CR", "DATA\r\n", S("a\r.\rx\r\n.\r\n"), "550 5.6.11", "", "250 2.0.0",
     "a\r\n.\r\nx\r\n"},
    {"CR . CR LF", "DATA\r\n", S("a\r.\r\nx\r\n.\r\n"), "550 5.6.11", "", "250 2.0.0",
     "a\r\n.\r\nx\r\n"},
    {"CR LF . CR", "DATA\r\n", S("a\r\n.\rx\r\n.\r\n"), "550 5.6.11", "", "250 2.0.0",
     "a\r\n\r\nx\r\n"},
    {"CR LF NUL . CR LF", "DATA\r\n", S("a\r\n\0.\r\n.\r\n"), "250 2.0.0", "a\r\n", NULL, NULL},
    {"CR LF . NUL CR LF", "DATA\r\n", S("a\r\n.\0\r\n.\r\n"), "250 2.0.0", "a\r\n", NULL, NULL},
    {"a bare CR", "DATA\r\n", S("a\rb\r\n.\r\n"), "550 5.6.11", "", "250 2.0.0", "a\r\nb\r\n"},
    {"refused text holds commands", "DATA\r\n",
     S("\n\r\n"
       "QUIT\r\n.\r\nNOOP\r\n"),
     "550 5.6.11; 250 2.0.0", "", "250 2.0.0; 250 2.0.0", "\r\n\r\nQUIT\r\n"},
    {"BDAT", "", S("BDAT 6 LAST\r\nab\r\n\r\n"), "250 2.0.0", "ab\r\n\r\n", NULL, NULL},
    {"BDAT in pieces", "", S("BDAT 3\r\nab\rBDAT 0\r\nBDAT 1\r\n\nBDAT 3 LAST\r\nc\r\n"),
     "250 2.0.0; 250 2.0.0; 250 2.0.0; 250 2.0.0", "ab\r\nc\r\n", NULL, NULL},
    {"BDAT 0 LAST", "", S("BDAT 0 LAST\r\n"), "250 2.0.0", "", NULL, NULL},
    {"BDAT without a last line end", "", S("BDAT 1 LAST\r\na"), "250 2.0.0", "a\r\n", NULL,
     NULL},
    {"BDAT with dots", "",
     S("BDAT 7 LAST\r\n\r\n.\r\n.\r"
       "NOOP\r\n"),
     "550 5.6.11; 250 2.0.0", "", "250 2.0.0; 250 2.0.0", "\r\n.\r\n.\r\n"},
    {"BDAT with LF . LF", "", S("BDAT 5 LAST\r\na\n.\nbNOOP\r\n"), "550 5.6.11; 250 2.0.0", "",
     "250 2.0.0; 250 2.0.0", "a\r\n.\r\nb\r\n"},
    {"BDAT that is a command", "", S("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"), "250 2.0.0; 250 2.0.0",
     "QUIT\r\n", NULL, NULL},
    {"DATA after BDAT", "", S("BDAT 1\r\naDATA\r\nRSET\r\n"), "250 2.0.0; 503 5.5.1; 250 2.0.0",
     "", NULL, NULL},
    {"BDAT without a recipient", "RSET\r\n", S("MAIL FROM:<>\r\nBDAT 6\r\nQUIT\r\nNOOP\r\n"),
     "250 2.1.0; 503 5.5.1; 250 2.0.0", "", NULL, NULL},
    {"BDAT whose size is in doubt", "", S("BDAT 0x5 LAST\r\nQUIT\r\n"), "501 5.5.4; closed", "",
     NULL, NULL},
};

/* Cuts text into pieces of `size` octets, or into two at `cut`; returns the replies. */
static const char *run_text(struct world *world, const struct text_row *row, size_t cut,
                            size_t size)
{
    struct client *client = begin(world, row->begin);
    struct pn_str rest = row->text;

    world->job_count = 0;
    if (cut > 0) {
        client_write(client, pn_str_sub(rest, 0, cut));
        world_run(world);
        rest = pn_str_sub(rest, cut, SIZE_MAX);
    }
    while (rest.len > 0) {
        client_write(client, pn_str_sub(rest, 0, size));
        world_run(world);
        rest = pn_str_sub(rest, size, SIZE_MAX);
    }
    return client_replies(client);
}

static void check_row(const struct text_row *row, bool normalise)
{
    const char *expected =
        normalise && row->expected_normalise ? row->expected_normalise : row->expected;
    const char *stored =
        normalise && row->expected_normalise ? row->stored_normalise : row->stored;
    struct world *world = world_new(normalise ? "bare_newline = normalise" : "");
    char message[512];
    size_t len = row->text.len;

    print_message("%s%s\n", row->name, normalise ? ", normalised" : "");
    snprintf(message, sizeof message, "a@example.org|%s", stored);
    for (size_t i = 0; i <= len; i++) {
        /* Whole (0), in two, and at last octet by octet. */
        const char *replies = run_text(world, row, i < len ? i : 0, i < len ? SIZE_MAX : 1);

        assert_string_equal(replies, expected);
        if (strstr(expected, "250 2.0.0") == expected && stored[0]) {
            assert_true(world->job_count > 0);
            assert_int_equal(strncmp(world_message(world, 0), message, strlen(message)), 0);
        }
        while (world->clients) { /* one session at a time is enough */
            struct client *client = world->clients;

            if (!client->closed) {
                client_fail(client);
            }
            world->clients = client->next;
            pn_buf_fini(&client->in);
            pn_buf_fini(&client->unsent);
            pn_buf_fini(&client->out);
            free(client);
        }
    }
    world_free(&world);
}

static void test_ends_where_it_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(text_rows); i++) {
        check_row(&text_rows[i], false);
        check_row(&text_rows[i], true);
    }
}

/* ---- what speaks against a message ------------------------------------------------------- */

static void test_too_long(void **state)
{
    struct world *world = world_new("message_size = \"64K\"");
    struct client *client = begin(world, "DATA\r\n");
    char line[1025];

    (void)state;
    memset(line, 'x', sizeof line);
    line[1022] = '\r';
    line[1023] = '\n';
    line[1024] = '\0';
    for (int i = 0; i < 65; i++) {
        assert_string_equal(client_say(client, line), "");
    }
    assert_string_equal(client_say(client, ".\r\n" MESSAGE), "552 5.3.4; " MESSAGE_S);
    assert_int_equal(world->job_count, 1);
    assert_int_equal(stats_get(world->counters, STATS_MESSAGES_REFUSED), 1);
    assert_true(world_logged(world, "smtp.refused-data peer=198.51.100.7 from=s@sender.test"));
    world_free(&world);
}

static void test_too_many_hops(void **state)
{
    struct world *world = world_new("hops_max = 10");

    (void)state;
    for (int hops = 10; hops <= 11; hops++) {
        struct client *client = begin(world, "DATA\r\n");

        for (int i = 0; i < hops; i++) {
            client_say(client, "Received: from a by b; Sat, 21 Nov 2026 20:55:08 +0000\r\n");
        }
        assert_string_equal(client_say(client, "\r\n.\r\n"),
                            hops == 10 ? "250 2.0.0" : "554 5.4.6");
    }
    world_free(&world);
}

static void test_what_comes_back_is_held(void **state)
{
    struct world *world = world_new("");
    struct client *client = begin(world, "DATA\r\n");

    (void)state;
    assert_string_equal(client_say(client,
                                   "Received: from x by MX2.example.net (Postern) with\r\n"
                                   "\tESMTP id 1; Sat, 21 Nov 2026 20:55:08 +0000\r\n"
                                   "\r\nhello\r\n.\r\n"),
                        "250 2.0.0");
    assert_int_equal(world->job_count, 1);
    assert_int_equal(world->jobs[0].job.flags, QUEUE_JOB_HELD);
    assert_true(world->jobs[0].job.due_ms == QUEUE_DUE_NEVER);
    assert_true(world_logged(world, "message.loop peer=198.51.100.7 qid="));
    world_free(&world);
}

/* ---- large messages ------------------------------------------------------------------------
 */

/* `octets` of text in lines, or in one line, sent as fast as they are taken. */
static void send_text(struct client *client, size_t octets, size_t line, const char *end)
{
    struct pn_buf text;

    pn_buf_init(&text, octets + 16);
    for (size_t i = 0; i < octets; i++) {
        bool cr = i % line == line - 2 && i + 1 < octets;
        bool lf = i % line == line - 1 && i > 0;

        assert_int_equal(pn_buf_append_char(&text, cr ? '\r' : lf ? '\n' : 'x'), 0);
    }
    assert_int_equal(pn_buf_append_z(&text, end), 0);
    client_write(client, pn_buf_str(&text));
    pn_buf_fini(&text);
}

static void send_large(struct client *client, size_t octets, size_t line)
{
    send_text(client, octets, line, "\r\n.\r\n");
}

/*
 * The end of the text is put at every place around the end of the second chunk, while the
 * first one is still being written: what has no room waits, the end of the text too.
 */
static void fill_chunks(struct world *world, size_t line, bool bdat)
{
    uint64_t header = 0;

    for (size_t i = 0; i < 400; i += i < 150 ? 10 : 1) {
        size_t octets = 2 * (size_t)SPOOL_CHUNK_OCTETS - 400 + i;
        struct client *client = begin(world, "");
        char command[64];

        world->job_count = 0;
        world->store.stopped = true;
        snprintf(command, sizeof command, "BDAT %zu LAST\r\n", octets + 2);
        client_say(client, bdat ? command : "DATA\r\n");
        send_text(client, octets, line, bdat ? "\r\n" : "\r\n.\r\n");
        world_run(world);
        assert_string_equal(client_replies(client), "");
        world->store.stopped = false;
        world_run(world);
        assert_string_equal(client_replies(client), "250 2.0.0");
        assert_int_equal(world->job_count, 1);
        header = header ? header : world->jobs[0].job.size_octets - octets;
        assert_int_equal(world->jobs[0].job.size_octets, header + octets);
        client_say(client, "QUIT\r\n");
    }
}

static void test_chunks_are_filled_to_the_last_octet(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct world *world = world_new("");

        fill_chunks(world, i & 1 ? 2 : 80, i & 2);
        world_free(&world);
    }
}

static void test_a_large_message_waits_for_the_disk(void **state)
{
    static const char *const confs[] = {"", "bare_newline = normalise\n"};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(confs); i++) {
        struct world *world = world_new(confs[i]);
        struct client *client = begin(world, "DATA\r\n");
        size_t taken;

        world->store.stopped = true;
        send_large(client, 3 << 20, 2);
        world_run(world);
        taken = (3u << 20) - pn_buf_str(&client->in).len;
        assert_true(taken >= 2 * SPOOL_CHUNK_OCTETS - 1000);
        assert_true(taken <= 2 * SPOOL_CHUNK_OCTETS);
        assert_true(policy_memory_used(world->limits) <= 2 * SPOOL_CHUNK_OCTETS);
        /* The disk may take its time, but the transaction has an end. */
        world_pass(world, PN_MINUTES(30));
        assert_false(client->closed);
        world->store.stopped = false;
        world_run(world);
        assert_string_equal(client_replies(client), "250 2.0.0");
        assert_true(world->jobs[0].job.size_octets > 3 << 20);
        assert_true(world->store.batches >= 12);
        world_free(&world);
    }
}

static void test_the_wait_for_the_disk_has_an_end(void **state)
{
    struct world *world = world_new("");
    struct client *client = begin(world, "DATA\r\n");

    (void)state;
    world->store.stopped = true;
    send_large(client, 1 << 20, 80);
    world_pass(world, PN_HOURS(1));
    assert_string_equal(client_replies(client), "421 4.4.2; closed");
    world_free(&world);
}

/* ---- memory
 * ----------------------------------------------------------------------------------- */

static void test_many_large_messages_share_the_memory(void **state)
{
    enum { CLIENTS = 120 };
    struct world *world =
        world_new("memory = \"16M\"\nsessions_per_network = 1000\nlog_level = error\n");
    struct client *clients[CLIENTS];

    (void)state;
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = begin(world, "DATA\r\n");
    }
    world->store.stopped = true;
    for (size_t i = 0; i < CLIENTS; i++) {
        send_large(clients[i], 600000, 80);
    }
    world_pass(world, PN_SECONDS(1));
    assert_true(policy_memory_used(world->limits) <= policy_memory_max(world->limits));
    assert_true(policy_memory_used(world->limits) > policy_memory_max(world->limits) / 2);
    world->store.stopped = false;
    world_pass(world, PN_SECONDS(10));
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_string_equal(client_replies(clients[i]), "250 2.0.0");
    }
    assert_int_equal(stats_get(world->counters, STATS_MESSAGES_STORED), CLIENTS);
    assert_int_equal(policy_memory_used(world->limits), 0);
    world_free(&world);
}

/* All send a little at a time, so that all are half way when the memory ends. */
static void test_clients_that_grow_together_do_not_get_stuck(void **state)
{
    enum { CLIENTS = 200, ROUNDS = 12, PIECE = 25000 };
    struct world *world = world_new("memory = \"16M\"\nsessions_per_network = 1000\n");
    struct client *clients[CLIENTS];
    static char piece[PIECE + 1];

    (void)state;
    memset(piece, 'x', PIECE);
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = begin(world, "DATA\r\n");
    }
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < CLIENTS; i++) {
            client_write(clients[i], pn_str_z(piece));
        }
        world_run(world);
        assert_true(policy_memory_used(world->limits) <= policy_memory_max(world->limits));
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        client_write(clients[i], PN_STR("\r\n.\r\n"));
    }
    world_pass(world, PN_SECONDS(50)); /* less than the minute after which some are refused */
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_string_equal(client_replies(clients[i]), "250 2.0.0");
    }
    world_free(&world);
}

static void test_who_waits_a_minute_for_memory_is_told(void **state)
{
    struct world *world = world_new("memory = \"16M\"");
    uint64_t all = policy_memory_max(world->limits);
    struct client *client = begin(world, "DATA\r\n");

    (void)state;
    assert_true(policy_memory_take(world->limits, all));
    assert_string_equal(client_say(client, "hello\r\n.\r\n"), "");
    assert_true(pn_buf_str(&client->in).len > 0);
    world_pass(world, PN_SECONDS(59));
    assert_string_equal(client_replies(client), "");
    world_pass(world, PN_SECONDS(2));
    assert_string_equal(client_replies(client), "452 4.3.1");
    policy_memory_give(world->limits, all);
    assert_string_equal(client_say(client, MESSAGE), MESSAGE_S);
    assert_string_equal(world_message(world, 0), "a@example.org|Subject: x\r\n\r\nhello\r\n");
    world_free(&world);
}

static void test_memory_that_others_give_back_is_noticed(void **state)
{
    struct world *world = world_new("memory = \"16M\"");
    uint64_t all = policy_memory_max(world->limits);
    struct client *client = begin(world, "DATA\r\n");

    (void)state;
    assert_true(policy_memory_take(world->limits, all));
    assert_string_equal(client_say(client, "hello\r\n.\r\n"), "");
    policy_memory_give(world->limits, all);
    world_pass(world, 50);
    assert_string_equal(client_replies(client), "250 2.0.0");
    world_free(&world);
}

static void test_memory_that_we_give_back_is_used_at_once(void **state)
{
    struct world *world = world_new("memory = \"16M\"");
    uint64_t most = policy_memory_max(world->limits) - 2 * (uint64_t)SPOOL_CHUNK_OCTETS;
    struct client *first = begin(world, "DATA\r\n");
    struct client *second = begin(world, "DATA\r\n");

    (void)state;
    assert_true(policy_memory_take(world->limits, most));
    assert_string_equal(client_say(first, "hello\r\n"), "");
    assert_int_equal(pn_buf_str(&first->in).len, 0);
    assert_string_equal(client_say(second, "hello\r\n.\r\n"), "");
    assert_true(pn_buf_str(&second->in).len > 0);
    assert_string_equal(client_say(first, ".\r\n"), "250 2.0.0");
    assert_string_equal(client_replies(second), "250 2.0.0");
    policy_memory_give(world->limits, most);
    world_free(&world);
}

static void test_a_client_leaves_while_it_waits_for_memory(void **state)
{
    struct world *world = world_new("memory = \"16M\"");
    uint64_t all = policy_memory_max(world->limits);
    struct client *first = begin(world, "DATA\r\n");
    struct client *second = begin(world, "DATA\r\n");

    (void)state;
    assert_true(policy_memory_take(world->limits, all));
    client_say(first, "hello\r\n.\r\n");
    client_say(second, "hello\r\n.\r\n");
    client_fail(first);
    policy_memory_give(world->limits, all);
    world_pass(world, 50);
    assert_string_equal(client_replies(second), "250 2.0.0");
    world_free(&world);
}

/* ---- the store
 * ---------------------------------------------------------------------------------- */

static void test_250_waits_for_the_store(void **state)
{
    struct world *world = world_new("");
    struct client *client = begin(world, "DATA\r\n");

    (void)state;
    world->store.stopped = true;
    assert_string_equal(client_say(client, "hello\r\n.\r\nNOOP\r\n"), "");
    world_pass(world, PN_HOURS(2));
    assert_string_equal(client_replies(client), "");
    world->store.stopped = false;
    world_run(world);
    assert_string_equal(client_replies(client), "250 2.0.0; 250 2.0.0");
    world_free(&world);
}

static void test_a_failing_store_is_452(void **state)
{
    struct world *world = world_new("");
    struct client *client = begin(world, "DATA\r\n");

    (void)state;
    world->store.failing = true;
    assert_string_equal(client_say(client, "hello\r\n.\r\n"), "452 4.3.1");
    assert_int_equal(world->job_count, 0);
    /* The store has healed, and the session goes on. */
    assert_string_equal(client_say(client, MESSAGE), MESSAGE_S);
    assert_int_equal(world->job_count, 1);
    assert_int_equal(stats_get(world->counters, STATS_MESSAGES_STORED), 1);
    assert_int_equal(stats_get(world->counters, STATS_MESSAGES_REFUSED), 1);
    world_free(&world);
}

static void test_a_store_that_fails_in_the_middle_is_452_at_the_end(void **state)
{
    struct world *world = world_new("");
    struct client *client = begin(world, "DATA\r\n");

    (void)state;
    world->store.failing = true;
    send_large(client, 1 << 20, 80);
    world_run(world);
    assert_string_equal(client_replies(client), "452 4.3.1");
    assert_string_equal(client_say(client, MESSAGE), MESSAGE_S);
    world_pass(world, PN_SECONDS(10));
    assert_int_equal(world->job_count, 1);
    world_free(&world);
}

static void test_a_full_disk_is_452_before_the_text(void **state)
{
    struct world *world = world_new("free_space = \"1G\"");
    struct client *client = begin(world, "");

    (void)state;
    world_set_free(world, (1 << 30) - 1);
    assert_string_equal(client_say(client, "DATA\r\n"), "452 4.3.1");
    assert_string_equal(client_say(client, "MAIL FROM:<>\r\n"), "452 4.3.1");
    assert_string_equal(client_say(client, "QUIT\r\n"), "221 2.0.0; closed");
    world_set_free(world, UINT64_C(10) << 30);
    client = begin(world, "");
    assert_string_equal(client_say(client, "BDAT 7 LAST\r\nhello\r\n"), "250 2.0.0");
    world_free(&world);
}

/* "Not now" is no reason to hang up on a client, however often it has to be said. */
static void test_a_full_disk_does_not_count_against_the_client(void **state)
{
    struct world *world = world_new("free_space = \"1G\"");
    struct client *client = world_connect(world, "198.51.100.7");

    (void)state;
    world_set_free(world, 1000);
    client_say(client, "EHLO c\r\n");
    for (size_t i = 0; i < 300; i++) {
        assert_string_equal(client_say(client, "MAIL FROM:<>\r\nRSET\r\n"),
                            "452 4.3.1; 250 2.0.0");
    }
    world_set_free(world, UINT64_C(10) << 30);
    assert_string_equal(client_say(client, MESSAGE), MESSAGE_S);
    for (size_t i = 0; i < 300 && !client->closed; i++) {
        client_say(client, "RSET\r\n"); /* for its own sake it does */
        world_pass(world, PN_SECONDS(1));
    }
    assert_true(client->closed);
    world_free(&world);
}

static void test_a_full_disk_keeps_bdat_in_step(void **state)
{
    struct world *world = world_new("free_space = \"1G\"");
    struct client *client = begin(world, "");

    (void)state;
    world_set_free(world, 1000);
    assert_string_equal(client_say(client, "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"),
                        "452 4.3.1; 250 2.0.0");
    world_free(&world);
}

static void test_a_client_that_goes_after_the_end_is_stored_for(void **state)
{
    struct world *world = world_new("");
    struct client *client = begin(world, "DATA\r\n");

    (void)state;
    world->store.stopped = true;
    client_say(client, "hello\r\n.\r\n");
    client_fail(client);
    assert_false(client->closed);
    world->store.stopped = false;
    world_run(world);
    assert_true(client->aborted);
    assert_int_equal(world->job_count, 1);
    assert_true(world_logged(world, "reply=\"lost: the client was gone"));
    world_free(&world);
}

static void test_a_client_that_goes_in_the_text_leaves_nothing(void **state)
{
    struct world *world = world_new("");
    struct client *client = begin(world, "DATA\r\n");
    size_t records = world->store.count;

    (void)state;
    send_large(client, 1 << 20, 80);
    client->in.len -= 3; /* the end does not come */
    world_run(world);
    assert_true(world->store.count > records);
    client_fail(client);
    world_pass(world, PN_SECONDS(1));
    assert_int_equal(world->job_count, 0);
    assert_int_equal(policy_memory_used(world->limits), 0);
    assert_int_equal(world->store.count, records);
    world_free(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends_where_it_ends),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_too_many_hops),
        cmocka_unit_test(test_what_comes_back_is_held),
        cmocka_unit_test(test_chunks_are_filled_to_the_last_octet),
        cmocka_unit_test(test_a_large_message_waits_for_the_disk),
        cmocka_unit_test(test_the_wait_for_the_disk_has_an_end),
        cmocka_unit_test(test_many_large_messages_share_the_memory),
        cmocka_unit_test(test_clients_that_grow_together_do_not_get_stuck),
        cmocka_unit_test(test_who_waits_a_minute_for_memory_is_told),
        cmocka_unit_test(test_memory_that_others_give_back_is_noticed),
        cmocka_unit_test(test_memory_that_we_give_back_is_used_at_once),
        cmocka_unit_test(test_a_client_leaves_while_it_waits_for_memory),
        cmocka_unit_test(test_250_waits_for_the_store),
        cmocka_unit_test(test_a_failing_store_is_452),
        cmocka_unit_test(test_a_store_that_fails_in_the_middle_is_452_at_the_end),
        cmocka_unit_test(test_a_full_disk_is_452_before_the_text),
        cmocka_unit_test(test_a_full_disk_does_not_count_against_the_client),
        cmocka_unit_test(test_a_full_disk_keeps_bdat_in_step),
        cmocka_unit_test(test_a_client_that_goes_after_the_end_is_stored_for),
        cmocka_unit_test(test_a_client_that_goes_in_the_text_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
