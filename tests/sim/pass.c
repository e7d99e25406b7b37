/*
 * pass.c - pass-through: the target's verdicts are the client's, and a target that fails at
 * any step of the dialogue costs nothing.
 */
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HOST   "mx1.example.net"
#define DOMAIN "target = {\"" HOST "\"}\nrecipients = {call-ahead}\nwhen_up = pass-through\n"
#define MOST   PN_MINUTES(25) /* what any one mail may take until it is answered */

static struct sim *begin(uint64_t seed)
{
    struct sim *sim = sim_new(seed, NULL);

    sim_host(sim, HOST, "192.0.2.1");
    sim_domain(sim, "example.net", DOMAIN);
    sim_run(sim, PN_SECONDS(30));
    assert_int_equal(sim_state(sim, "example.net"), QUEUE_UP);
    return sim;
}

static bool is_answered(struct sim *sim, void *arg)
{
    const size_t *number = arg;

    return sim_mail(sim, *number)->state != SIM_WAITS;
}

static struct sim_mail *send(struct sim *sim, const char *recipients,
                             const struct sim_client_options *options)
{
    size_t number = sim_mail_new(sim, "a@here.example", recipients, 3000);

    sim_send(sim, number, 1, options);
    assert_true(sim_run_until(sim, is_answered, &number, MOST));
    return sim_mail(sim, number);
}

/* Nothing is stored, whatever the client speaks and the target offers. */
static void test_passes(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 16; i++) {
        struct sim *sim = begin(1 + i);
        struct sim_client_options options = {.pipelining = i & 1, .bdat = i & 2};
        struct sim_mail *mail;

        sim_server(sim, HOST)->capabilities =
            i & 4 ? SIM_CAPABILITIES : SIM_PIPELINING | SIM_8BITMIME;
        sim_cut(sim, i & 8 ? 3 : 0);
        mail = send(sim, "b@example.net c@example.net", &options);
        assert_int_equal(mail->state, SIM_TAKEN);
        assert_int_equal(sim_delivered(sim), 1);
        assert_int_equal(sim_logged(sim, PN_EV_PASSED), 1);
        assert_int_equal(sim_logged(sim, PN_EV_STORED), 0);
        sim_settle(sim, PN_MINUTES(1), true);
        sim_free(&sim);
    }
}

/* The client hears what the target says, and nothing is stored. */
static void test_refusals(void **state)
{
    static const struct {
        const char *verb, *said;
        unsigned code;
        enum sim_mail_state state;
    } rows[] = {
        {"MAIL", "550 5.7.1 Not from you", 550, SIM_NOT_SENT},
        {"RCPT", "550 5.1.1 Nobody", 550, SIM_NOT_SENT},
        {"RCPT", "450 4.2.0 Greylisted", 450, SIM_NOT_SENT},
        {"RCPT", "452 4.2.2 Full", 452, SIM_NOT_SENT},
        {"DATA", "554 5.5.0 No", 554, SIM_NOT_SENT},
        {"DOT", "554 5.6.0 Not like this", 554, SIM_TOLD_NO},
        {"DOT", "451 4.3.0 Later", 451, SIM_TOLD_NO},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sim *sim = begin(20 + i);
        struct sim_mail *mail;

        sim_peer(sim, HOST, rows[i].verb, rows[i].said);
        mail = send(sim, "b@example.net", NULL);
        assert_int_equal(mail->state, rows[i].state);
        assert_int_equal(mail->recipients[0].code >= 400 ? mail->recipients[0].code
                                                         : mail->code,
                         rows[i].code);
        assert_int_equal(sim_logged(sim, PN_EV_STORED), 0);
        sim_peer(sim, HOST, rows[i].verb, NULL);
        sim_settle(sim, PN_HOURS(1), true);
        assert_int_equal(sim_server(sim, HOST)->messages, 0);
        sim_free(&sim);
    }
}

struct step {
    enum sim_verb verb;
    const char *name;
};

static const struct step steps[] = {
    {SIM_CONNECT, "greeting"}, {SIM_EHLO, "EHLO"}, {SIM_MAIL, "MAIL"}, {SIM_RCPT, "RCPT"},
    {SIM_DATA, "DATA"},        {SIM_DOT, "dot"},   {SIM_RSET, "RSET"},
};

