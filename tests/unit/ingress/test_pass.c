/* Pass-through: what the target says is what the client is told, and nothing is ever lost. */
#include "helper_world.h"

#include "postern/base/mem.h"
#include "postern/smtp/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CLIENT   "198.51.100.7"
#define MAIL     "MAIL FROM:<s@sender.test>\r\n"
#define RCPT     "RCPT TO:<a@example.org>\r\n"
#define TEXT     "Subject: x\r\n\r\nhello\r\n.\r\n"
#define ENVELOPE MAIL RCPT
#define ENV_S    "250 2.1.0; 250 2.1.5"
#define MESSAGE  ENVELOPE "DATA\r\n" TEXT

static struct client *hello(struct world *world)
{
    struct client *client = world_connect(world, CLIENT);

    assert_string_equal(client_say(client, "EHLO c.test\r\n"), "220; 250");
    return client;
}

static uint64_t count(const struct world *world, enum stats_counter counter)
{
    return stats_get(world->counters, counter);
}

/* ---- conversations ---------------------------------------------------------------------- */

struct row {
    const char *name;
    const char *domain; /* options of example.org */
    struct target_rule rules[2];
    const char *send;
    const char *expected;
    unsigned taken;   /* by the target */
    size_t jobs;      /* stored */
    const char *said; /* what the target was told, or NULL: anything */
};

