/*
 * ask.c - questions to targets: RCPT with a null sender, and RSET.
 *
 * Each domain at each destination has a list of questions, and turns that take from it. A
 * turn is one transaction in a session of the pool: MAIL FROM:<>, one RCPT after the other,
 * and the session goes back, which resets it. A turn ends after a number of questions, so
 * that pass-through gets its sessions too, and leaves its session after a few refusals:
 * servers make those slow, and in the end drop those, who name many bad addresses.
 *
 * Those who wait are told when the question has an answer; a question that nobody waits for
 * any more goes on, since its answer is of use to the next who asks. Any reply that is not
 * about the recipient (greylisting, a refused MAIL, a lost session) leaves it unknown.
 *
 * Catch-alls: in the first turn, and again when that was a week ago, a random address is
 * asked about before the others. A bare 550 counts as a no if the target has taken another
 * address lately; if none is known, the one address that each domain must have is asked
 * about (RFC 5321 4.5.1).
 *
 * A turn whose session turns out to be dead at its first command is begun once more: the
 * session was warm, and its peer had closed it.
 */
#include "verify_priv.h"

#include <stdio.h>
#include <string.h>

#define QUESTIONS_MAX    1000 /* under way in all */
#define PER_TARGET_MAX   250
#define TURNS_MAX        4
#define TURN_QUESTIONS   20
#define TURN_REFUSALS    8
#define WAITING_PER_TURN 8 /* before another turn is begun */
#define REPLY_MS         PN_MINUTES(1)
#define QUESTION_MS      PN_MINUTES(2) /* older ones are not put any more */
#define WITNESS_MS       PN_MINUTES(5)
#define RANDOM_PAUSE_MS  PN_MINUTES(10)
#define RANDOM_CHARS     16

struct verify_question {
    UT_hash_handle hh;
    struct verify_question *prev, *next; /* while no turn has it */
    struct verify_target *target;
    struct conf *conf;
    struct conf_domain *domain;
    struct pn_mono since;
    struct verify_waiter *waiters;
    bool utf8;
    char *written; /* the address */
    size_t local_len;
    char local[];
};

enum turn_state {
    TURN_SESSION, /* waits for one */
    TURN_MAIL,
    TURN_RANDOM,
    TURN_RCPT,
    TURN_WITNESS, /* is another address taken? */
};

struct verify_turn {
    struct verify_turn *prev, *next;
    struct verify_target *target;
    enum turn_state state;
    struct out_pool_request request;
    struct out_session *session;
    struct verify_question *question; /* RCPT and WITNESS */
    bool utf8;                        /* MAIL said so */
    unsigned asked, refused;
    bool *gone; /* tells the puller of events that the turn is no more */
};

struct verify_target {
    UT_hash_handle hh;
    struct verify *verify;
    struct verify_question *questions; /* all, by local part */
    struct verify_question *waiting;
    size_t waiting_count;
    struct verify_turn *turns;
    size_t turn_count;
    unsigned lost;               /* sessions in a row that were dead at MAIL */
    struct pn_mono random_at;    /* not before */
    struct pn_mono random_until; /* it was refused without a code that says why */
    struct pn_mono witness_until;
    size_t witness_len;
    char witness[VERIFY_LOCAL_MAX]; /* who was taken last */
    size_t key_len;
    char key[]; /* domain, NUL, destination */
};

static void step_target(struct verify_target *target);

/* ---- targets -----------------------------------------------------------------------------
 */

static struct verify_target *find_target(struct verify *verify,
                                         const struct conf_domain *domain, bool make)
{
    size_t name_len = strlen(domain->name) + 1;
    size_t key_len = name_len + strlen(domain->destination);
    struct verify_target *target = pn_alloc(sizeof *target + key_len);
    struct verify_target *found;

    target->verify = verify;
    target->key_len = key_len;
    memcpy(target->key, domain->name, name_len);
    memcpy(target->key + name_len, domain->destination, key_len - name_len);
    HASH_FIND(hh, verify->targets, target->key, key_len, found);
    if (found || !make) {
        free(target);
        return found;
    }
    HASH_ADD(hh, verify->targets, key, key_len, target);
    return target;
}

