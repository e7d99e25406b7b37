/*
 * verify.c - one request: the sources of its domain in their order, until one knows.
 *
 * An asking has the facts it has, and one step function that goes through the sources. The
 * list knows a yes; its no is one only if no other source is left to ask. Call-ahead knows
 * what is remembered, or asks the target. What the target must not be asked, because it is
 * down or on parole, is as it was last known, however old that is.
 *
 * Verdicts are given at the end of the loop's turn. An asking that is cancelled while its
 * task or its read is under way is freed by that.
 */
#include "verify_priv.h"

#include <string.h>

enum asking_state {
    ASKING_READS,   /* what is remembered */
    ASKING_WAITS,   /* for the target */
    ASKING_ANSWERS, /* at the end of this turn */
};

/* Why nothing is known, the last that applies; for the client. */
enum asking_gap { GAP_NOTHING, GAP_NO_LIST, GAP_SILENT, GAP_TOO_OFTEN };

struct verify_asking {
    struct verify_asking *prev, *next;
    struct verify *verify; /* NULL: cancelled */
    struct verify_request *request;
    struct conf *conf;
    struct conf_domain *domain;
    struct pn_ip client;
    enum asking_state state;
    enum asking_gap gap;
    uint8_t source; /* index in the domain's order */
    bool remembers; /* answer is filled in */
    struct state_answer answer;
    struct verify_waiter waiter;
    struct pn_timer patience;
    struct loop_task task;
    struct verify_verdict verdict;
    struct pn_buf local; /* as compared */
    struct pn_buf written;
};

/* ---- life --------------------------------------------------------------------------------
 */

struct verify *verify_new(const struct verify_deps *deps)
{
    struct verify *verify = PN_NEW(struct verify);

    verify->deps = *deps;
    pn_rand_init(&verify->rand, deps->seed);
    if (!deps->rates) {
        verify->own_rates = verify_rates_new();
        verify->deps.rates = verify->own_rates;
    }
    return verify;
}

void verify_free(struct verify **pointer)
{
    struct verify *verify = *pointer;

    *pointer = NULL;
    if (!verify) {
        return;
    }
    verify_warming_free_all(verify);
    verify_asking_forget_all(verify);
    verify_target_free_all(verify);
    verify_rates_free(&verify->own_rates);
    free(verify);
}

static void free_asking(struct verify_asking *asking)
{
    conf_unref(&asking->conf);
    conf_domain_unref(&asking->domain);
    pn_buf_fini(&asking->local);
    pn_buf_fini(&asking->written);
    free(asking);
}

static void stop_waiting(struct verify_asking *asking)
{
    verify_waiter_leave(&asking->waiter);
    loop_timer_stop(asking->verify->deps.loop, &asking->patience);
}

/* From here on nobody knows the asking but what is under way for it. */
static void detach(struct verify_asking *asking)
{
    stop_waiting(asking);
    DL_DELETE(asking->verify->askings, asking);
    asking->request->pending = NULL;
    asking->verify = NULL;
}

void verify_cancel(struct verify *verify, struct verify_request *request)
{
    struct verify_asking *asking = request->pending;

    (void)verify;
    if (!asking) {
        return;
    }
    detach(asking);
    if (asking->state == ASKING_WAITS) {
        free_asking(asking);
    }
}

void verify_asking_forget_all(struct verify *verify)
{
    while (verify->askings) {
        verify_cancel(verify, verify->askings->request);
    }
}

/* ---- verdicts ----------------------------------------------------------------------------
 */

static void run_verdict(struct loop_task *task)
{
    struct verify_asking *asking = PN_CONTAINER(task, struct verify_asking, task);
    struct verify_request *request = asking->request;

    if (asking->verify) {
        detach(asking);
        request->on_verdict(request->owner, &asking->verdict);
    }
    free_asking(asking);
}

static void finish(struct verify_asking *asking, enum verify_outcome outcome,
                   const char *source)
{
    struct verify_verdict *verdict = &asking->verdict;

    verdict->outcome = outcome;
    verdict->source = source;
    if (outcome == VERIFY_VALID) {
        smtp_reply_set(&verdict->reply, 250, "2.1.5", "Recipient ok");
    } else if (outcome == VERIFY_INVALID) {
        smtp_reply_set(&verdict->reply, 550, "5.1.1", "There is no such recipient in %s",
                       asking->domain->name);
    }
    asking->state = ASKING_ANSWERS;
    asking->task.on_run = run_verdict;
    loop_defer(asking->verify->deps.loop, &asking->task);
}