static const struct row rows[] = {
    {"a mail",
     "",
     {{0}},
     MESSAGE,
     ENV_S "; 354; 250 2.0.0",
     1,
     0,
     "EHLO mx2.example.net|MAIL FROM:<s@sender.test>|RCPT TO:<a@example.org>|DATA|.|"},
    {"two mails in a session",
     "",
     {{0}},
     MESSAGE MESSAGE,
     ENV_S "; 354; 250 2.0.0; " ENV_S "; 354; 250 2.0.0",
     2,
     0,
     "EHLO mx2.example.net|MAIL FROM:<s@sender.test>|RCPT TO:<a@example.org>|DATA|.|"
     "MAIL FROM:<s@sender.test>|RCPT TO:<a@example.org>|DATA|.|"},
    {"by BDAT",
     "",
     {{0}},
     ENVELOPE "BDAT 14\r\nSubject: x\r\n\r\nBDAT 7 LAST\r\nhello\r\n",
     ENV_S "; 250 2.0.0; 250 2.0.0",
     1,
     0,
     NULL},
    {"an empty BDAT", "", {{0}}, ENVELOPE "BDAT 0 LAST\r\n", ENV_S "; 250 2.0.0", 1, 0, NULL},
    {"the same recipient twice is asked once",
     "",
     {{0}},
     ENVELOPE RCPT "RSET\r\n",
     ENV_S "; 250 2.1.5; 250 2.0.0",
     0,
     0,
     "EHLO mx2.example.net|MAIL FROM:<s@sender.test>|RCPT TO:<a@example.org>|RSET|"},
    {"postmaster",
     "",
     {{0}},
     MAIL "RCPT TO:<postmaster@example.org>\r\nQUIT\r\n",
     "250 2.1.0; 250 2.1.5; 221 2.0.0; closed",
     0,
     0,
     NULL},
    {"MAIL is refused",
     "",
     {{"MAIL", "550 5.7.1 We do not like you\r\n", THEN_STAY, 0}},
     ENVELOPE "DATA\r\n",
     "250 2.1.0; 550 5.7.1; 503 5.5.1",
     0,
     0,
     NULL},
    {"MAIL is refused for now",
     "",
     {{"MAIL", "451 4.7.1 Greylisted\r\n", THEN_STAY, 0}},
     ENVELOPE,
     "250 2.1.0; 451 4.7.1",
     0,
     0,
     NULL},
    {"RCPT is refused",
     "",
     {{"RCPT", "550 5.1.1 No such user\r\n", THEN_STAY, 0}},
     ENVELOPE,
     "250 2.1.0; 550 5.1.1",
     0,
     0,
     NULL},
    {"RCPT is refused without an enhanced code",
     "",
     {{"RCPT", "550 No\r\n", THEN_STAY, 0}},
     ENVELOPE,
     "250 2.1.0; 550 5.0.0",
     0,
     0,
     NULL},
    {"RCPT is refused in two lines",
     "",
     {{"RCPT", "550-5.1.1 No such\r\n550 5.1.1 user\r\n", THEN_STAY, 0}},
     ENVELOPE,
     "250 2.1.0; 550 5.1.1",
     0,
     0,
     NULL},
    {"one of two is refused",
     "",
     {{"RCPT TO:<b", "550 5.1.1 No such user\r\n", THEN_STAY, 0}},
     MAIL "RCPT TO:<b@example.org>\r\n" RCPT "DATA\r\n" TEXT,
     "250 2.1.0; 550 5.1.1; 250 2.1.5; 354; 250 2.0.0",
     1,
     0,
     NULL},
    {"a second is refused for now",
     "on_tempfail = hold",
     {{"RCPT TO:<b", "450 4.2.1 Busy\r\n", THEN_STAY, 0}},
     ENVELOPE "RCPT TO:<b@example.org>\r\nDATA\r\n" TEXT,
     ENV_S "; 450 4.2.1; 354; 250 2.0.0",
     1,
     0,
     NULL},
    {"a first is refused for now, and held",
     "on_tempfail = hold",
     {{"RCPT", "450 4.2.1 Busy\r\n", THEN_STAY, 0}},
     MESSAGE,
     ENV_S "; 354; 250 2.0.0",
     0,
     1,
     NULL},
    {"MAIL is refused for now, and held",
     "on_tempfail = hold",
     {{"MAIL", "451 4.7.1 Greylisted\r\n", THEN_STAY, 0}},
     MESSAGE,
     ENV_S "; 354; 250 2.0.0",
     0,
     1,
     NULL},
    {"held only if it is known",
     "on_tempfail = hold",
     {{"RCPT", "450 4.2.1 Busy\r\n", THEN_STAY, 0}},
     MAIL "RCPT TO:<nobody@example.org>\r\n",
     "250 2.1.0; 550 5.1.1",
     0,
     0,
     NULL},
    {"DATA is refused",
     "",
     {{"DATA", "554 5.7.1 Not from you\r\n", THEN_STAY, 0}},
     ENVELOPE "DATA\r\nNOOP\r\n" ENVELOPE "DATA\r\n",
     ENV_S "; 554 5.7.1; 250 2.0.0; " ENV_S "; 554 5.7.1",
     0,
     0,
     NULL},
    {"DATA is refused of BDAT",
     "",
     {{"DATA", "451 4.3.0 Later\r\n", THEN_STAY, 0}},
     ENVELOPE "BDAT 7 LAST\r\nhello\r\nNOOP\r\n",
     ENV_S "; 451 4.3.0; 250 2.0.0",
     0,
     0,
     NULL},
    {"the text is refused",
     "",
     {{".", "554 5.7.1 Spam\r\n", THEN_STAY, 0}},
     MESSAGE "NOOP\r\n",
     ENV_S "; 354; 554 5.7.1; 250 2.0.0",
     0,
     0,
     NULL},
    {"the text is refused for now",
     "",
     {{".", "451 4.7.1 Later\r\n", THEN_STAY, 0}},
     MESSAGE,
     ENV_S "; 354; 451 4.7.1",
     0,
     0,
     NULL},
    {"a list refuses first",
     "recipients = {list}\nrecipient_list = \"/list\"",
     {{0}},
     MAIL "RCPT TO:<nobody@example.org>\r\n",
     "250 2.1.0; 550 5.1.1",
     0,
     0,
     ""},
    {"a list, and then the target",
     "recipients = {list}\nrecipient_list = \"/list\"",
     {{"RCPT", "550 5.2.1 Disabled\r\n", THEN_STAY, 0}},
     ENVELOPE,
     "250 2.1.0; 550 5.2.1",
     0,
     0,
     NULL},
    {"two destinations",
     "",
     {{0}},
     ENVELOPE "RCPT TO:<b@example.net>\r\nDATA\r\n" TEXT,
     ENV_S "; 452 4.5.3; 354; 250 2.0.0",
     1,
     0,
     NULL},
    {"a destination that is held behind one that is not",
     "",
     {{0}},
     ENVELOPE "RCPT TO:<b@example.com>\r\n",
     ENV_S "; 452 4.5.3",
     0,
     0,
     NULL},
    {"a destination that is not held behind one that is",
     "",
     {{0}},
     MAIL "RCPT TO:<b@example.com>\r\n" RCPT "DATA\r\n" TEXT,
     "250 2.1.0; 250 2.1.5; 452 4.5.3; 354; 250 2.0.0",
     0,
     1,
     ""},
    {"another destination when the first refused",
     "",
     {{"RCPT TO:<a@example.org>", "550 5.1.1 No\r\n", THEN_STAY, 0}},
     ENVELOPE "RCPT TO:<b@example.net>\r\nDATA\r\n" TEXT,
     "250 2.1.0; 550 5.1.1; 250 2.1.5; 354; 250 2.0.0",
     1,
     0,
     NULL},
    {"one that is held when the first refused",
     "",
     {{"RCPT TO:<a@example.org>", "550 5.1.1 No\r\n", THEN_STAY, 0}},
     ENVELOPE "RCPT TO:<b@example.com>\r\nDATA\r\n" TEXT,
     "250 2.1.0; 550 5.1.1; 250 2.1.5; 354; 250 2.0.0",
     0,
     1,
     "EHLO mx2.example.net|MAIL FROM:<s@sender.test>|RCPT TO:<a@example.org>|RSET|"},
    {"accept", "when_up = accept", {{0}}, MESSAGE, ENV_S "; 354; 250 2.0.0", 0, 1, ""},
    {"accept, and nobody",
     "when_up = accept",
     {{0}},
     MAIL "RCPT TO:<nobody@example.org>\r\n",
     "250 2.1.0; 550 5.1.1",
     0,
     0,
     ""},
    {"accept, and not known now",
     "when_up = accept",
     {{0}},
     MAIL "RCPT TO:<later@example.org>\r\n",
     "250 2.1.0; 450 4.1.1",
     0,
     0,
     ""},
    {"accept, and postmaster",
     "when_up = accept",
     {{0}},
     MAIL "RCPT TO:<Postmaster@example.org>\r\n",
     "250 2.1.0; 250 2.1.5",
     0,
     0,
     ""},
    {"no bare newline goes through",
     "",
     {{0}},
     ENVELOPE "DATA\r\nSubject: x\r\n\r\nhel\nlo\r\n.\r\n",
     ENV_S "; 354; 550 5.6.11",
     0,
     0,
     NULL},
    {"our own message is held",
     "",
     {{0}},
     ENVELOPE "DATA\r\nReceived: from a (b) by mx2.example.net with SMTP;\r\n Mon\r\n\r\nx\r\n"
              ".\r\n",
     ENV_S "; 354; 250 2.0.0",
     0,
     1,
     NULL},
};

static void run_row(const struct row *row, size_t cut, size_t step)
{
    struct world *world = world_new_live("", row->domain);
    struct client *client = hello(world);
    struct pn_str send = pn_str_z(row->send);

    for (size_t i = 0; i < PN_COUNT(row->rules) && row->rules[i].verb; i++) {
        world->target.rules[i] = row->rules[i];
    }
    for (size_t at = 0; at < send.len;) {
        size_t len = step > 0 ? step : at < cut ? cut : send.len;

        client_write(client, pn_str_sub(send, at, len));
        world_run(world);
        at += len;
    }
    assert_string_equal(client_replies(client), row->expected);
    world_run(world);
    assert_int_equal(world->target.taken, row->taken);
    assert_int_equal(world->job_count, row->jobs);
    assert_int_equal(world->store.batches, row->jobs);
    if (row->said) {
        assert_string_equal(target_lines(&world->target), row->said);
    }
    if (row->taken > 0) {
        assert_true(
            pn_str_starts(pn_buf_str(&world->target.text), PN_STR("Received: from c.test")));
    }
    world_free(&world);
}