/* A target that is silent leaves recipients unknown: the client is told so, and comes again. */
static bool is_taken(struct sim *sim, const struct sim_client_options *options)
{
    const char *recipients = "b@example.net c@example.net";
    const struct sim_mail *mail = send(sim, recipients, options);

    if (mail->state != SIM_TAKEN && mail->recipients[0].code == 450) {
        sim_run(sim, PN_MINUTES(10));
        mail = send(sim, recipients, options);
    }
    return mail->state == SIM_TAKEN && mail->recipients[1].accepted;
}

/* One more mail, so that the first may have left a session that is warm, or dead. */
static void end_once(const struct step *step, enum sim_end end, unsigned variant)
{
    struct sim *sim = begin(100 + variant);
    struct sim_server *server = sim_server(sim, HOST);
    struct sim_client_options options = {.pipelining = variant & 1, .bdat = variant & 2};
    bool keeps = variant & 4;

    if (variant & 8) {
        (void)send(sim, "first@example.net", &options);
    }
    server->capabilities = variant & 2 ? SIM_CAPABILITIES : SIM_PIPELINING;
    server->die_keeps = keeps;
    server->ends[step->verb] = end;
    server->ends_left = 1;
    if (!is_taken(sim, &options)) {
        sim_fail(sim, "%s, end %d, variant %u: the client was not told 250", step->name,
                 (int)end, variant);
    }
    sim_settle(sim, PN_HOURS(2), true);
    if (sim_duplicates(sim) > (step->verb == SIM_DOT && keeps ? 2 : 0)) {
        sim_fail(sim, "%s, end %d, variant %u: %llu duplicates", step->name, (int)end, variant,
                 (unsigned long long)sim_duplicates(sim));
    }
    server->ends_left = 0; /* a warm session may not have come to it */
    (void)send(sim, "last@example.net", &options);
    sim_settle(sim, PN_HOURS(2), true);
    assert_int_equal(sim_delivered(sim), sim_accepted(sim));
    if (sim_mail(sim, sim_mails(sim))->state != SIM_TAKEN) {
        sim_fail(sim, "%s, end %d, variant %u: mail is not taken any more", step->name,
                 (int)end, variant);
    }
    sim_free(&sim);
}

static void test_ends_everywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        for (enum sim_end end = SIM_CLOSES; end <= SIM_HALF_A_REPLY; end++) {
            for (unsigned variant = 0; variant < 16; variant++) {
                end_once(&steps[i], end, variant);
            }
        }
    }
}

/* Every reply comes long after anybody's patience. */
static void test_late_everywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        for (unsigned variant = 0; variant < 4; variant++) {
            struct sim *sim = begin(200 + variant);
            struct sim_client_options options = {.pipelining = variant & 1,
                                                 .bdat = variant & 2};

            sim_server(sim, HOST)->delays_ms[steps[i].verb] = PN_MINUTES(7);
            (void)send(sim, "b@example.net", &options);
            sim_run(sim, PN_MINUTES(30));
            sim_server(sim, HOST)->delays_ms[steps[i].verb] = 0;
            sim_settle(sim, PN_HOURS(2), true);
            assert_int_equal(sim_duplicates(sim), 0);
            sim_free(&sim);
        }
    }
}

static struct sim_mail *begin_doubt(struct sim *sim)
{
    struct sim_mail *mail;

    sim_server(sim, HOST)->delays_ms[SIM_DOT] = PN_MINUTES(9);
    mail = send(sim, "b@example.net c@example.net", NULL);
    assert_int_equal(mail->state, SIM_TAKEN);
    assert_int_equal(sim_logged(sim, PN_EV_STORED), 1);
    assert_int_equal(sim_waiting(sim), 1);
    return mail;
}

/* Stored in doubt, it is not delivered again when the target says 250 after all. */
static void test_late_yes(void **state)
{
    struct sim *sim = begin(300);

    (void)state;
    (void)begin_doubt(sim);
    sim_run(sim, PN_MINUTES(6));
    assert_int_equal(sim_waiting(sim), 0);
    sim_server(sim, HOST)->delays_ms[SIM_DOT] = 0;
    sim_settle(sim, PN_HOURS(1), true);
    assert_int_equal(sim_server(sim, HOST)->messages, 1);
    sim_free(&sim);
}

