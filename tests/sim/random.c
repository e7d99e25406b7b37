/*
 * random.c - a world, a few days of its life, and everything that can go wrong, from a seed.
 *
 * The seed decides domains and their servers, latencies, who sends what, outages of each
 * kind, what servers answer, power cuts, failing disks, clock steps, restarts, and what the
 * operator does. In the end all trouble is over and the world is given the time it needs:
 * every message that was answered 250 must have been delivered, reported or parked. And then
 * new mail to somebody who exists must be taken and delivered, without any more help.
 *
 * Who exists is told by the address: those with a dot in front of the @, and postmaster.
 *
 *     random [-v] [SEED [COUNT]]      also SIM_SEEDS=COUNT
 *
 * Without arguments: 200 seeds from 1 on. Each runs in a process of its own, so that one
 * that fails does not hide the others; what is printed is enough to replay it.
 */
#include "sim.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOMAINS_MOST 6
#define HOSTS_MOST   4
#define SEEDS        200
#define USERS        20
#define TRIES        3
#define LIST_USERS   15 /* a list lacks some */

/* What a server thinks of recipients. */
struct mood {
    bool moody;     /* refuses some for no reason */
    bool catch_all; /* takes everybody, at RCPT */
    bool vague;     /* its 550 has no enhanced code */
    bool empty;     /* its table of users is */
};

struct world {
    struct sim *sim;
    size_t domain_count, host_count;
    char domains[DOMAINS_MOST][64];
    char hosts[HOSTS_MOST][64];
    struct mood moods[HOSTS_MOST];
    bool removed[DOMAINS_MOST];
    bool closed[DOMAINS_MOST]; /* a list is the last word, or clients are deferred */
    bool broken, full, low;
};

static uint64_t below(struct world *world, uint64_t n)
{
    return pn_rand_below(sim_rand(world->sim), n);
}

static bool chance(struct world *world, unsigned permille)
{
    return sim_chance(world->sim, permille);
}

/* ---- the beginning ----------------------------------------------------------------------- */

static void write_list(struct world *world, size_t d)
{
    char path[64], text[USERS * 8 * 12] = "# who is here\n";

    for (size_t i = 0; i < LIST_USERS * (size_t)8; i++) {
        size_t len = strlen(text);

        (void)snprintf(text + len, sizeof text - len, "u%zu.%zu\n", i / 8, i % 8);
    }
    (void)snprintf(path, sizeof path, "/lists/%s", world->domains[d]);
    sim_file(world->sim, path, text);
}

/* Half of the domains know nobody and store everything: that is the quickest to run. */
static void draw_policy(struct world *world, size_t d, char *text, size_t octets)
{
    static const char *const recipients[] = {"{call-ahead}", "{list}", "{list, call-ahead}",
                                             "{call-ahead, any}", "{any}"};
    static const char *const when_up[] = {"pass-through", "pass-through", "accept", "defer"};
    size_t who = below(world, 5), way = below(world, 4);
    unsigned hours = 1 + (unsigned)below(world, 200);
    char list[96] = "";

    text[0] = '\0';
    world->closed[d] = false;
    if (chance(world, 500)) {
        return;
    }
    world->closed[d] = who == 1 || way == 3;
    if (strstr(recipients[who], "list")) {
        write_list(world, d);
        (void)snprintf(list, sizeof list, "recipient_list = \"/lists/%s\"\n",
                       world->domains[d]);
    }
    (void)snprintf(text, octets,
                   "recipients = %s\n%swhen_up = %s\non_tempfail = %s\n"
                   "unknown_when_down = %s\nvalid_keep = \"%uh\"\n"
                   "valid_refresh = \"%um\"\ncall_ahead_wait = \"%us\"\n",
                   recipients[who], list, when_up[way], chance(world, 300) ? "hold" : "pass",
                   chance(world, 500) ? "accept" : "defer", hours,
                   1 + (unsigned)below(world, 60 * hours), 1 + (unsigned)below(world, 30));
}

