/*
 * ingress/receive.c - the text of a message: from the line into the spool.
 *
 * Before the server is fed, ingress_receive_allowance says how much it may get, so that
 * whatever comes out of it has a place: in the draft, and in the memory budget. What is not fed
 * stays in the stream, and beyond its limit with the client. That is all there is to slowing
 * down.
 *
 * A chunk of the spool is filled to its last octet, and nobody knows what the next octet
 * fed will make (a CR LF, or nothing). So near the end of a chunk a few octets are fed
 * blindly, and what then has no room stays in the transaction's spill until it has.
 *
 * The budget. A session takes memory in doubling steps up to MEMORY_MAX, with which it can
 * always go on: the spool works on one chunk while the next one fills. A quarter of the
 * budget is not for growing. It goes only to the session that has waited longest, which
 * then gets all of MEMORY_MAX at once. Such a session needs nothing from others any more
 * and will end, and with it its memory comes back: clients that all got stuck half way
 * cannot hold each other up. Who waits a minute anyhow, because others are slow, is told
 * 452 at the end of its text, and what it held goes to the next.
 *
 * In pass-through the same text goes to the target as it comes, all but the dot, and the
 * draft is what is left of it when the target fails. Its chunks stay in memory, which half of
 * the budget may be used for, so that a message that the target took was never written. Only
 * when that is used up are they written as they come, and deleted when the target took them.
 * (An unlinked file would be cheaper, but a loop must not wait for a disk.) What the target
 * does not take fast enough counts as memory, too, and the client waits for it.
 *
 * What speaks against a message is remembered as a refusal; its text is read to the end
 * and thrown away, so that client and server stay in step.
 */
#include "session_priv.h"
#include "verdict_priv.h"

#include "postern/base/assert.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MEMORY_FIRST ((uint64_t)4096)
#define MEMORY_MAX   ((uint64_t)2 * SPOOL_CHUNK_OCTETS)
#define FEED_MIN     512  /* less than this is not worth a turn */
#define TARGET_MIN   4096 /* nor less room than this at the target */
#define HEADER_MAX   4096 /* our trace header */
#define HELD_BACK    16   /* the server may still have a CR, a dot and the like */
#define TINY         16   /* octets that may be fed whatever room there is */
#define LOG_RCPTS    5
#define NOTE_MAX     768

static const struct refusal no_memory = {452, "4.3.1",
                                         "too little memory for this message, try again later"};
static const struct refusal no_store = {452, "4.3.1",
                                        "the message could not be stored, try again later"};

/* Mending line ends makes two octets of one. */
static size_t most_that_fits(uint64_t room)
{
    return room > HELD_BACK ? (size_t)(room - HELD_BACK) / 2 : 0;
}

static void refuse(struct session *session, const struct refusal *refusal)
{
    struct transaction *transaction = session->transaction;

    transaction->refusal = refusal;
    ingress_pass_stop(session);
    spool_draft_free(&transaction->draft);
    ingress_receive_give_back(session);
}

void ingress_receive_check(struct session *session)
{
    struct transaction *transaction = session->transaction;

    if (transaction && transaction->draft &&
        spool_draft_get_state(transaction->draft) == SPOOL_DRAFT_FAILED) {
        refuse(session, &no_store);
    }
}

void ingress_receive_give_up(struct session *session)
{
    refuse(session, &no_memory);
}

void ingress_receive_give_back(struct session *session)
{
    struct transaction *transaction = session->transaction;

    uint64_t reserved = transaction->text_reserved + transaction->kept_reserved;

    if (reserved > 0) {
        policy_memory_give(session->ingress->deps.limits, reserved);
        transaction->text_reserved = 0;
        transaction->kept_reserved = 0;
        if (session->ingress->waiting) {
            ingress_defer(session->ingress);
        }
    }
}