/* A remembered answer decides. */
static void finish_as_known(struct verify_asking *asking)
{
    asking->verdict.answer = asking->answer;
    finish(asking, asking->answer.verdict == STATE_VALID ? VERIFY_VALID : VERIFY_INVALID,
           "call-ahead");
}

static bool is_up(const struct verify_asking *asking)
{
    return verify_is_up(asking->verify, pn_str_z(asking->domain->destination));
}

/* One that is neither up nor down, on parole or held, may well be there; it is not asked. */
static bool is_down(const struct verify_asking *asking)
{
    const struct verify_deps *deps = &asking->verify->deps;

    return out_board_get(deps->board, pn_str_z(asking->domain->destination)).state ==
           QUEUE_DOWN;
}

static void finish_unknown(struct verify_asking *asking)
{
    struct smtp_reply *reply = &asking->verdict.reply;
    const char *name = asking->domain->name;

    if (!is_up(asking) && asking->domain->unknown_when_down == CONF_UNKNOWN_ACCEPT) {
        finish(asking, VERIFY_VALID, "nobody");
        return;
    }
    if (is_down(asking)) {
        smtp_reply_set(reply, 450, "4.4.0",
                       "The server of %s is away and we do not know this recipient; "
                       "try again later",
                       name);
    } else if (!is_up(asking)) {
        smtp_reply_set(reply, 450, "4.4.0",
                       "We do not know this recipient and do not ask the server of %s yet; "
                       "try again later",
                       name);
    } else if (asking->gap == GAP_TOO_OFTEN) {
        smtp_reply_set(reply, 450, "4.7.1",
                       "Too many questions about recipients from your network; "
                       "try again later");
    } else if (asking->gap == GAP_SILENT) {
        smtp_reply_set(reply, 450, "4.4.3",
                       "The recipient cannot be verified now; try again later");
    } else {
        smtp_reply_set(reply, 450, "4.3.0",
                       "The recipients of %s are not known yet; try again later", name);
    }
    finish(asking, VERIFY_UNKNOWN, "nobody");
}

/* ---- sources -----------------------------------------------------------------------------
 */

static void step(struct verify_asking *asking);

static void go_on_without(struct verify_asking *asking, enum asking_gap gap)
{
    asking->gap = gap;
    step(asking);
}

static void on_patience(struct pn_timer *timer)
{
    struct verify_asking *asking = PN_CONTAINER(timer, struct verify_asking, patience);

    stop_waiting(asking);
    go_on_without(asking, GAP_SILENT);
}

static void on_found(struct verify_waiter *waiter, const struct verify_finding *finding)
{
    struct verify_asking *asking = PN_CONTAINER(waiter, struct verify_asking, waiter);

    stop_waiting(asking);
    asking->verdict.catch_all = finding->catch_all;
    if (finding->verdict == STATE_UNKNOWN) {
        go_on_without(asking, GAP_SILENT);
    } else {
        finish(asking, finding->verdict == STATE_VALID ? VERIFY_VALID : VERIFY_INVALID,
               "call-ahead");
    }
}

static void on_remembered(void *owner, int status, const struct state_answer *answer)
{
    struct verify_asking *asking = owner;

    if (!asking->verify) {
        free_asking(asking);
        return;
    }
    (void)status; /* what the store could not say is unknown */
    asking->remembers = true;
    asking->answer = *answer;
    step(asking);
}

/* True: it is known, or a read is under way. */
static bool remember(struct verify_asking *asking)
{
    struct pn_str name = pn_str_z(asking->domain->name);
    struct state *state = asking->verify->deps.state;

    if (asking->remembers) {
        return true;
    }
    asking->remembers =
        state_answer_peek(state, name, pn_buf_str(&asking->local), &asking->answer);
    if (!asking->remembers) {
        asking->state = ASKING_READS;
        state_answer_get(state, asking->verify->deps.loop, name, pn_buf_str(&asking->local),
                         on_remembered, asking);
    }
    return asking->remembers;
}

static enum verify_asked put_question(struct verify_asking *asking,
                                      struct verify_waiter *waiter)
{
    return verify_question_ask(asking->verify, asking->conf, asking->domain,
                               pn_buf_str(&asking->local), pn_buf_str(&asking->written),
                               &asking->client, waiter);
}

/* True: the asking has its verdict, or waits. */
static bool ask_target(struct verify_asking *asking)
{
    switch (put_question(asking, &asking->waiter)) {
    case VERIFY_ASKED:
        asking->state = ASKING_WAITS;
        loop_timer_after(asking->verify->deps.loop, &asking->patience,
                         asking->domain->call_ahead_wait_ms);
        return true;
    case VERIFY_TOO_OFTEN:
        asking->gap = GAP_TOO_OFTEN;
        break;
    case VERIFY_TOO_MANY:
        asking->gap = GAP_SILENT;
        break;
    }
    return false;
}