static struct pn_mono now_of(const struct verify_target *target)
{
    return target->verify->deps.loop->now;
}

/* Only what is up and off parole proves anything. */
static void note_catch_all(struct verify_target *target, bool catch_all)
{
    struct verify *verify = target->verify;
    struct pn_str destination = {target->key, target->key_len};
    struct pn_str name = pn_str_cut(&destination, '\0');

    if (verify_is_up(verify, destination)) {
        state_catch_all_put(verify->deps.state, name, catch_all);
    }
}

static void note_taken(struct verify_target *target, struct pn_str local)
{
    target->witness_len = local.len < sizeof target->witness ? local.len : 0;
    memcpy(target->witness, local.ptr, target->witness_len);
    target->witness_until = pn_mono_add(now_of(target), WITNESS_MS);
    if (now_of(target).ms < target->random_until.ms) {
        target->random_until = (struct pn_mono){0};
        note_catch_all(target, false);
    }
}

void verify_target_note(struct verify *verify, const struct conf_domain *domain,
                        struct pn_str local)
{
    struct verify_target *target = find_target(verify, domain, false);

    if (target) {
        note_taken(target, local);
    }
}

/* Has another address been taken lately? */
static bool has_witness(const struct verify_target *target, struct pn_str local)
{
    return now_of(target).ms < target->witness_until.ms &&
           !pn_str_eq(local, (struct pn_str){target->witness, target->witness_len});
}

/* ---- questions ---------------------------------------------------------------------------
 */

static struct pn_str local_of(const struct verify_question *question)
{
    return (struct pn_str){question->local, question->local_len};
}

static struct verify_question *make_question(struct verify_target *target, struct conf *conf,
                                             struct conf_domain *domain, struct pn_str local,
                                             struct pn_str written)
{
    struct verify_question *question = pn_alloc(sizeof *question + local.len);
    struct pn_buf address;

    pn_buf_init(&address, VERIFY_LOCAL_MAX + 1 + MAIL_DOMAIN_MAX + 1);
    pn_assert(pn_buf_append(&address, written) == 0);
    if (verify_name_local(written) == written.len) {
        pn_assert(pn_buf_printf(&address, "@%s", domain->name) == 0);
    }
    question->utf8 = !pn_str_is_ascii(written);
    question->written = pn_buf_detach(&address);
    question->target = target;
    question->conf = conf_ref(conf);
    question->domain = conf_domain_ref(domain);
    question->since = now_of(target);
    question->local_len = local.len;
    memcpy(question->local, local.ptr, local.len);
    HASH_ADD(hh, target->questions, local, question->local_len, question);
    DL_APPEND(target->waiting, question);
    target->waiting_count++;
    target->verify->question_count++;
    return question;
}

/* The question is in no list any more. */
static void end_question(struct verify_question *question, struct verify_finding finding)
{
    struct verify_target *target = question->target;

    HASH_DEL(target->questions, question);
    target->verify->question_count--;
    while (question->waiters) {
        struct verify_waiter *waiter = question->waiters;

        verify_waiter_leave(waiter);
        waiter->on_found(waiter, &finding);
    }
    conf_unref(&question->conf);
    conf_domain_unref(&question->domain);
    free(question->written);
    free(question);
}

static void take_waiting(struct verify_question *question)
{
    DL_DELETE(question->target->waiting, question);
    question->target->waiting_count--;
}

static void end_all_waiting(struct verify_target *target)
{
    while (target->waiting) {
        struct verify_question *question = target->waiting;

        take_waiting(question);
        end_question(question, (struct verify_finding){0});
    }
}

void verify_waiter_leave(struct verify_waiter *waiter)
{
    if (waiter->question) {
        DL_DELETE(waiter->question->waiters, waiter);
        waiter->question = NULL;
    }
}