/* One step up; or, for who is first in line, all of it. */
static bool take_more(struct session *session)
{
    struct transaction *transaction = session->transaction;
    struct policy_limits *limits = session->ingress->deps.limits;
    uint64_t max = policy_memory_max(limits);
    uint64_t goal =
        transaction->text_reserved > 0 ? 2 * transaction->text_reserved : MEMORY_FIRST;
    uint64_t more = goal - transaction->text_reserved;

    if (policy_memory_used(limits) + more <= max - max / 4 &&
        policy_memory_take(limits, more)) {
        transaction->text_reserved = goal;
        return true;
    }
    more = MEMORY_MAX - transaction->text_reserved;
    if ((!session->ingress->waiting || session->ingress->waiting == session) &&
        policy_memory_take(limits, more)) {
        transaction->text_reserved = MEMORY_MAX;
        return true;
    }
    return false;
}

/* How many octets may be fed as far as memory goes. */
static size_t memory_allowance(struct session *session, size_t wanted)
{
    struct transaction *transaction = session->transaction;
    uint64_t held =
        transaction->draft ? spool_draft_memory(transaction->draft) : HEADER_MAX / 2;
    uint64_t needed;

    held += ingress_pass_unsent(session);
    needed = held + 2 * (uint64_t)wanted + HELD_BACK;
    while (transaction->text_reserved < needed && transaction->text_reserved < MEMORY_MAX) {
        if (!take_more(session)) {
            break;
        }
    }
    if (transaction->text_reserved >= needed || transaction->text_reserved >= MEMORY_MAX) {
        return wanted;
    }
    if (transaction->text_reserved <= held) {
        return 0;
    }
    return most_that_fits(transaction->text_reserved - held);
}

size_t ingress_receive_allowance(struct session *session, size_t wanted)
{
    struct transaction *transaction = session->transaction;
    size_t target_room;
    size_t room;
    size_t allowed;

    /* A chunk without a recipient is only eaten. */
    if (!transaction || transaction->recipient_count == 0 || transaction->refusal) {
        return wanted;
    }
    room = most_that_fits(transaction->draft ? spool_draft_room(transaction->draft)
                                             : SPOOL_CHUNK_OCTETS - HEADER_MAX);
    if (room < TINY) {
        room = TINY;
    }
    target_room = ingress_pass_room(session);
    if (target_room < TARGET_MIN) {
        ingress_session_enter(session, SESSION_TARGET);
        return 0;
    }
    if (room > most_that_fits(target_room)) {
        room = most_that_fits(target_room);
    }
    if (wanted > room) {
        wanted = room;
    }
    allowed = memory_allowance(session, wanted);
    if (allowed < wanted && allowed < FEED_MIN) {
        ingress_session_enter(session, SESSION_MEMORY);
        return 0;
    }
    return allowed < wanted ? allowed : wanted;
}

/* RFC 3848 and RFC 6531 4.3. */
struct pn_str ingress_receive_protocol(const struct session *session)
{
    bool utf8 = (session->transaction->envelope.flags & MAIL_SMTPUTF8) != 0;

    if (!session->extended) {
        return PN_STR("SMTP");
    }
    if (session->tls) {
        return utf8 ? PN_STR("UTF8SMTPS") : PN_STR("ESMTPS");
    }
    return utf8 ? PN_STR("UTF8SMTP") : PN_STR("ESMTP");
}

void ingress_receive_begin(struct session *session)
{
    struct pn_str host = pn_str_z(session->conf->hostname);
    char lower[MAIL_SCAN_HOST_MAX];

    host = pn_str_sub(host, 0, sizeof lower);
    for (size_t i = 0; i < host.len; i++) {
        lower[i] = pn_to_lower(host.ptr[i]);
    }
    mail_scan_init(&session->transaction->scan, (struct pn_str){lower, host.len});
}

static void on_draft(void *owner)
{
    ingress_session_step(owner);
}