static void test_conversations(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        print_message("%s\n", rows[i].name);
        run_row(&rows[i], 0, 0);
        run_row(&rows[i], 0, 1);
        for (size_t cut = 1; cut < strlen(rows[i].send); cut += 7) {
            run_row(&rows[i], cut, 0);
        }
    }
}

/* ---- a target that dies between any two steps ------------------------------------------- */

enum death { EOF_BEFORE, RESET_BEFORE, SILENCE, BUSY, EOF_AFTER, RESET_AFTER, DEATHS };

static const char *const steps[] = {"greeting", "EHLO", "MAIL", "RCPT", "DATA", "text", "."};
static const char *const usual[] = {"220 mail.example.org\r\n",
                                    "250 mail.example.org\r\n",
                                    "250 2.1.0 Ok\r\n",
                                    "250 2.1.5 Ok\r\n",
                                    "354 Go ahead\r\n",
                                    "",
                                    "250 2.0.0 Ok: queued as T1\r\n"};

static void kill_at(struct target *target, size_t step, enum death death)
{
    const char *replies[DEATHS] = {"",          "",         "", "421 4.3.2 Going down\r\n",
                                   usual[step], usual[step]};
    enum target_then then[DEATHS] = {THEN_CLOSE, THEN_RESET, THEN_STAY,
                                     THEN_CLOSE, THEN_CLOSE, THEN_RESET};

    target_rule(target, steps[step], replies[death], then[death]);
    if (death == SILENCE && strcmp(steps[step], "text") == 0) {
        target->deaf = true;
    }
}

/* The client's own pace: a line, and the answer, and the next. */
static void talk(struct world *world, struct client *client, char *out, size_t room)
{
    static const char *const lines[] = {MAIL, RCPT, "DATA\r\n", "Subject: x\r\n\r\nhello\r\n",
                                        ".\r\n"};

    out[0] = '\0';
    for (size_t i = 0; i < PN_COUNT(lines); i++) {
        const char *replies = client_say(client, lines[i]);
        size_t len = strlen(out);

        if (i != 3 && replies[0] == '\0') {
            world_pass(world, PN_MINUTES(5)); /* it is silent */
            replies = client_replies(client);
        }
        snprintf(out + len, room - len, "%s%s", len > 0 && replies[0] ? "; " : "", replies);
    }
}

static void run_death(size_t step, enum death death, bool warm)
{
    struct world *world = world_new_live("", "");
    struct client *client;
    char replies[1024];
    unsigned taken;

    if (warm) {
        assert_string_equal(client_say(hello(world), MESSAGE), ENV_S "; 354; 250 2.0.0");
    }
    taken = world->target.taken;
    world->target.ends = 0;
    kill_at(&world->target, step, death);
    client = hello(world);
    talk(world, client, replies, sizeof replies);
    assert_string_equal(replies, ENV_S "; 354; 250 2.0.0");
    taken = world->target.taken - taken;
    if (taken > 0 && world->job_count > 0) {
        /* Its 250 was said, and lost. */
        assert_string_equal(steps[step], ".");
        assert_true(death == RESET_AFTER);
    }
    assert_true(taken > 0 || world->job_count == 1);
    if (world->job_count > 0) {
        bool doubt = world->jobs[0].job.flags & QUEUE_JOB_IN_DOUBT;

        assert_int_equal(doubt, world->target.ends > 0 && death != BUSY);
        assert_string_equal(world_message(world, 0),
                            "a@example.org|Subject: x\r\n\r\nhello\r\n");
        assert_true(world_logged(world, "message.taken-over"));
        assert_int_equal(count(world, STATS_PASS_HELD), 1);
    } else {
        assert_int_equal(world->store.batches, 0);
    }
    target_rule(&world->target, steps[step], usual[step], THEN_STAY);
    world_free(&world);
}

static void test_a_target_that_dies_costs_nothing(void **state)
{
    (void)state;
    for (size_t step = 0; step < PN_COUNT(steps); step++) {
        for (unsigned death = 0; death < DEATHS; death++) {
            if ((strcmp(steps[step], "text") == 0 && death == BUSY) ||
                (strcmp(steps[step], "EHLO") == 0 && death == EOF_AFTER)) {
                continue; /* no reply to be had; ready and gone, again and again */
            }
            print_message("%s %u\n", steps[step], death);
            run_death(step, (enum death)death, false);
            if (step >= 2) {
                run_death(step, (enum death)death, true);
            }
        }
    }
}

static void test_a_target_that_cannot_be_had(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);

    (void)state;
    world->target.refuses = true;
    assert_string_equal(client_say(client, MAIL "RCPT TO:<nobody@example.org>\r\n"),
                        "250 2.1.0; 550 5.1.1");
    assert_string_equal(client_say(client, "RCPT TO:<later@example.org>\r\n"), "450 4.1.1");
    assert_string_equal(client_say(client, RCPT "DATA\r\n" TEXT), "250 2.1.5; 354; 250 2.0.0");
    assert_int_equal(world->job_count, 1);
    assert_int_equal(world->jobs[0].job.flags, 0);
    assert_int_equal(world->target.link_count, 1); /* it is not tried for each recipient */
    assert_int_equal(count(world, STATS_RCPT_UNKNOWN), 1);
    world_free(&world);
}

static void test_a_stale_session_is_replaced(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, MESSAGE), ENV_S "; 354; 250 2.0.0");
    world->target.rules[0] = (struct target_rule){"MAIL", "421 4.4.2 Idle\r\n", THEN_CLOSE, 1};
    assert_string_equal(client_say(client, MESSAGE), ENV_S "; 354; 250 2.0.0");
    assert_int_equal(world->target.taken, 2);
    assert_int_equal(world->target.link_count, 2);
    assert_int_equal(world->job_count, 0);
    world_free(&world);
}