enum verify_asked verify_question_ask(struct verify *verify, struct conf *conf,
                                      struct conf_domain *domain, struct pn_str local,
                                      struct pn_str written, const struct pn_ip *payer,
                                      struct verify_waiter *waiter)
{
    struct verify_target *target = find_target(verify, domain, true);
    struct verify_question *question;

    HASH_FIND(hh, target->questions, local.ptr, local.len, question);
    if (!question) {
        if (verify->question_count >= QUESTIONS_MAX ||
            HASH_COUNT(target->questions) >= PER_TARGET_MAX) {
            return VERIFY_TOO_MANY;
        }
        if (payer && !verify_rates_take(verify->deps.rates, payer, conf->call_ahead_rate,
                                        verify->deps.loop->now)) {
            return VERIFY_TOO_OFTEN;
        }
        question = make_question(target, conf, domain, local, written);
        step_target(target);
    }
    if (waiter) {
        waiter->question = question;
        DL_APPEND(question->waiters, waiter);
    }
    return VERIFY_ASKED;
}

/* ---- turns -------------------------------------------------------------------------------
 */

/* Gives the session back, or stops waiting for it. */
static void free_turn(struct verify_turn *turn, bool clean)
{
    struct verify_target *target = turn->target;
    struct out_pool *pool = target->verify->deps.pool;

    pn_assert(!turn->question);
    out_pool_cancel(pool, &turn->request);
    if (turn->session && turn->refused >= TURN_REFUSALS) {
        out_session_quit(turn->session);
    }
    if (turn->session) {
        out_pool_put(pool, turn->session, clean);
    }
    if (turn->gone) {
        *turn->gone = true;
    }
    DL_DELETE(target->turns, turn);
    target->turn_count--;
    free(turn);
}

/* The target cannot be asked now. Another turn may still serve those who wait. */
static void fail_turn(struct verify_turn *turn, bool clean)
{
    struct verify_target *target = turn->target;

    free_turn(turn, clean);
    if (target->turn_count == 0) {
        target->lost = 0;
        end_all_waiting(target);
    }
}

static void end_turn(struct verify_turn *turn, bool clean)
{
    struct verify_target *target = turn->target;

    free_turn(turn, clean);
    step_target(target);
}

/* The first that is still worth asking. */
static struct verify_question *first_waiting(struct verify_target *target)
{
    struct verify_question *question;

    while ((question = target->waiting) &&
           now_of(target).ms - question->since.ms >= QUESTION_MS) {
        take_waiting(question);
        end_question(question, (struct verify_finding){0});
    }
    return question;
}

/* The same, but for those whose address the session cannot carry. */
static struct verify_question *first_possible(struct verify_turn *turn)
{
    bool can = out_session_capabilities(turn->session) & SMTP_CAP_SMTPUTF8;
    struct verify_question *question;

    while ((question = first_waiting(turn->target)) && question->utf8 && !can) {
        take_waiting(question);
        end_question(question, (struct verify_finding){0});
    }
    return question;
}

static void say_mail(struct verify_turn *turn)
{
    struct verify_question *question = first_possible(turn);

    if (!question) {
        end_turn(turn, true);
        return;
    }
    turn->utf8 = question->utf8;
    turn->state = TURN_MAIL;
    out_session_live_timeout(turn->session, REPLY_MS);
    out_session_live_mail(turn->session, PN_STR(""), 0, turn->utf8 ? MAIL_UTF8_ADDRESS : 0,
                          MAIL_RET_NONE, PN_STR(""));
}

static void say_rcpt(struct verify_turn *turn, enum turn_state state, const char *address)
{
    struct mail_recipient recipient = {.address = pn_str_z(address)};

    turn->state = state;
    turn->asked++;
    out_session_live_rcpt(turn->session, &recipient);
}