/* Makes the draft, with our trace header at its front. */
static void draft_begin(struct session *session)
{
    struct transaction *transaction = session->transaction;
    struct mail_envelope *envelope = &transaction->envelope;
    struct ingress *ingress = session->ingress;
    struct loop *loop = session_loop(session);
    struct pn_buf *header = &ingress->scratch;
    struct pn_str only = PN_STR("");

    envelope->id = pn_id_make(loop->wall, &ingress->rand);
    envelope->helo = pn_str_z(session->helo);
    envelope->client_name = pn_str_z(session->name);
    envelope->login = pn_str_z(session->login);
    envelope->client = session->peer;
    envelope->protocol = ingress_receive_protocol(session);
    envelope->tls = pn_str_z(session->tls);
    envelope->arrival = loop->wall;
    if (transaction->recipient_count == 1) {
        only = transaction->groups->first->recipient.address;
    }
    pn_buf_clear(header);
    pn_assert(mail_received_write(envelope, pn_str_z(session->conf->hostname), only, header) ==
              0);
    pn_assert(pn_buf_str(header).len <= HEADER_MAX);
    transaction->draft =
        spool_draft_new(ingress->deps.spool, loop, &envelope->id, on_draft, session);
    spool_draft_write(transaction->draft, pn_buf_str(header));
    ingress_pass_text(session, pn_buf_str(header));
}

/* A chunk of a message that is passed through is full: may it stay in memory? */
static void keep_chunk(struct session *session)
{
    struct transaction *transaction = session->transaction;
    struct policy_limits *limits = session->ingress->deps.limits;
    uint64_t octets = spool_draft_octets(transaction->draft);

    if (transaction->pass.state != PASS_TEXT) {
        spool_draft_keep(transaction->draft, 0);
    } else if (octets > transaction->kept_reserved && octets % SPOOL_CHUNK_OCTETS == 0 &&
               policy_memory_used(limits) + SPOOL_CHUNK_OCTETS <=
                   policy_memory_max(limits) / 2 &&
               policy_memory_take(limits, SPOOL_CHUNK_OCTETS)) {
        transaction->kept_reserved += SPOOL_CHUNK_OCTETS;
        spool_draft_keep(transaction->draft,
                         (size_t)(transaction->kept_reserved / SPOOL_CHUNK_OCTETS));
    }
}

static void write_text(struct session *session, struct pn_str text)
{
    spool_draft_write(session->transaction->draft, text);
    ingress_pass_text(session, text);
}

void ingress_receive_text(struct session *session, struct pn_str text)
{
    struct transaction *transaction = session->transaction;

    if (transaction->refusal) {
        return;
    }
    if (!transaction->draft) {
        draft_begin(session);
    }
    mail_scan_feed(&transaction->scan, text);
    while (text.len > 0) {
        struct pn_str fits;

        keep_chunk(session);
        fits = pn_str_sub(text, 0, spool_draft_room(transaction->draft));
        if (spool_draft_get_state(transaction->draft) == SPOOL_DRAFT_FAILED) {
            return; /* we are about to be told, and say so to the client */
        }
        if (fits.len == 0) {
            pn_assert(text.len <= sizeof transaction->spill);
            memcpy(transaction->spill, text.ptr, text.len);
            transaction->spill_len = text.len;
            ingress_session_enter(session, SESSION_ROOM);
            return;
        }
        write_text(session, fits);
        text = pn_str_sub(text, fits.len, SIZE_MAX);
    }
}

bool ingress_receive_room(struct session *session)
{
    struct transaction *transaction = session->transaction;
    struct pn_str spill = {transaction->spill, transaction->spill_len};

    ingress_receive_check(session);
    if (!transaction->refusal) {
        keep_chunk(session);
        if (spool_draft_room(transaction->draft) < spill.len) {
            return false;
        }
        write_text(session, spill);
    }
    transaction->spill_len = 0;
    ingress_session_enter(session, SESSION_TEXT);
    return true;
}

/* The message is not taken: says so and forgets it. */
static void turn_away(struct session *session, const struct smtp_reply *reply)
{
    struct transaction *transaction = session->transaction;
    struct ingress *ingress = session->ingress;
    struct pn_log_line line;

    pn_log_begin(&line, &session->log, PN_EV_REFUSED_DATA);
    if (line.log) {
        pn_buf_clear(&ingress->scratch);
        pn_assert(smtp_reply_format(reply, &ingress->scratch) == 0);
        pn_log_str(&line, "from", transaction->envelope.sender);
        pn_log_u64(&line, "rcpts", transaction->recipient_count);
        pn_log_str(&line, "reply", pn_buf_str(&ingress->scratch));
        pn_log_end(&line);
    }
    stats_count(ingress->deps.counters, STATS_MESSAGES_REFUSED, 1);
    if (smtp_reply_later(reply)) {
        ingress_command_excuse(session);
    }
    smtp_server_reply(session->server, reply);
    ingress_transaction_end(session);
}