/* Between two commands of the client's. */
static void test_a_target_that_goes_between_recipients(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);

    (void)state;
    target_rule(&world->target, "RCPT", "250 2.1.5 Ok\r\n", THEN_CLOSE);
    assert_string_equal(client_say(client, ENVELOPE), ENV_S);
    assert_string_equal(client_say(client, "RCPT TO:<nobody@example.org>\r\n"), "550 5.1.1");
    assert_string_equal(client_say(client, "RCPT TO:<b@example.net>\r\n"), "452 4.5.3");
    assert_string_equal(client_say(client, "RCPT TO:<b@example.org>\r\nDATA\r\n" TEXT),
                        "250 2.1.5; 354; 250 2.0.0");
    assert_int_equal(world->target.taken, 0);
    assert_int_equal(world->job_count, 1);
    assert_string_equal(world_message(world, 0),
                        "a@example.org b@example.org|Subject: x\r\n\r\nhello\r\n");
    world_free(&world);
}

/* ---- the end of the text ---------------------------------------------------------------- */

/* Its 354 is the client's. */
static void test_the_go_ahead_is_the_targets(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);

    (void)state;
    target_rule(&world->target, "DATA", "", THEN_STAY);
    assert_string_equal(client_say(client, ENVELOPE "DATA\r\n"), ENV_S);
    world_pass(world, PN_SECONDS(10));
    assert_string_equal(client_replies(client), "");
    target_say(&world->target, "554 5.3.0 No\r\n", THEN_STAY);
    world_run(world);
    assert_string_equal(client_replies(client), "554 5.3.0");
    world_free(&world);
}

static void send_in_doubt(struct world *world, struct client *client)
{
    target_rule(&world->target, ".", "", THEN_STAY);
    assert_string_equal(client_say(client, MESSAGE), ENV_S "; 354");
    world_pass(world, PN_MINUTES(4) - 1000);
    assert_string_equal(client_replies(client), "");
    assert_int_equal(world->job_count, 0);
}

static void test_a_late_yes_ends_the_job(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);
    int64_t now;

    (void)state;
    send_in_doubt(world, client);
    world_pass(world, 2000);
    now = queue_clock_now(&world->clock, world->loop.now);
    assert_string_equal(client_replies(client), "250 2.0.0");
    assert_int_equal(world->job_count, 1);
    assert_int_equal(world->jobs[0].job.flags, QUEUE_JOB_IN_DOUBT);
    assert_in_range(world->jobs[0].job.due_ms, now + PN_MINUTES(10) - 2000,
                    now + PN_MINUTES(10));
    target_say(&world->target, "250 2.0.0 At last\r\n", THEN_STAY);
    world_pass(world, 1000);
    assert_int_equal(world->job_removed, 1);
    assert_int_equal(count(world, STATS_PASSED_THROUGH), 1);
    assert_int_equal(world->target.open, 1); /* warm again */
    world_free(&world);
}

static void test_a_late_no_leaves_the_job(void **state)
{
    static const char *const replies[] = {"554 5.7.1 Spam\r\n", "451 4.3.0 Later\r\n",
                                          "421 4.3.2 Bye\r\n", ""};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(replies); i++) {
        struct world *world = world_new_live("", "");

        send_in_doubt(world, hello(world));
        world_pass(world, 2000);
        target_say(&world->target, replies[i], i > 1 ? THEN_CLOSE : THEN_STAY);
        world_pass(world, 1000);
        assert_int_equal(world->job_count, 1);
        assert_int_equal(world->job_removed, 0);
        world_pass(world, PN_MINUTES(12));
        world_free(&world);
    }
}

/* It answers while we store. */
static void test_a_yes_while_the_store_writes(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);

    (void)state;
    send_in_doubt(world, client);
    world->store.stopped = true;
    world_pass(world, 2000);
    target_say(&world->target, "250 2.0.0 At last\r\n", THEN_STAY);
    world_run(world);
    assert_string_equal(client_replies(client), "");
    world->store.stopped = false;
    world_pass(world, 1000);
    assert_string_equal(client_replies(client), "250 2.0.0");
    assert_int_equal(world->job_removed, 1);
    world_free(&world);
}

static void test_in_doubt_and_the_store_fails(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);

    (void)state;
    send_in_doubt(world, client);
    world->store.failing = true;
    world_pass(world, 2000);
    assert_string_equal(client_replies(client), "452 4.3.1");
    assert_int_equal(world->job_count, 0);
    world_free(&world);
}

static void test_a_client_that_goes_behind_the_dot(void **state)
{
    static const struct {
        const char *reply;
        enum target_then then;
        const char *logged;
    } cases[] = {{"250 2.0.0 Ok\r\n", THEN_STAY, "message.passed"},
                 {"554 5.7.1 No\r\n", THEN_STAY, "smtp.refused-data"},
                 {"", THEN_RESET, "end=lost"}};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(cases); i++) {
        struct world *world = world_new_live("", "");
        struct client *client = hello(world);

        send_in_doubt(world, client);
        client_fail(client);
        assert_int_equal(ingress_sessions(world->ingress), 1);
        target_say(&world->target, cases[i].reply, cases[i].then);
        world_pass(world, 1000);
        assert_int_equal(ingress_sessions(world->ingress), 0);
        assert_true(world_logged(world, cases[i].logged));
        assert_int_equal(world->job_count, 0);
        world_free(&world);
    }
}

static void test_a_client_that_goes_before_the_dot(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, ENVELOPE "DATA\r\nSubject: x\r\n"), ENV_S "; 354");
    client_fail(client);
    assert_int_equal(ingress_sessions(world->ingress), 0);
    assert_int_equal(world->target.open, 0);
    assert_int_equal(world->target.ends, 0);
    world_free(&world);
}