static void define(struct world *world, size_t d)
{
    const char *first = world->hosts[below(world, world->host_count)];
    const char *second = world->hosts[below(world, world->host_count)];
    char text[1024], policy[512];

    draw_policy(world, d, policy, sizeof policy);
    (void)snprintf(
        text, sizeof text,
        "target = {\"%s\"%s%s%s}\nservice = %s\nsessions = %u\nmessages_per_session = %u\n"
        "recipients_per_transaction = %u\nhold = \"%u"
        "d\"\nbounce = %s\n%s",
        first, strcmp(first, second) != 0 ? ", \"" : "",
        strcmp(first, second) != 0 ? second : "", strcmp(first, second) != 0 ? "\"" : "",
        chance(world, 200) ? "lmtp" : "smtp", 1 + (unsigned)below(world, 20),
        1 + (unsigned)below(world, 50), 1 + (unsigned)below(world, 5),
        30 + (unsigned)below(world, 30), chance(world, 300) ? "always" : "never", policy);
    sim_domain(world->sim, world->domains[d], text);
    world->removed[d] = false;
}

static bool exists(struct pn_str address)
{
    struct pn_str local = pn_str_cut(&address, '@');

    return pn_str_find(local, '.') < local.len || pn_str_eq(local, PN_STR("postmaster"));
}

static const char *refuse_user(const struct mood *mood)
{
    return mood->vague ? "550 No such user" : "550 5.1.1 There is no such person";
}

/* About one recipient in ten gets this. */
static const char *be_moody(struct sim_server *server, enum sim_verb verb)
{
    static const char *const words[] = {"450 4.2.1 Greylisted, come back",
                                        "550 5.1.1 There is no such person",
                                        "452 4.5.3 Too many recipients"};
    uint64_t draw = pn_rand_below(sim_rand(server->sim), 100);

    if (verb == SIM_RCPT && draw < 10) {
        return words[draw % 3];
    }
    if (verb == SIM_DOT && draw < 6) {
        return draw < 3 ? "451 4.3.0 Later, please" : "554 5.6.0 Not like this";
    }
    return verb == SIM_MAIL && draw < 2 ? "421 4.3.2 Going away" : NULL;
}

static const char *answer(void *owner, struct sim_server *server, enum sim_verb verb,
                          struct pn_str arg)
{
    const struct mood *mood = owner;

    if (verb == SIM_RCPT && (mood->empty || (!exists(arg) && !mood->catch_all))) {
        return refuse_user(mood);
    }
    return mood->moody ? be_moody(server, verb) : NULL;
}

static void make(struct world *world)
{
    world->host_count = 1 + below(world, HOSTS_MOST);
    world->domain_count = 1 + below(world, DOMAINS_MOST);
    for (size_t h = 0; h < world->host_count; h++) {
        char ip[32];
        struct sim_server *server;

        (void)snprintf(world->hosts[h], sizeof world->hosts[h], "mx%zu.example.net", h);
        (void)snprintf(ip, sizeof ip, chance(world, 200) ? "2001:db8::%zu" : "192.0.2.%zu",
                       h + 1);
        server = sim_host(world->sim, world->hosts[h], ip);
        server->capabilities = (unsigned)below(world, SIM_CAPABILITIES + 1);
        server->trickle = chance(world, 100);
        server->sessions_max = chance(world, 200) ? 1 + (unsigned)below(world, 5) : 0;
        server->messages_max = chance(world, 200) ? 1 + (unsigned)below(world, 20) : 0;
        server->die_keeps = chance(world, 500);
        server->on_verb = answer;
        server->owner = &world->moods[h];
        world->moods[h].catch_all = chance(world, 200);
        world->moods[h].vague = chance(world, 300);
        for (size_t v = 0; v < SIM_VERBS; v++) {
            server->delays_ms[v] = chance(world, 100) ? (int64_t)below(world, 3000) : 0;
        }
    }
    sim_host(world->sim, "sender.example", "192.0.2.250"); /* for reports; it is always well */
    for (size_t d = 0; d < world->domain_count; d++) {
        (void)snprintf(world->domains[d], sizeof world->domains[d], "d%zu.example.org", d);
        sim_dns(world->sim, world->domains[d], "A 192.0.2.250"); /* while it is none of ours */
        define(world, d);
    }
    sim_latency(world->sim, 0, (int64_t)below(world, 100));
    sim_cut(world->sim, chance(world, 300) ? 1 + below(world, 200) : 20000);
    sim_disk_slow(world->sim, 1 + (int64_t)below(world, chance(world, 200) ? 2000 : 20));
}

/* ---- what happens --------------------------------------------------------------------------
 */

static size_t draw_octets(struct world *world)
{
    switch (below(world, 12)) {
    case 0:
        return 100000 + below(world, 500000);
    case 1:
        return 262144 - 400 + below(world, 800);
    case 2:
        return 5000 + below(world, 50000);
    default:
        return 200 + below(world, 3000);
    }
}