static void say_rcpt_at(struct verify_turn *turn, enum turn_state state, const char *local)
{
    char address[64 + MAIL_DOMAIN_MAX];

    /* The key begins with the domain's name and a NUL. */
    (void)snprintf(address, sizeof address, "%s@%s", local, turn->target->key);
    say_rcpt(turn, state, address);
}

static void say_random(struct verify_turn *turn)
{
    static const char base32[] = "abcdefghijklmnopqrstuvwxyz234567";
    char local[] = "postern-0123456789abcdef";

    _Static_assert(sizeof local == sizeof "postern-" + RANDOM_CHARS, "all of it is filled");
    for (size_t i = sizeof "postern-" - 1; i < sizeof local - 1; i++) {
        local[i] = base32[pn_rand_below(&turn->target->verify->rand, 32)];
    }
    turn->target->random_at = pn_mono_add(now_of(turn->target), RANDOM_PAUSE_MS);
    say_rcpt_at(turn, TURN_RANDOM, local);
}

static bool is_random_due(const struct verify_target *target)
{
    struct verify *verify = target->verify;

    return now_of(target).ms >= target->random_at.ms &&
           !state_catch_all_get(verify->deps.state, pn_str_z(target->key)).known;
}

/* A transaction is open, and no reply is awaited. */
static void step_turn(struct verify_turn *turn)
{
    struct verify_question *question = first_possible(turn);

    if (!question || turn->asked >= TURN_QUESTIONS || turn->refused >= TURN_REFUSALS ||
        (question->utf8 && !turn->utf8)) {
        end_turn(turn, false);
    } else if (is_random_due(turn->target)) {
        say_random(turn);
    } else {
        take_waiting(question);
        turn->question = question;
        say_rcpt(turn, TURN_RCPT, question->written);
    }
}

/* ---- replies -----------------------------------------------------------------------------
 */

/* Ends the question of this turn. The answer is remembered before anybody is told. */
static void conclude(struct verify_turn *turn, enum state_verdict verdict)
{
    struct verify_question *question = turn->question;
    struct verify *verify = turn->target->verify;
    struct verify_finding finding = {.verdict = verdict};

    turn->question = NULL;
    finding.catch_all = verdict == STATE_VALID && verify_is_catch_all(verify, question->domain);
    if (verdict == STATE_INVALID &&
        !verify_is_up(verify, pn_str_z(question->domain->destination))) {
        finding.verdict = STATE_UNKNOWN; /* it went down, or on parole, meanwhile */
    }
    if (finding.verdict != STATE_UNKNOWN) {
        verify_teach(verify, question->domain, local_of(question), finding.verdict,
                     STATE_BY_CALL_AHEAD);
    }
    end_question(question, finding);
}

static void on_rcpt(struct verify_turn *turn, enum verify_meaning meaning)
{
    struct pn_str local = local_of(turn->question);

    switch (meaning) {
    case VERIFY_SAYS_YES:
        note_taken(turn->target, local);
        conclude(turn, STATE_VALID);
        break;
    case VERIFY_SAYS_NO:
        conclude(turn, STATE_INVALID);
        break;
    case VERIFY_SAYS_BARE_NO:
        if (has_witness(turn->target, local)) {
            conclude(turn, STATE_INVALID);
        } else if (!pn_str_eq_nocase(local, PN_STR("postmaster"))) {
            say_rcpt_at(turn, TURN_WITNESS, "postmaster");
            return;
        } else {
            conclude(turn, STATE_UNKNOWN);
        }
        break;
    case VERIFY_SAYS_NOTHING:
        conclude(turn, STATE_UNKNOWN);
        break;
    }
    step_turn(turn);
}

static void on_witness(struct verify_turn *turn, enum verify_meaning meaning)
{
    if (meaning == VERIFY_SAYS_YES) {
        note_taken(turn->target, PN_STR("postmaster"));
    }
    conclude(turn, meaning == VERIFY_SAYS_YES ? STATE_INVALID : STATE_UNKNOWN);
    step_turn(turn);
}