static void test_a_client_that_goes_while_asked(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, MAIL "RCPT TO:<silent@example.com>\r\n"),
                        "250 2.1.0");
    client_fail(client);
    assert_int_equal(world->verify.cancelled, 1);
    client = hello(world);
    target_rule(&world->target, "greeting", "", THEN_STAY);
    assert_string_equal(client_say(client, ENVELOPE), "250 2.1.0"); /* the pool is asked */
    client_fail(client);
    assert_int_equal(ingress_sessions(world->ingress), 0);
    world_free(&world);
}

static void test_stop_while_it_passes(void **state)
{
    static const char *const sends[] = {MAIL "RCPT TO:<silent@example.com>\r\n", ENVELOPE,
                                        ENVELOPE "DATA\r\n", ENVELOPE "DATA\r\nSubject: x\r\n",
                                        MESSAGE};
    static const char *const verbs[] = {"RCPT", "RCPT", "DATA", "greet", "."};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(sends); i++) {
        struct world *world = world_new_live("", "");
        struct client *client = hello(world);

        target_rule(&world->target, verbs[i], "", THEN_STAY);
        client_say(client, sends[i]);
        world_free(&world);
    }
}

/* ---- long texts ------------------------------------------------------------------------- */

static void send_long(struct client *client, size_t octets)
{
    char line[1000];

    memset(line, 'x', sizeof line);
    memcpy(line + sizeof line - 2, "\r\n", 2);
    for (size_t sent = 0; sent < octets; sent += sizeof line) {
        client_write(client, (struct pn_str){line, sizeof line});
    }
    world_run(client->world);
}

/* What the target takes is not written, as long as there is memory for it. */
static void test_a_long_text_is_not_written(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(client_say(client, ENVELOPE "DATA\r\n"), ENV_S "; 354");
        send_long(client, 6000000);
        assert_in_range(policy_memory_used(world->limits), 5000000, 8000000);
        assert_string_equal(client_say(client, ".\r\n"), "250 2.0.0");
        assert_int_equal(policy_memory_used(world->limits), 0);
        assert_int_equal(world->store.batches, 0);
        assert_true(world->target.text.len > 6000000);
    }
    world_free(&world);
}

static size_t count_chunks(const struct world *world)
{
    size_t count = 0;

    for (size_t i = 0; i < world->store.count; i++) {
        count += world->store.items[i].key[0] == 'b';
    }
    return count;
}

/* And when it is lost, at whatever point, all of it is stored. */
static void test_a_long_text_is_stored_when_the_target_is_lost(void **state)
{
    static const size_t sizes[] = {200000, 262144 - 300, 270000, 1000000, 3000000};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(sizes); i++) {
        for (size_t late = 0; late < 2; late++) {
            struct world *world = world_new_live("", "");
            struct client *client = hello(world);
            size_t sent = sizes[i] / 1000 * 1000 + (sizes[i] % 1000 ? 1000 : 0);

            assert_string_equal(client_say(client, ENVELOPE "DATA\r\n"), ENV_S "; 354");
            send_long(client, sizes[i]);
            if (late == 0) {
                target_say(&world->target, "", THEN_RESET);
                world_run(world);
                send_long(client, sizes[i]);
                sent *= 2;
            } else {
                target_rule(&world->target, ".", "", THEN_RESET);
            }
            assert_string_equal(client_say(client, ".\r\n"), "250 2.0.0");
            assert_int_equal(world->job_count, 1);
            assert_in_range(world->jobs[0].job.size_octets, sent, sent + 1000);
            assert_int_equal(count_chunks(world),
                             (world->jobs[0].job.size_octets + SPOOL_CHUNK_OCTETS - 1) /
                                 SPOOL_CHUNK_OCTETS);
            world_pass(world, PN_SECONDS(1));
            assert_int_equal(policy_memory_used(world->limits), 0);
            world_free(&world);
        }
    }
}

static void test_a_long_text_is_written_and_deleted(void **state)
{
    struct world *world = world_new_live("memory = \"16M\"\n", "");
    struct client *client = hello(world);
    size_t items = world->store.count;

    (void)state;
    assert_string_equal(client_say(client, ENVELOPE "DATA\r\n"), ENV_S "; 354");
    send_long(client, 12000000);
    assert_true(world->store.batches > 0);
    assert_string_equal(client_say(client, ".\r\n"), "250 2.0.0");
    world_pass(world, 2000);
    assert_true(world->target.text.len > 12000000);
    assert_int_equal(world->store.count, items);
    assert_int_equal(world->job_count, 0);
    world_free(&world);
}

static void test_a_draft_that_fails_ends_the_targets_session(void **state)
{
    struct world *world = world_new_live("memory = \"16M\"\n", "");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, ENVELOPE "DATA\r\n"), ENV_S "; 354");
    world->store.failing = true;
    send_long(client, 12000000);
    assert_int_equal(world->target.open, 0);
    assert_string_equal(client_say(client, ".\r\n"), "452 4.3.1");
    assert_int_equal(world->target.ends, 0);
    world_free(&world);
}

static void test_a_target_that_takes_nothing_slows_the_client(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, ENVELOPE "DATA\r\n"), ENV_S "; 354");
    world->target.deaf = true;
    send_long(client, 2000000);
    assert_true(client->in.len > 1000000);
    world->target.deaf = false;
    world_run(world);
    assert_int_equal(client->in.len, 0);
    assert_string_equal(client_say(client, ".\r\n"), "250 2.0.0");
    assert_int_equal(world->target.taken, 1);
    world_free(&world);
}

static void test_a_target_that_stops_taking_is_left(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, ENVELOPE "DATA\r\n"), ENV_S "; 354");
    world->target.deaf = true;
    send_long(client, 2000000);
    world_pass(world, PN_MINUTES(3));
    assert_int_equal(client->in.len, 0);
    assert_string_equal(client_say(client, ".\r\n"), "250 2.0.0");
    assert_int_equal(world->target.ends, 0);
    assert_int_equal(world->job_count, 1);
    assert_int_equal(world->jobs[0].job.flags, 0);
    world_free(&world);
}