/* One of a domain here can be told what became of its mail; some of them do not exist. */
static void draw_sender(struct world *world, char *sender, size_t octets)
{
    sender[0] = '\0';
    if (chance(world, 300)) {
        (void)snprintf(sender, octets, chance(world, 200) ? "no%zu@%s" : "s.%zu@%s",
                       (size_t)below(world, USERS),
                       world->domains[below(world, world->domain_count)]);
    } else if (chance(world, 900)) {
        (void)snprintf(sender, octets, "a@sender.example");
    }
}

static void send_mail(struct world *world)
{
    struct sim_client_options options = {
        .pipelining = chance(world, 500),
        .bdat = chance(world, 300),
        .pause_ms = chance(world, 100) ? (int64_t)below(world, 2000) : 0,
        .resets = chance(world, 500),
        .etrn = chance(world, 50) ? world->domains[below(world, world->domain_count)] : NULL};
    size_t count = 1 + below(world, chance(world, 100) ? 30 : 4), first = 0;

    if (chance(world, 30)) {
        options.vanish_after = 1 + below(world, 300000);
    }
    for (size_t i = 0; i < count; i++) {
        char recipients[600] = "", sender[80];
        size_t n = 1 + below(world, chance(world, 200) ? 8 : 2), number;

        for (size_t r = 0; r < n; r++) {
            size_t len = strlen(recipients);

            (void)snprintf(recipients + len, sizeof recipients - len,
                           chance(world, 100) ? "%sno%zu-%zu@%s" : "%su%zu.%zu@%s",
                           r > 0 ? " " : "", (size_t)below(world, USERS), r,
                           world->domains[below(world, world->domain_count)]);
        }
        draw_sender(world, sender, sizeof sender);
        number = sim_mail_new(world->sim, sender, recipients, draw_octets(world));
        first = first ? first : number;
    }
    sim_send(world->sim, first, count, &options);
}

static void change_mood(struct world *world, struct mood *mood)
{
    switch (below(world, 4)) {
    case 0:
        mood->catch_all = !mood->catch_all;
        break;
    case 1:
        mood->empty = !mood->empty;
        break;
    default:
        mood->moody = !mood->moody;
        break;
    }
}

static void trouble_dns(struct world *world, const char *host)
{
    if (chance(world, 300)) {
        sim_dns_delay(world->sim, host, (int64_t)below(world, chance(world, 500) ? 20000 : 1));
    } else {
        sim_dns_status(world->sim, host,
                       chance(world, 500) ? RESOLVER_TEMPFAIL : RESOLVER_FOUND);
    }
}

static void trouble_server(struct world *world)
{
    static const char *const greetings[] = {NULL, "421 4.3.2 Busy", "554 5.3.2 No service"};
    size_t h = below(world, world->host_count);
    const char *host = world->hosts[h];
    struct sim_server *server = sim_server(world->sim, host);

    switch (below(world, 12)) {
    case 0:
    case 1:
    case 2:
        sim_reach(world->sim, host, (enum sim_reach)below(world, SIM_GARBAGE + 1));
        break;
    case 3:
        server->die_after_dot = (unsigned)below(world, 5);
        break;
    case 4:
        server->die_in_text = (unsigned)below(world, 5);
        break;
    case 5:
    case 6:
        change_mood(world, &world->moods[h]);
        break;
    case 7:
        sim_peer(world->sim, host, "CONNECT", greetings[below(world, 3)]);
        break;
    case 8:
        server->mute_after_dot = !server->mute_after_dot;
        break;
    case 9:
    case 10:
        server->ends[below(world, SIM_VERBS)] =
            (enum sim_end)below(world, SIM_HALF_A_REPLY + 1);
        server->ends_left = (unsigned)below(world, 20);
        break;
    default:
        trouble_dns(world, host);
        break;
    }
}

static void trouble_store(struct world *world)
{
    static const enum sim_fault faults[] = {SIM_FAIL, SIM_FAIL, SIM_POWER_CUT,
                                            SIM_CUT_AND_FAIL};
    enum sim_fault fault = faults[below(world, 4)];
    int64_t restart_ms = (int64_t)below(world, 100000);

    if (chance(world, 200)) {
        sim_state_fault_at(world->sim, fault, 1 + below(world, 40), restart_ms);
    } else {
        sim_fault_at(world->sim, fault, 1 + below(world, 40), restart_ms);
    }
    sim_fault_span(world->sim, 1 + below(world, 6));
}