/* What is remembered is good enough not to ask; an old yes is asked again on the side. */
static bool use_known(struct verify_asking *asking)
{
    const struct conf_domain *domain = asking->domain;
    const struct state_answer *answer = &asking->answer;

    if (answer->verdict == STATE_VALID && answer->age_ms < domain->valid_keep_ms) {
        if (answer->age_ms > domain->valid_refresh_ms) {
            (void)put_question(asking, NULL);
        }
        finish_as_known(asking);
        return true;
    }
    if (answer->verdict == STATE_INVALID && answer->age_ms < domain->invalid_keep_ms) {
        if (answer->age_ms <= domain->invalid_refresh_ms) {
            finish_as_known(asking);
            return true;
        }
        return false;
    }
    if (verify_is_catch_all(asking->verify, domain)) {
        asking->verdict.catch_all = true;
        finish(asking, VERIFY_VALID, "call-ahead");
        return true;
    }
    return false;
}

/* True: the asking has its verdict, or waits. */
static bool call_ahead(struct verify_asking *asking)
{
    if (!remember(asking)) {
        return true;
    }
    asking->verdict.catch_all = verify_is_catch_all(asking->verify, asking->domain);
    if (!is_up(asking)) {
        if (asking->answer.verdict == STATE_UNKNOWN && asking->verdict.catch_all) {
            finish(asking, VERIFY_VALID, "call-ahead"); /* it would take anybody */
            return true;
        }
        if (asking->answer.verdict == STATE_UNKNOWN) {
            return false;
        }
        finish_as_known(asking);
        return true;
    }
    if (asking->gap == GAP_SILENT || asking->gap == GAP_TOO_OFTEN) {
        return false; /* it was asked */
    }
    return use_known(asking) || ask_target(asking);
}

/* True: the asking has its verdict. */
static bool look_up(struct verify_asking *asking)
{
    struct verify_lists *lists = asking->verify->deps.lists;
    struct pn_str name = pn_buf_str(&asking->local);
    enum verify_list_answer answer =
        lists ? verify_lists_find(lists, asking->domain,
                                  pn_str_sub(name, 0, verify_name_local(name)))
              : VERIFY_LIST_NOT_LOADED;

    if (answer == VERIFY_LIST_YES) {
        finish(asking, VERIFY_VALID, "list");
        return true;
    }
    if (answer == VERIFY_LIST_NO && asking->source + 1 == asking->domain->recipients.count) {
        finish(asking, VERIFY_INVALID, "list");
        return true;
    }
    if (asking->gap == GAP_NOTHING) {
        asking->gap = GAP_NO_LIST;
    }
    return false;
}

static void step(struct verify_asking *asking)
{
    const struct conf_order *order = &asking->domain->recipients;

    for (; asking->source < order->count; asking->source++) {
        switch ((enum conf_recipients)order->words[asking->source]) {
        case CONF_RECIPIENTS_LIST:
            if (look_up(asking)) {
                return;
            }
            break;
        case CONF_RECIPIENTS_CALL_AHEAD:
            if (call_ahead(asking)) {
                return;
            }
            break;
        case CONF_RECIPIENTS_ANY:
            finish(asking, VERIFY_VALID, "any");
            return;
        }
    }
    finish_unknown(asking);
}

void verify_ask(struct verify *verify, struct verify_request *request, struct conf *conf,
                struct conf_domain *domain, struct pn_str local, const struct pn_ip *client)
{
    struct verify_asking *asking = PN_NEW(struct verify_asking);

    pn_assert(!request->pending);
    request->pending = asking;
    asking->verify = verify;
    asking->request = request;
    asking->conf = conf_ref(conf);
    asking->domain = conf_domain_ref(domain);
    asking->client = *client;
    asking->waiter.on_found = on_found;
    asking->patience.on_fire = on_patience;
    DL_APPEND(verify->askings, asking);
    pn_buf_init(&asking->local, VERIFY_LOCAL_MAX);
    pn_buf_init(&asking->written, VERIFY_LOCAL_MAX);
    if (!verify_local(domain, local, &asking->local) ||
        pn_buf_append(&asking->written, local) != 0) {
        finish(asking, VERIFY_INVALID, "nobody"); /* no address is so long */
        return;
    }
    step(asking);
}