/* An operator who has held or flushed it meanwhile changes nothing of that. */
static void test_late_yes_after_verbs(void **state)
{
    static const enum spool_verb verbs[] = {SPOOL_HOLD, SPOOL_RETRY};

    (void)state;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        struct sim *sim = begin(310 + i);

        (void)begin_doubt(sim);
        if (verbs[i] == SPOOL_RETRY) {
            sim_hold(sim, "example.net", true); /* else it would be tried, alone, at once */
        }
        sim_verb(sim, verbs[i], "example.net");
        sim_run(sim, PN_MINUTES(6));
        assert_int_equal(sim_waiting(sim), 0);
        sim_hold(sim, "example.net", false);
        sim_server(sim, HOST)->delays_ms[SIM_DOT] = 0;
        sim_verb(sim, SPOOL_RELEASE, "");
        sim_settle(sim, PN_HOURS(1), true);
        assert_int_equal(sim_server(sim, HOST)->messages, 1);
        sim_free(&sim);
    }
}

/* A target that has room for one session, and we keep it warm: it is not away when it says so
 * to the next one, which gets the place. */
static void test_room_for_one(void **state)
{
    static const char *const domains[] = {
        DOMAIN, "target = {\"" HOST "\"}\nrecipients = {call-ahead}\nwhen_up = accept\n"};

    (void)state;
    for (size_t i = 0; i < 2 * sizeof domains / sizeof *domains; i++) {
        struct sim *sim = begin(340 + i);
        size_t taken = 0;

        sim_domain(sim, "example.net", domains[i / 2]);
        sim_server(sim, HOST)->sessions_max = 1;
        sim_run(sim, PN_MINUTES(1));
        for (unsigned n = 0; n < 30; n++) {
            char address[64];

            (void)snprintf(address, sizeof address, "b%u@example.net", n);
            taken += send(sim, address, NULL)->state == SIM_TAKEN;
            sim_run(sim, PN_SECONDS(n % 3 == 0 ? 40 : 1));
        }
        sim_settle(sim, PN_MINUTES(5), true);
        assert_int_equal(sim_logged(sim, PN_EV_DEST_DOWN), 0);
        assert_in_range(taken, 15, 30); /* the others come again */
        sim_free(&sim);
    }
}

/* What the target says of each recipient at the end of an LMTP text. */
static const char *lmtp_fates(void *owner, struct sim_server *server, enum sim_verb verb,
                              struct pn_str arg)
{
    (void)owner;
    (void)server;
    if (verb != SIM_DOT) {
        return NULL;
    }
    return pn_str_starts(arg, PN_STR("bad"))     ? "554 5.6.0 Not like this"
           : pn_str_starts(arg, PN_STR("later")) ? "451 4.3.0 Later, please"
                                                 : NULL;
}

/* One recipient hears what LMTP says; of several each has its own fate, and none has two. */
static void test_lmtp(void **state)
{
    struct sim *sim = begin(350);
    struct sim_mail *mail;

    (void)state;
    sim_domain(sim, "example.net", DOMAIN "service = lmtp\n");
    sim_run(sim, PN_MINUTES(1));
    sim_server(sim, HOST)->on_verb = lmtp_fates;
    assert_int_equal(send(sim, "b@example.net", NULL)->state, SIM_TAKEN);
    assert_int_equal(sim_logged(sim, PN_EV_PASSED), 1);
    assert_int_equal(send(sim, "bad@example.net", NULL)->code, 554);
    assert_int_equal(send(sim, "later@example.net", NULL)->code, 451);
    assert_int_equal(sim_logged(sim, PN_EV_STORED), 0);
    mail = send(sim, "b@example.net bad@example.net later@example.net", NULL);
    assert_int_equal(mail->state, SIM_TAKEN);
    sim_run(sim, PN_MINUTES(2));
    sim_server(sim, HOST)->on_verb = NULL;
    sim_settle(sim, PN_HOURS(2), true);
    assert_int_equal(mail->recipients[0].delivered, 1);
    assert_true(mail->recipients[1].parked);
    assert_int_equal(mail->recipients[2].delivered, 1);
    assert_int_equal(sim_duplicates(sim), 0);
    sim_free(&sim);
}