static void trouble_disk(struct world *world)
{
    switch (below(world, 6)) {
    case 0:
    case 1:
    case 2:
        trouble_store(world);
        break;
    case 3:
        world->broken = !world->broken;
        sim_store_break(world->sim, world->broken);
        break;
    case 4:
        world->full = !world->full;
        sim_disk_full(world->sim, world->full);
        break;
    default:
        world->low = !world->low;
        sim_disk_free(world->sim, world->low ? 1000000 : UINT64_C(50) << 30);
        break;
    }
}

static void operate(struct world *world)
{
    size_t d = below(world, world->domain_count);

    switch (below(world, 11)) {
    case 9:
        (void)sim_resume(world->sim, world->domains[d]);
        break;
    case 10:
        (void)sim_refuse(world->sim, world->domains[d]);
        break;
    case 0:
        sim_hold(world->sim, world->domains[d], true);
        break;
    case 1:
    case 2:
        sim_hold(world->sim, world->domains[d], false);
        break;
    case 3:
        (void)sim_flush(world->sim, chance(world, 500) ? "" : world->domains[d]);
        break;
    case 4:
        define(world, d);
        break;
    case 5:
        if (sim_mails(world->sim) > 0) {
            sim_verb_mail(world->sim, (enum spool_verb)below(world, SPOOL_DELETE + 1),
                          1 + below(world, sim_mails(world->sim)));
        }
        break;
    case 6:
    case 7:
        sim_verb(world->sim, (enum spool_verb)below(world, SPOOL_DELETE),
                 chance(world, 300) ? "" : world->domains[d]);
        break;
    default:
        sim_domain_remove(world->sim, world->domains[d]);
        world->removed[d] = true;
        break;
    }
}

static void end_daemon(struct world *world)
{
    if (!sim_is_up(world->sim)) {
        sim_start_if_off(world->sim);
    } else if (chance(world, 500)) {
        sim_crash(world->sim, chance(world, 800) ? (int64_t)below(world, 60000) : -1);
    } else {
        sim_stop(world->sim);
    }
}

static void step(struct world *world)
{
    static const int64_t most_ms[] = {100, 5000, 60000, 3600000, 43200000};
    uint64_t draw = below(world, 100);

    if (draw < 50) {
        send_mail(world);
    } else if (draw < 72) {
        trouble_server(world);
    } else if (draw < 82) {
        trouble_disk(world);
    } else if (draw < 92) {
        operate(world);
    } else if (draw < 96) {
        end_daemon(world);
    } else {
        sim_step_clock(world->sim, (int64_t)below(world, PN_DAYS(6)) - PN_DAYS(3));
    }
    sim_run(world->sim, (int64_t)below(world, (uint64_t)most_ms[below(world, 5)]));
}

/* All trouble ends. */
static void mend(struct world *world)
{
    struct sim *sim = world->sim;

    sim_fault_at(sim, SIM_NO_FAULT, 0, 0);
    sim_state_fault_at(sim, SIM_NO_FAULT, 0, 0);
    sim_store_break(sim, false);
    sim_disk_full(sim, false);
    sim_disk_free(sim, UINT64_C(50) << 30);
    sim_run(sim, PN_MINUTES(2));
    sim_start_if_off(sim);
    sim_run(sim, PN_SECONDS(10));
    for (size_t h = 0; h < world->host_count; h++) {
        struct sim_server *server = sim_server(sim, world->hosts[h]);

        world->moods[h].moody = false;
        world->moods[h].empty = false;
        server->ends_left = 0;
        server->die_after_dot = 0;
        server->die_in_text = 0;
        server->mute_after_dot = false;
        sim_peer(sim, world->hosts[h], "CONNECT", NULL);
        sim_dns_status(sim, world->hosts[h], RESOLVER_FOUND);
        sim_dns_delay(sim, world->hosts[h], 0);
        sim_reach(sim, world->hosts[h], SIM_UP);
    }
    for (size_t d = 0; d < world->domain_count; d++) {
        if (world->removed[d]) {
            define(world, d);
        }
        sim_hold(sim, world->domains[d], false);
    }
    sim_verb(sim, SPOOL_RELEASE, "");
    sim_run(sim, PN_SECONDS(10));
    (void)sim_flush(sim, "");
    sim_run(sim, PN_HOURS(1));
    for (size_t d = 0; d < world->domain_count; d++) {
        (void)sim_refuse(sim,
                         world->domains[d]); /* those who do not exist are not to stop it */
    }
}