static void turn_away_for(struct session *session, const struct refusal *refusal)
{
    struct smtp_reply reply;

    smtp_reply_set(&reply, refusal->code, refusal->enhanced, "%s", refusal->text);
    turn_away(session, &reply);
}

/* A message that was here before is stored, and waits for the operator (FAULTS 5.8). */
static void hold(struct spool_new_job *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        jobs[i].due_ms = QUEUE_DUE_NEVER;
        jobs[i].flags = QUEUE_JOB_HELD;
        jobs[i].reason = PN_STR("The message came back to us: its target hands mail for this "
                                "domain back. Mend the target, then release the message.");
    }
}

static void store(struct session *session)
{
    struct transaction *transaction = session->transaction;
    const struct mail_scan *scan = &transaction->scan;
    const struct ingress_deps *deps = &session->ingress->deps;
    int64_t now_ms = queue_clock_now(deps->clock, deps->loop->now);
    struct spool_new_job *jobs = ingress_transaction_jobs(transaction);

    if (!jobs) {
        turn_away_for(session, &no_memory);
        return;
    }
    transaction->envelope.flags |= (scan->header_8bit ? MAIL_UTF8_HEADER : 0u) |
                                   (scan->body_8bit ? MAIL_8BIT_BODY : 0u) |
                                   (scan->came_back ? MAIL_CAME_BACK : 0u);
    transaction->in_doubt = transaction->pass.state == PASS_DOUBT;
    transaction->due_ms =
        now_ms + (transaction->in_doubt ? session->conf->final_timeout_ms : 0);
    for (size_t i = 0; i < transaction->group_count; i++) {
        jobs[i].due_ms = transaction->due_ms;
        jobs[i].flags = transaction->in_doubt ? QUEUE_JOB_IN_DOUBT : 0;
    }
    if (scan->came_back) {
        hold(jobs, transaction->group_count);
    }
    spool_draft_store(transaction->draft, &transaction->envelope, now_ms, jobs,
                      transaction->group_count);
    ingress_session_enter(session, SESSION_STORING);
}

/* One of its targets that would take it is enough: the others' refusals are theirs. */
static bool mirror(struct session *session, struct smtp_reply *reply)
{
    const struct transaction *transaction = session->transaction;
    struct out_board *board = session->ingress->deps.board;
    bool utf8 = (transaction->envelope.flags & MAIL_SMTPUTF8) && transaction->scan.header_8bit;
    bool taken = !board;

    for (const struct group *g = transaction->groups; g && !taken; g = g->next) {
        if (g->count > 0) {
            struct out_board_entry entry =
                out_board_get(board, pn_str_z(g->domain->destination));

            taken = ingress_verdict_mirror_end(&entry, spool_draft_octets(transaction->draft),
                                               utf8, reply);
        }
    }
    return taken;
}

void ingress_receive_end(struct session *session, const struct smtp_event *event)
{
    struct transaction *transaction = session->transaction;
    struct smtp_reply reply;

    if (!transaction->refusal && !transaction->draft) {
        draft_begin(session);
    }
    /* We may not have been told yet that the draft has failed; from there on the target got
     * no text either, and the dot would make a whole message of what it has. */
    ingress_receive_check(session);
    if (transaction->refusal) {
        turn_away_for(session, transaction->refusal);
        return;
    }
    if (!ingress_verdict_end(session->conf, event, transaction->scan.received, &reply) ||
        !mirror(session, &reply)) {
        turn_away(session, &reply);
    } else if (transaction->pass.state == PASS_TEXT && !transaction->scan.came_back) {
        ingress_pass_finish(session);
        ingress_session_enter(session, SESSION_FINAL);
    } else {
        if (transaction->pass.state == PASS_TEXT) {
            ingress_pass_stop(session); /* it is held, and the target must not have it */
        }
        store(session);
    }
}

