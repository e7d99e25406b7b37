/*
 * learn.c - what replies mean, and what is remembered of them.
 *
 * A yes costs a spooled mail if it is wrong, a no costs a mail that is refused: so a no is
 * believed only in the words that mean it (RFC 3463: 5.1.1 bad mailbox, 5.1.6 moved, 5.1.10
 * of RFC 7505, 5.2.1 disabled), and only from a target that is up and off parole. One that
 * is just back, with an empty table of users, says them to everybody. 5.7.x and other
 * refusals were about the client, the sender or the text. A bare 550 may mean anything;
 * ask.c takes it for a no only where the same target takes another address.
 *
 * The yes of a catch-all says nothing of the address, unless mail to it was taken to the
 * end; it is not remembered. Its no is as good as any.
 */
#include "verify_priv.h"

#include <string.h>

#define FRESH_MS PN_HOURS(1) /* so young a yes need not be written again by each mail */

enum verify_meaning verify_meaning_of(const struct smtp_reply *reply)
{
    static const char *const refusals[] = {"5.1.1", "5.1.6", "5.1.10", "5.2.1"};

    if (smtp_reply_ok(reply)) {
        return VERIFY_SAYS_YES;
    }
    if (!smtp_reply_refused(reply)) {
        return VERIFY_SAYS_NOTHING;
    }
    for (size_t i = 0; i < PN_COUNT(refusals); i++) {
        if (strcmp(reply->enhanced, refusals[i]) == 0) {
            return VERIFY_SAYS_NO;
        }
    }
    return reply->code == 550 && reply->enhanced[0] == '\0' ? VERIFY_SAYS_BARE_NO
                                                            : VERIFY_SAYS_NOTHING;
}

bool verify_is_up(const struct verify *verify, struct pn_str destination)
{
    struct out_board_entry entry = out_board_get(verify->deps.board, destination);

    return entry.state == QUEUE_UP && !entry.parole;
}

bool verify_is_catch_all(const struct verify *verify, const struct conf_domain *domain)
{
    return state_catch_all_get(verify->deps.state, pn_str_z(domain->name)).catch_all;
}

void verify_teach(struct verify *verify, const struct conf_domain *domain, struct pn_str local,
                  enum state_verdict verdict, enum state_source source)
{
    struct pn_str name = pn_str_z(domain->name);
    struct state_answer known;

    if (verdict == STATE_INVALID && !verify_is_up(verify, pn_str_z(domain->destination))) {
        return;
    }
    if (verdict == STATE_VALID &&
        (source == STATE_BY_CALL_AHEAD || source == STATE_BY_PASS_THROUGH) &&
        verify_is_catch_all(verify, domain)) {
        return;
    }
    if (state_answer_peek(verify->deps.state, name, local, &known) &&
        known.verdict == verdict && verdict == STATE_VALID && known.age_ms < FRESH_MS) {
        return;
    }
    state_answer_put(verify->deps.state, name, local, verdict, source, verify->deps.loop->wall);
}

void verify_learn(struct verify *verify, const struct conf_domain *domain, struct pn_str local,
                  const struct smtp_reply *reply, enum state_source source)
{
    enum verify_meaning meaning = verify_meaning_of(reply);
    struct pn_buf compared;

    if (meaning != VERIFY_SAYS_YES && meaning != VERIFY_SAYS_NO) {
        return;
    }
    pn_buf_init(&compared, VERIFY_LOCAL_MAX);
    if (verify_local(domain, local, &compared)) {
        verify_teach(verify, domain, pn_buf_str(&compared),
                     meaning == VERIFY_SAYS_YES ? STATE_VALID : STATE_INVALID, source);
        if (meaning == VERIFY_SAYS_YES && source != STATE_BY_SENDER &&
            source != STATE_BY_IMPORT) { /* it was the target that took it */
            verify_target_note(verify, domain, pn_buf_str(&compared));
        }
    }
    pn_buf_fini(&compared);
}