static void test_a_refusal_of_ours_ends_the_targets_session(void **state)
{
    struct world *world = world_new_live("message_size = \"64K\"", "");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, ENVELOPE "DATA\r\n"), ENV_S "; 354");
    send_long(client, 100000);
    assert_string_equal(client_say(client, ".\r\n"), "552 5.3.4");
    assert_int_equal(world->target.ends, 0);
    assert_int_equal(world->target.open, 0);
    world_free(&world);
}

/* ---- the mirror ------------------------------------------------------------------------- */

struct mirror_row {
    const char *name;
    unsigned capabilities;
    uint64_t size_limit;
    const char *send;
    const char *expected;
};

#define UTF8_MAIL "MAIL FROM:<s@sender.test> SMTPUTF8\r\n"
static const struct mirror_row mirror_rows[] = {
    {"no limit", 0, 0, "MAIL FROM:<> SIZE=5000000\r\n" RCPT, ENV_S},
    {"small enough", SMTP_CAP_SIZE, 5001024, "MAIL FROM:<> SIZE=5000000\r\n" RCPT, ENV_S},
    {"too large with our header", SMTP_CAP_SIZE, 5001023, "MAIL FROM:<> SIZE=5000000\r\n" RCPT,
     "250 2.1.0; 552 5.3.4"},
    {"the largest SIZE there is", SMTP_CAP_SIZE, 1000, "MAIL FROM:<> SIZE=52428800\r\n" RCPT,
     "250 2.1.0; 552 5.3.4"},
    {"no SIZE", SMTP_CAP_SIZE, 1000, "MAIL FROM:<>\r\n" RCPT, ENV_S},
    {"no SIZE, and too large", SMTP_CAP_SIZE, 100, MESSAGE, ENV_S "; 354; 552 5.3.4"},
    {"UTF-8 recipient", 0, 0, UTF8_MAIL "RCPT TO:<j\xc3\xb6@example.org>\r\n",
     "250 2.1.0; 550 5.6.7"},
    {"UTF-8 sender", 0, 0, "MAIL FROM:<j\xc3\xb6@sender.test> SMTPUTF8\r\n" RCPT,
     "250 2.1.0; 550 5.6.7"},
    {"UTF-8 recipient, and it can", SMTP_CAP_SMTPUTF8, 0,
     UTF8_MAIL "RCPT TO:<j\xc3\xb6@example.org>\r\n", ENV_S},
    {"SMTPUTF8 with plain addresses", 0, 0, UTF8_MAIL RCPT "DATA\r\n" TEXT,
     ENV_S "; 354; 250 2.0.0"},
    {"and with UTF-8 in the header", 0, 0,
     UTF8_MAIL RCPT "DATA\r\nSubject: j\xc3\xb6\r\n\r\nx\r\n.\r\n", ENV_S "; 354; 550 5.6.7"},
    {"8bit in the header without SMTPUTF8", 0, 0,
     MAIL RCPT "DATA\r\nSubject: j\xc3\xb6\r\n\r\nx\r\n.\r\n", ENV_S "; 354; 250 2.0.0"},
};

static void run_mirror(const struct mirror_row *row, enum queue_state up, const char *domain)
{
    struct world *world = world_new_live("", domain);
    struct client *client = hello(world);
    struct pn_str name = pn_str_z(domains_at(world->domains, 2)->destination);

    world->target.capabilities =
        row->capabilities & SMTP_CAP_SMTPUTF8 ? "250-SMTPUTF8\r\n250-8BITMIME\r\n" : "";
    assert_string_equal(domains_at(world->domains, 2)->name, "example.org");
    out_board_set_state(world->board, name, up, false);
    out_board_set_capabilities(world->board, name, row->capabilities, row->size_limit);
    assert_string_equal(client_say(client, row->send), row->expected);
    world_free(&world);
}

static void test_the_capability_mirror(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(mirror_rows); i++) {
        print_message("%s\n", mirror_rows[i].name);
        run_mirror(&mirror_rows[i], QUEUE_DOWN, "");
        run_mirror(&mirror_rows[i], QUEUE_UP, "when_up = accept");
    }
}

/* "For that domain only": the other recipient's target would take it. */
static void test_the_mirror_is_of_all_targets(void **state)
{
    struct world *world = world_new_live("", "when_up = accept");
    struct client *client = hello(world);

    (void)state;
    out_board_set_capabilities(
        world->board, pn_str_z(domains_at(world->domains, 2)->destination), SMTP_CAP_SIZE, 100);
    assert_string_equal(client_say(client, ENVELOPE "RCPT TO:<b@example.com>\r\nDATA\r\n" TEXT),
                        ENV_S "; 250 2.1.5; 354; 250 2.0.0");
    assert_int_equal(world->job_count, 2);
    world_free(&world);
}

/* ---- who is not passed through ---------------------------------------------------------- */

struct hold_row {
    const char *name;
    enum queue_state state;
    bool parole;
    const char *client;
    unsigned taken;
};

static const struct hold_row hold_rows[] = {
    {"up", QUEUE_UP, false, CLIENT, 1},
    {"on parole", QUEUE_UP, true, CLIENT, 0},
    {"ramp", QUEUE_RAMP, false, CLIENT, 0},
    {"down", QUEUE_DOWN, false, CLIENT, 0},
    {"held", QUEUE_HELD, false, CLIENT, 0},
    {"not known", QUEUE_UNKNOWN, false, CLIENT, 0},
    {"the target itself", QUEUE_UP, false, "192.0.2.25", 0},
};