/* It was to be passed through: is it the target's failure that it is stored? */
static bool is_taken_over(const struct transaction *transaction)
{
    const struct pass *pass = &transaction->pass;
    bool failed = pass->domain && pass->state != PASS_NONE;

    for (const struct group *g = transaction->groups; failed && g; g = g->next) {
        if (g->count > 0 && strcmp(g->domain->destination, pass->domain->destination) == 0) {
            return true;
        }
    }
    return false;
}

static void log_taken_over(struct session *session)
{
    const struct transaction *transaction = session->transaction;
    struct pn_log_line line;

    pn_log_begin(&line, &session->log, PN_EV_TAKEN_OVER);
    pn_log_id(&line, "qid", &transaction->envelope.id);
    pn_log_str(&line, "dest", pn_str_z(transaction->pass.domain->destination));
    pn_log_str(&line, "why", pn_str_z(transaction->pass.reason));
    pn_log_z(&line, "doubt", transaction->in_doubt ? "yes" : "no");
    pn_log_end(&line);
}

static void log_message(struct session *session, enum pn_event event, bool told,
                        const struct smtp_reply *reply)
{
    const struct transaction *transaction = session->transaction;
    const struct mail_envelope *envelope = &transaction->envelope;
    struct pn_log_line line;
    size_t named = 0;

    pn_log_begin(&line, &session->log, event);
    pn_log_id(&line, "qid", &envelope->id);
    pn_log_str(&line, "from", envelope->sender);
    pn_log_u64(&line, "rcpts", transaction->recipient_count);
    for (const struct group *g = transaction->groups; g; g = g->next) {
        for (const struct recipient *r = g->first; r && named < LOG_RCPTS; r = r->next) {
            pn_log_str(&line, "to", r->recipient.address);
            named++;
        }
    }
    pn_log_u64(&line, "size", spool_draft_octets(transaction->draft));
    pn_log_str(&line, "proto", envelope->protocol);
    pn_log_str(&line, "helo", envelope->helo);
    pn_log_str(&line, "client", envelope->client_name);
    if (reply) {
        pn_log_z(&line, "target", transaction->pass.peer);
        pn_log_z(&line, "said", reply->text);
    }
    if (!told) {
        pn_log_z(&line, "reply", "lost: the client was gone, and may send it again");
    }
    pn_log_end(&line);
    if (envelope->flags & MAIL_CAME_BACK) {
        pn_log_begin(&line, &session->log, PN_EV_LOOP);
        pn_log_id(&line, "qid", &envelope->id);
        pn_log_str(&line, "domain", pn_str_z(transaction->groups->domain->name));
        pn_log_z(&line, "what",
                 "A message that went through here came back; it is held. Look at where the "
                 "domain's target sends its mail.");
        pn_log_end(&line);
    }
}

static void note_stored(struct session *session)
{
    const struct transaction *transaction = session->transaction;
    const struct mail_envelope *envelope = &transaction->envelope;
    const struct ingress_deps *deps = &session->ingress->deps;
    char ip[PN_IP_CHARS];
    char text[NOTE_MAX];
    int len;

    if (!deps->state || session->conf->trace_ms == 0) {
        return;
    }
    len = snprintf(text, sizeof text, "from=<%.*s> rcpts=%zu size=%" PRIu64 " client=%s",
                   PN_FMT(envelope->sender), transaction->recipient_count,
                   spool_draft_octets(transaction->draft), pn_ip_format(&session->peer.ip, ip));
    pn_assert(len > 0 && (size_t)len < sizeof text);
    state_note(deps->state, deps->loop->wall, &envelope->id, PN_EV_STORED,
               (struct pn_str){text, (size_t)len});
    if (envelope->flags & MAIL_CAME_BACK) {
        state_note(deps->state, deps->loop->wall, &envelope->id, PN_EV_LOOP,
                   PN_STR("came back to us, held"));
    }
}