/* One who is told "not now" comes again, as senders do. */
static void serve(struct world *world, size_t d)
{
    struct sim *sim = world->sim;
    const struct sim_mail *mail = NULL;
    char address[80];

    (void)snprintf(address, sizeof address, "fresh.%zu@%s", d, world->domains[d]);
    for (size_t tries = 0; tries < TRIES && !(mail && mail->state == SIM_TAKEN); tries++) {
        size_t number = sim_submit(sim, "a@sender.example", address);

        sim_run(sim, PN_MINUTES(5));
        mail = sim_mail(sim, number);
    }
    if (mail->state != SIM_TAKEN || mail->recipients[0].delivered != 1) {
        sim_fail(sim, "all is well again, and mail %zu to %s was not served (%u)", mail->number,
                 address, mail->code);
    }
}

/* Who writes now to somebody who exists is served. */
static void check_service(struct world *world)
{
    for (size_t d = 0; d < world->domain_count; d++) {
        (void)sim_resume(world->sim, world->domains[d]);
    }
    sim_run(world->sim, PN_HOURS(4)); /* also what a mood has taught is asked again by then */
    for (size_t d = 0; d < world->domain_count; d++) {
        if (!world->closed[d]) {
            serve(world, d);
        }
    }
    sim_settle(world->sim, PN_HOURS(2), true);
}

/* ---- seeds
 * ------------------------------------------------------------------------------------ */

#define ETRN_CLIENTS "etrn_clients = {\"198.51.0.0/20\"}\n"
#define NO_TRACE     "trace = 0\n"
#define OURS         "authorised_networks = {\"198.51.0.0/21\"}\n"

static void run_seed(uint64_t seed, bool verbose)
{
    struct pn_rand rand;
    struct sim_options options = {.verbose = verbose};
    struct world world = {0};
    size_t steps;

    pn_rand_init(&rand, seed);
    options.encrypt = pn_rand_below(&rand, 4) == 0;
    options.no_checks = pn_rand_below(&rand, 4) != 0; /* they take most of the time */
    options.workers = 1 + pn_rand_below(&rand, 4);
    options.conf = pn_rand_below(&rand, 4) == 0
                       ? "memory = 16M\n" ETRN_CLIENTS OURS
                       : (pn_rand_below(&rand, 3) == 0 ? ETRN_CLIENTS : ETRN_CLIENTS NO_TRACE);
    world.sim = sim_new(seed, &options);
    make(&world);
    steps = 20 + below(&world, 80);
    for (size_t i = 0; i < steps; i++) {
        step(&world);
    }
    mend(&world);
    sim_settle(world.sim, PN_DAYS(2), true);
    check_service(&world);
    if (verbose) {
        printf("%zu mails, %zu accepted, %zu delivered whole, %llu duplicates, %llu reports, "
               "%.1f days\n",
               sim_mails(world.sim), sim_accepted(world.sim), sim_delivered(world.sim),
               (unsigned long long)sim_duplicates(world.sim),
               (unsigned long long)sim_reports(world.sim),
               (double)sim_now(world.sim) / 86400000);
    }
    sim_free(&world.sim);
}

struct seeds {
    const char *program;
    uint64_t first;
    bool verbose;
};

static void run_nth(void *owner, uint64_t n)
{
    const struct seeds *seeds = owner;

    run_seed(seeds->first + n, seeds->verbose);
    if (n % 1000 == 999) {
        printf("about %llu seeds so far\n", (unsigned long long)n + 1);
    }
}

static void on_failed(void *owner, uint64_t n)
{
    const struct seeds *seeds = owner;

    printf("FAILED: %s -v %llu\n", seeds->program, (unsigned long long)(seeds->first + n));
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    char **args = argv + 1 + verbose;
    int count_of = argc - 1 - verbose;
    const char *from_outside = getenv("SIM_SEEDS");
    struct seeds seeds = {.program = argv[0],
                          .first = count_of > 0 ? strtoull(args[0], NULL, 10) : 1,
                          .verbose = verbose};
    uint64_t count = count_of > 1   ? strtoull(args[1], NULL, 10)
                     : count_of > 0 ? 1
                     : from_outside ? strtoull(from_outside, NULL, 10)
                                    : SEEDS;
    uint64_t failed = sim_isolated(count, run_nth, on_failed, &seeds);

    printf("%llu seeds, %llu failed\n", (unsigned long long)count, (unsigned long long)failed);
    return failed == 0 ? 0 : 1;
}