static void test_who_is_passed_through(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(hold_rows); i++) {
        struct world *world = world_new_live("", "");
        struct client *client = world_connect(world, hold_rows[i].client);

        print_message("%s\n", hold_rows[i].name);
        out_board_set_state(world->board, pn_str_z(domains_at(world->domains, 2)->destination),
                            hold_rows[i].state, hold_rows[i].parole);
        assert_string_equal(client_say(client, "EHLO c.test\r\n" MESSAGE),
                            "220; 250; " ENV_S "; 354; 250 2.0.0");
        assert_int_equal(world->target.taken, hold_rows[i].taken);
        assert_int_equal(world->job_count, 1 - hold_rows[i].taken);
        assert_int_equal(count(world, STATS_PASS_HELD), 0);
        assert_int_equal(world_logged(world, "message.loop"),
                         strcmp(hold_rows[i].client, CLIENT) != 0);
        world_free(&world);
    }
}

static void test_recipients_of_a_transaction_stay_together(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);
    struct pn_str name = pn_str_z(domains_at(world->domains, 2)->destination);

    (void)state;
    out_board_set_state(world->board, name, QUEUE_DOWN, false);
    assert_string_equal(client_say(client, ENVELOPE), ENV_S);
    out_board_set_state(world->board, name, QUEUE_UP, false);
    assert_string_equal(client_say(client, "RCPT TO:<b@example.org>\r\nRSET\r\n"),
                        "250 2.1.5; 250 2.0.0");
    assert_int_equal(world->target.link_count, 0);
    assert_string_equal(client_say(client, ENVELOPE), ENV_S);
    out_board_set_state(world->board, name, QUEUE_DOWN, false);
    assert_string_equal(client_say(client, "RCPT TO:<b@example.org>\r\nDATA\r\n" TEXT),
                        "250 2.1.5; 354; 250 2.0.0");
    assert_int_equal(world->target.taken, 1);
    assert_int_equal(world->job_count, 0);
    world_free(&world);
}

static void test_replies_teach(void **state)
{
    struct world *world = world_new_live("", "");
    struct client *client = hello(world);

    (void)state;
    target_rule(&world->target, "RCPT TO:<b", "550 5.1.1 No\r\n", THEN_STAY);
    target_rule(&world->target, ".", "550 5.2.1 Gone\r\n", THEN_STAY);
    client_say(client, MAIL "RCPT TO:<b@example.org>\r\n" RCPT "DATA\r\n" TEXT);
    assert_true(pn_str_eq(pn_buf_str(&world->verify.learned),
                          PN_STR("b=550 5.1.1;a=250 2.1.5;a=550 5.2.1;")));
    assert_int_equal(world->verify.asked, 0); /* the live RCPT was the question */
    assert_int_equal(count(world, STATS_RCPT_UNKNOWN), 1);
    assert_int_equal(count(world, STATS_PASS_REFUSED), 2);
    world_free(&world);
}

/* ---- when_up = defer -------------------------------------------------------------------- */

static void test_defer(void **state)
{
    struct world *world =
        world_new_live("authorised_networks = {\"203.0.113.0/24\"}", "when_up = defer");
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, ENVELOPE RCPT), "250 2.1.0; 451 4.3.0; 451 4.3.0");
    world_pass(world, PN_MINUTES(4));
    assert_string_equal(client_say(client, RCPT), "451 4.3.0"); /* too early */
    world_pass(world, PN_MINUTES(2));
    assert_string_equal(client_say(client, "RSET\r\n" ENVELOPE),
                        "250 2.0.0; 250 2.1.0; 451 4.3.0"); /* once */
    world_pass(world, PN_MINUTES(4));
    client = hello(world);
    assert_string_equal(client_say(client, ENVELOPE), "250 2.1.0; 451 4.3.0");
    world_pass(world, PN_MINUTES(2));
    assert_string_equal(client_say(client, "RCPT TO:<b@example.org>\r\n"), "451 4.3.0");
    assert_string_equal(client_say(client, RCPT "DATA\r\n" TEXT), "250 2.1.5; 354; 250 2.0.0");
    assert_string_equal(client_say(client, MESSAGE), ENV_S "; 354; 250 2.0.0");
    client = world_connect(world, "203.0.113.9");
    assert_string_equal(client_say(client, "EHLO c\r\n" MESSAGE),
                        "220; 250; " ENV_S "; 354; 250 2.0.0");
    assert_int_equal(world->job_count, 3);
    assert_int_equal(count(world, STATS_DEFERRED_TO_PRIMARY), 6);
    out_board_set_state(world->board, pn_str_z(domains_at(world->domains, 2)->destination),
                        QUEUE_DOWN, false);
    client = hello(world);
    assert_string_equal(client_say(client, MAIL "RCPT TO:<c@example.org>\r\n"), ENV_S);
    world_free(&world);
}

/* ---- whose mail it is -------------------------------------------------------------------- */

#define OFFERS "250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN\r\n250-ENHANCEDSTATUSCODES\r\n"

static struct world *identity_world(const char *domain, const char *capabilities)
{
    struct world *world = world_new_live("", domain);

    world->target.capabilities = capabilities;
    target_rule(&world->target, "XCLIENT", "220 mail.example.org again\r\n", THEN_STAY);
    target_rule(&world->target, "XFORWARD", "250 2.0.0 Ok\r\n", THEN_STAY);
    return world;
}

static void test_the_client_is_told_by_xclient(void **state)
{
    struct world *world = identity_world("", OFFERS);
    struct client *client = hello(world);
    const char *said;

    (void)state;
    assert_string_equal(client_say(client, MESSAGE), ENV_S "; 354; 250 2.0.0");
    said = target_lines(&world->target);
    assert_non_null(strstr(said, "|XCLIENT "));
    assert_non_null(strstr(said, " ADDR=198.51.100.7"));
    assert_non_null(strstr(said, " HELO=c.test"));
    assert_non_null(strstr(said, "|MAIL FROM:<s@sender.test>|RCPT TO:<a@example.org>|DATA|.|"));
    /* A session that has said XCLIENT is nobody else's. */
    assert_string_equal(client_say(client, MESSAGE), ENV_S "; 354; 250 2.0.0");
    assert_int_equal(world->target.link_count, 2);
    assert_int_equal(world->target.taken, 2);
    assert_int_equal(world->job_count, 0);
    world_free(&world);
}