static void finish_stored(struct session *session)
{
    const struct transaction *transaction = session->transaction;
    struct stats_counters *counters = session->ingress->deps.counters;
    bool told = stream_get_state(session->stream) != STREAM_FAILED;
    char id[PN_ID_CHARS + 1];
    struct smtp_reply reply;

    log_message(session, PN_EV_STORED, told, NULL);
    note_stored(session);
    if (is_taken_over(transaction)) {
        log_taken_over(session);
        stats_count(counters, STATS_PASS_HELD, 1);
        ingress_pass_listen(session, transaction->due_ms);
    }
    stats_count(counters, STATS_MESSAGES_STORED, 1);
    stats_count(counters, STATS_OCTETS_STORED, spool_draft_octets(transaction->draft));
    session->messages++;
    session->junk = 0;
    pn_id_format(&transaction->envelope.id, id);
    smtp_reply_set(&reply, 250, "2.0.0", "Ok: queued as %s", id);
    smtp_server_reply(session->server, &reply);
    ingress_transaction_end(session);
}

bool ingress_receive_stored(struct session *session)
{
    switch (spool_draft_get_state(session->transaction->draft)) {
    case SPOOL_DRAFT_STORED:
        finish_stored(session);
        break;
    case SPOOL_DRAFT_FAILED:
        turn_away_for(session, &no_store);
        break;
    case SPOOL_DRAFT_OPEN:
    case SPOOL_DRAFT_STORING:
        return false;
    }
    ingress_session_enter(session, SESSION_COMMAND);
    return true;
}

/* ---- the target's answers --------------------------------------------------------- */

bool ingress_receive_go_ahead(struct session *session)
{
    struct transaction *transaction = session->transaction;
    struct smtp_reply reply;

    if (transaction->pass.state == PASS_DATA) {
        return false;
    }
    ingress_session_enter(session, SESSION_COMMAND);
    if (transaction->pass.state == PASS_OPEN) {
        stats_count(session->ingress->deps.counters, STATS_PASS_REFUSED, 1);
        ingress_verdict_pass(transaction->pass.domain, &transaction->pass.reply, &reply);
        turn_away(session, &reply);
        return true;
    }
    ingress_receive_begin(session); /* the target's own 354 has come, or we need none */
    ingress_verdict_data(SPOOL_READY, &reply);
    smtp_server_reply(session->server, &reply);
    return true;
}

/* What is said at the end is about the message; only of a single recipient it may be, too. */
static void learn(struct session *session, const struct smtp_reply *reply)
{
    const struct transaction *transaction = session->transaction;
    struct verify *verify = session->ingress->deps.verify;
    struct pn_str address;
    char name[VERIFY_NAME_MAX];

    for (const struct group *g = transaction->groups; verify && g; g = g->next) {
        if (g->count == 1 && transaction->recipient_count == 1) {
            address = g->first->recipient.address;
            verify_learn(verify, g->domain, verify_name(g->domain, address, name), reply,
                         STATE_BY_PASS_THROUGH);
        }
    }
}

static void finish_refused(struct session *session)
{
    const struct pass *pass = &session->transaction->pass;
    struct smtp_reply reply;

    if (smtp_reply_refused(&pass->reply)) {
        learn(session, &pass->reply);
    }
    stats_count(session->ingress->deps.counters, STATS_PASS_REFUSED, 1);
    ingress_verdict_pass(pass->domain, &pass->reply, &reply);
    turn_away(session, &reply);
}

static void finish_passed(struct session *session)
{
    const struct pass *pass = &session->transaction->pass;
    struct smtp_reply reply;

    log_message(session, PN_EV_PASSED, stream_get_state(session->stream) != STREAM_FAILED,
                &pass->reply);
    stats_count(session->ingress->deps.counters, STATS_PASSED_THROUGH, 1);
    session->messages++;
    session->junk = 0;
    ingress_verdict_pass(pass->domain, &pass->reply, &reply);
    smtp_server_reply(session->server, &reply);
    ingress_transaction_end(session);
}

bool ingress_receive_final(struct session *session)
{
    const struct pass *pass = &session->transaction->pass;

    if (pass->state == PASS_FINAL) {
        return false;
    }
    ingress_session_enter(session, SESSION_COMMAND);
    if (pass->state == PASS_DONE && smtp_reply_ok(&pass->reply)) {
        finish_passed(session);
    } else if (pass->state == PASS_DONE) {
        finish_refused(session);
    } else if (stream_get_state(session->stream) == STREAM_FAILED) {
        /* Without 250 it is the client's still, and it will send it again. */
        ingress_session_drop(session, "lost");
    } else {
        store(session);
    }
    return true;
}