/*
 * Greylisting and the like: another random address is asked about in a while. A bare 550
 * shows that it is no catch-all as soon as something else is taken.
 */
static void on_random(struct verify_turn *turn, enum verify_meaning meaning)
{
    struct verify_target *target = turn->target;

    if (meaning == VERIFY_SAYS_YES || meaning == VERIFY_SAYS_NO) {
        note_catch_all(target, meaning == VERIFY_SAYS_YES);
    } else if (meaning == VERIFY_SAYS_BARE_NO) {
        target->random_until = pn_mono_add(now_of(target), WITNESS_MS);
    }
    step_turn(turn);
}

static void on_reply(struct verify_turn *turn, const struct smtp_reply *reply)
{
    enum verify_meaning meaning = verify_meaning_of(reply);

    if (reply->code == 421) {
        return; /* the end of the session is on its way, and says all */
    }
    turn->refused += turn->state != TURN_MAIL && !smtp_reply_ok(reply);
    switch (turn->state) {
    case TURN_SESSION:
        break;
    case TURN_MAIL:
        if (!smtp_reply_ok(reply)) {
            fail_turn(turn, true);
            break;
        }
        turn->target->lost = 0;
        step_turn(turn);
        break;
    case TURN_RANDOM:
        on_random(turn, meaning);
        break;
    case TURN_RCPT:
        on_rcpt(turn, meaning);
        break;
    case TURN_WITNESS:
        on_witness(turn, meaning);
        break;
    }
}

static void on_ended(struct verify_turn *turn)
{
    if (turn->question) {
        conclude(turn, STATE_UNKNOWN);
    }
    if (turn->state == TURN_MAIL && ++turn->target->lost > 1) {
        fail_turn(turn, false);
    } else {
        end_turn(turn, false);
    }
}

/* A reply may end the turn, and then the session is not ours any more. */
static void on_event(struct out_session *session, void *owner)
{
    struct verify_turn *turn = owner;
    struct out_event event;
    bool gone = false;

    turn->gone = &gone;
    while (!gone && out_session_next(session, &event)) {
        if (event.kind == OUT_EV_LIVE) {
            on_reply(turn, &event.reply);
        } else if (event.kind == OUT_EV_ENDED) {
            on_ended(turn);
        }
    }
    if (!gone) {
        turn->gone = NULL;
    }
}

static void on_session(void *owner, struct out_session *session, struct pn_str reason)
{
    struct verify_turn *turn = owner;

    (void)reason;
    turn->session = session;
    if (session) {
        say_mail(turn);
    } else {
        fail_turn(turn, false);
    }
}

static void begin_turn(struct verify_target *target, struct verify_question *question)
{
    struct verify_turn *turn = PN_NEW(struct verify_turn);

    turn->target = target;
    turn->request = (struct out_pool_request){
        .on_session = on_session, .on_event = on_event, .owner = turn};
    DL_APPEND(target->turns, turn);
    target->turn_count++;
    /* Longer than any client waits: a target that greets slowly is known to the next one. */
    out_pool_get(target->verify->deps.pool, &turn->request, question->conf, question->domain,
                 QUESTION_MS);
}

static void step_target(struct verify_target *target)
{
    struct verify_question *question = first_waiting(target);

    if (question && target->turn_count < TURNS_MAX &&
        target->waiting_count > target->turn_count * WAITING_PER_TURN) {
        begin_turn(target, question);
    }
}

void verify_target_free_all(struct verify *verify)
{
    struct verify_target *target, *next;

    HASH_ITER (hh, verify->targets, target, next) {
        while (target->turns) {
            struct verify_turn *turn = target->turns;

            if (turn->question) {
                end_question(turn->question, (struct verify_finding){0});
                turn->question = NULL;
            }
            free_turn(turn, false);
        }
        end_all_waiting(target);
        HASH_DEL(verify->targets, target);
        free(target);
    }
}