static void test_the_client_is_told_by_xforward(void **state)
{
    struct world *world =
        identity_world("identity = xforward", "250-XFORWARD NAME ADDR PROTO HELO\r\n" OFFERS);
    struct client *client = hello(world);
    const char *said;

    (void)state;
    assert_string_equal(client_say(client, MESSAGE MESSAGE),
                        ENV_S "; 354; 250 2.0.0; " ENV_S "; 354; 250 2.0.0");
    said = target_lines(&world->target);
    assert_null(strstr(said, "XCLIENT"));
    said = strstr(said, "XFORWARD ");
    assert_non_null(said);
    assert_non_null(strstr(said, "ADDR=198.51.100.7"));
    assert_non_null(strstr(said + 1, "XFORWARD ")); /* with each mail */
    assert_int_equal(world->target.link_count, 1);
    world_free(&world);
}

static void test_the_client_is_not_told_of(void **state)
{
    struct world *world = identity_world("identity = none", OFFERS);
    struct client *client = hello(world);

    (void)state;
    assert_string_equal(client_say(client, MESSAGE), ENV_S "; 354; 250 2.0.0");
    assert_null(strstr(target_lines(&world->target), "XCLIENT"));
    world_free(&world);
}

/* The target judges the client by its own rules, and the client hears of it. */
static void test_the_target_turns_the_client_away(void **state)
{
    static const struct {
        const char *verb, *reply;
        enum target_then then;
        const char *told;
    } cases[] = {
        {"MAIL", "554 5.7.1 Client host rejected\r\n", THEN_STAY, "250 2.1.0; 554 5.7.1"},
        {"RCPT", "554 5.7.1 Client host rejected\r\n", THEN_STAY, "250 2.1.0; 554 5.7.1"},
        {"MAIL", "421 4.7.0 Too many connections from you\r\n", THEN_CLOSE,
         "250 2.1.0; 451 4.0.0"},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(cases); i++) {
        struct world *world = identity_world("", OFFERS);
        struct client *client = hello(world);

        target_rule(&world->target, cases[i].verb, cases[i].reply, cases[i].then);
        assert_string_equal(client_say(client, ENVELOPE), cases[i].told);
        assert_string_equal(client_say(client, "QUIT\r\n"), "221 2.0.0; closed");
        assert_int_equal(world->job_count, 0);
        world_free(&world);
    }
}

/* XCLIENT is answered, and the greeting that follows is for that client. */
static void test_the_greeting_after_xclient_is_a_verdict(void **state)
{
    struct world *world = identity_world("", OFFERS);
    struct client *client = hello(world);

    (void)state;
    target_rule(&world->target, "XCLIENT", "554 5.7.1 Go away\r\n", THEN_CLOSE);
    assert_string_equal(client_say(client, ENVELOPE), "250 2.1.0; 554 5.7.1");
    assert_string_equal(client_say(client, "RSET\r\n"), "250 2.0.0");
    world_free(&world);
}

/* A session that is lost while it is told is only a session. */
static void test_the_target_is_lost_when_it_is_told(void **state)
{
    struct world *world = identity_world("", OFFERS);
    struct client *client = hello(world);

    (void)state;
    target_rule(&world->target, "XCLIENT", "", THEN_RESET);
    assert_string_equal(client_say(client, MESSAGE), ENV_S "; 354; 250 2.0.0");
    assert_int_equal(world->job_count, 1);
    world_free(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_client_is_told_by_xclient),
        cmocka_unit_test(test_the_client_is_told_by_xforward),
        cmocka_unit_test(test_the_client_is_not_told_of),
        cmocka_unit_test(test_the_target_turns_the_client_away),
        cmocka_unit_test(test_the_greeting_after_xclient_is_a_verdict),
        cmocka_unit_test(test_the_target_is_lost_when_it_is_told),
        cmocka_unit_test(test_conversations),
        cmocka_unit_test(test_a_target_that_dies_costs_nothing),
        cmocka_unit_test(test_a_target_that_cannot_be_had),
        cmocka_unit_test(test_a_stale_session_is_replaced),
        cmocka_unit_test(test_a_target_that_goes_between_recipients),
        cmocka_unit_test(test_the_go_ahead_is_the_targets),
        cmocka_unit_test(test_a_late_yes_ends_the_job),
        cmocka_unit_test(test_a_late_no_leaves_the_job),
        cmocka_unit_test(test_a_yes_while_the_store_writes),
        cmocka_unit_test(test_in_doubt_and_the_store_fails),
        cmocka_unit_test(test_a_client_that_goes_behind_the_dot),
        cmocka_unit_test(test_a_client_that_goes_before_the_dot),
        cmocka_unit_test(test_a_client_that_goes_while_asked),
        cmocka_unit_test(test_stop_while_it_passes),
        cmocka_unit_test(test_a_long_text_is_not_written),
        cmocka_unit_test(test_a_long_text_is_stored_when_the_target_is_lost),
        cmocka_unit_test(test_a_long_text_is_written_and_deleted),
        cmocka_unit_test(test_a_draft_that_fails_ends_the_targets_session),
        cmocka_unit_test(test_a_target_that_takes_nothing_slows_the_client),
        cmocka_unit_test(test_a_target_that_stops_taking_is_left),
        cmocka_unit_test(test_a_refusal_of_ours_ends_the_targets_session),
        cmocka_unit_test(test_the_capability_mirror),
        cmocka_unit_test(test_the_mirror_is_of_all_targets),
        cmocka_unit_test(test_who_is_passed_through),
        cmocka_unit_test(test_recipients_of_a_transaction_stay_together),
        cmocka_unit_test(test_replies_teach),
        cmocka_unit_test(test_defer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