/* The client is gone in the middle of the text: the target is told nothing that is whole. */
static void test_client_vanishes(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < 16; variant++) {
        struct sim *sim = begin(400 + variant);
        struct sim_client_options options = {.pipelining = variant & 1,
                                             .bdat = variant & 2,
                                             .vanish_after = variant & 4 ? 5000 : 150000,
                                             .resets = variant & 8};
        size_t number = sim_mail_new(sim, "a@here.example", "b@example.net", 200000);

        sim_send(sim, number, 1, &options);
        sim_run(sim, PN_HOURS(1));
        assert_int_equal(sim_mail(sim, number)->state, SIM_NOT_SENT);
        assert_int_equal(sim_server(sim, HOST)->messages, 0);
        (void)send(sim, "c@example.net", NULL);
        sim_settle(sim, PN_HOURS(1), true);
        assert_int_equal(sim_delivered(sim), 1);
        sim_free(&sim);
    }
}

/* The spool is broken, and the target takes the mail: nothing needs to be stored. */
static void test_without_a_spool(void **state)
{
    struct sim *sim = begin(500);
    struct sim_mail *mail;

    (void)state;
    sim_store_break(sim, true);
    mail = send(sim, "b@example.net", NULL);
    sim_store_break(sim, false);
    sim_settle(sim, PN_HOURS(1), true);
    assert_int_equal(mail->state, SIM_TAKEN);
    assert_int_equal(sim_delivered(sim), 1);
    sim_free(&sim);
}

/* What cannot be encrypted cannot be stored, and is not passed through in part either: there
 * is no key for the new day, since the disk is full. */
static void test_without_a_key(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < 8; variant++) {
        struct sim_options options = {.encrypt = true};
        struct sim_client_options client = {.pipelining = variant & 1, .bdat = variant & 2};
        struct sim *sim = sim_new(510 + variant, &options);
        struct sim_mail *mail;

        sim_host(sim, HOST, "192.0.2.1");
        sim_domain(sim, "example.net", DOMAIN);
        sim_cut(sim, variant & 4 ? 100 : 0);
        sim_run(sim, PN_SECONDS(30));
        sim_disk_full(sim, true);
        sim_step_clock(sim, PN_DAYS(3));
        sim_crash(sim, PN_SECONDS(1));
        sim_run(sim, PN_SECONDS(30));
        mail = send(sim, "b@example.net", &client);
        assert_int_equal(mail->state, SIM_TOLD_NO);
        assert_int_equal(mail->code, 452);
        sim_disk_full(sim, false);
        sim_run(sim, PN_MINUTES(1));
        assert_int_equal(send(sim, "b@example.net", &client)->state, SIM_TAKEN);
        sim_settle(sim, PN_HOURS(1), true);
        assert_int_equal(sim_server(sim, HOST)->messages, 1);
        sim_free(&sim);
    }
}

/* The daemon dies at any moment: what it has answered is there, and nothing else. */
static void test_crash_any_time(void **state)
{
    (void)state;
    for (int64_t ms = 1; ms < 400; ms += 3) {
        struct sim *sim = begin(600);
        size_t first = sim_submit_many(sim, "example.net", 6, 3);

        (void)first;
        sim_run(sim, ms);
        sim_crash(sim, PN_SECONDS(1));
        sim_run(sim, PN_MINUTES(1));
        sim_settle(sim, PN_HOURS(1), true);
        assert_int_equal(sim_duplicates(sim), 0);
        sim_free(&sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_ends_everywhere),
        cmocka_unit_test(test_late_everywhere),
        cmocka_unit_test(test_late_yes),
        cmocka_unit_test(test_late_yes_after_verbs),
        cmocka_unit_test(test_lmtp),
        cmocka_unit_test(test_without_a_key),
        cmocka_unit_test(test_room_for_one),
        cmocka_unit_test(test_client_vanishes),
        cmocka_unit_test(test_without_a_spool),
        cmocka_unit_test(test_crash_any_time),
    };

    return cmocka_run_group_tests_name("pass", tests, NULL, NULL);
}
