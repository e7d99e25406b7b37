/*
 * warm.c - asks again, at night, about what will soon expire.
 *
 * A walk over the domain's answers, a page at a time, and one question at a time with a
 * pause behind each. It goes over them twice: what has been a yes comes first, since with a
 * small limit a harvest's worth of made-up addresses must not take its place. A no that is
 * older than it is believed, and a yes twice as old, are forgotten on the way: that is what
 * bounds the store.
 *
 * It ends early when the target goes down, or is silent a few times in a row.
 */
#include "verify_priv.h"

#define PAGE        200
#define PAUSE_MS    200
#define SILENCE_MAX 5

#define ANSWERS_MAX    200 /* of a domain in one night */
#define NIGHT_SECONDS  (6 * 3600)
#define SECONDS_OF_DAY (24 * 3600)

struct verify_warming {
    struct verify_warming *prev, *next;
    struct verify *verify; /* NULL: ended while a page is read */
    struct conf *conf;
    struct conf_domain *domain;
    enum state_verdict wanted; /* of this walk */
    size_t left;               /* questions */
    unsigned silent;           /* in a row */
    bool reads, end;
    struct pn_buf after; /* the last local part of the page */
    struct pn_buf due;   /* local parts to ask about, each behind its length */
    struct verify_waiter waiter;
    struct pn_timer pause;
};

static void step(struct verify_warming *warming);

static void free_warming(struct verify_warming *warming)
{
    conf_unref(&warming->conf);
    conf_domain_unref(&warming->domain);
    pn_buf_fini(&warming->after);
    pn_buf_fini(&warming->due);
    free(warming);
}

static void end_warming(struct verify_warming *warming)
{
    struct verify *verify = warming->verify;

    verify_waiter_leave(&warming->waiter);
    loop_timer_stop(verify->deps.loop, &warming->pause);
    DL_DELETE(verify->warmings, warming);
    warming->verify = NULL;
    if (!warming->reads) {
        free_warming(warming);
    }
}

void verify_warming_free_all(struct verify *verify)
{
    while (verify->warmings) {
        end_warming(verify->warmings);
    }
}

static void take_row(struct verify_warming *warming, const struct state_answer_row *row)
{
    const struct conf_domain *domain = warming->domain;
    bool yes = row->answer.verdict == STATE_VALID;
    int64_t keep_ms = yes ? domain->valid_keep_ms : domain->invalid_keep_ms;

    if (row->answer.verdict != warming->wanted) {
        return;
    }
    if (row->answer.age_ms / (yes ? 2 : 1) >= keep_ms) {
        state_answer_put(warming->verify->deps.state, pn_str_z(domain->name), row->local,
                         STATE_UNKNOWN, row->answer.source, row->answer.when);
    } else if (row->answer.age_ms > keep_ms / 2 && row->local.len <= UINT8_MAX) {
        pn_assert(pn_buf_append_char(&warming->due, (char)(uint8_t)row->local.len) == 0 &&
                  pn_buf_append(&warming->due, row->local) == 0);
    }
}

static void on_page(void *owner, int status, const struct state_answer_row *rows, size_t count,
                    bool end)
{
    struct verify_warming *warming = owner;

    warming->reads = false;
    if (!warming->verify) {
        free_warming(warming);
        return;
    }
    if (status < 0) {
        end_warming(warming);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        take_row(warming, &rows[i]);
    }
    warming->end = end || count == 0;
    pn_buf_clear(&warming->after);
    if (count > 0) {
        pn_assert(pn_buf_append(&warming->after, rows[count - 1].local) == 0);
    }
    step(warming);
}

static void read_page(struct verify_warming *warming)
{
    warming->reads = true;
    state_answers_list(warming->verify->deps.state, warming->verify->deps.loop,
                       pn_str_z(warming->domain->name), pn_buf_str(&warming->after), PAGE,
                       on_page, warming);
}

static void on_pause(struct pn_timer *timer)
{
    step(PN_CONTAINER(timer, struct verify_warming, pause));
}

static void on_found(struct verify_waiter *waiter, const struct verify_finding *finding)
{
    struct verify_warming *warming = PN_CONTAINER(waiter, struct verify_warming, waiter);

    warming->silent = finding->verdict == STATE_UNKNOWN ? warming->silent + 1 : 0;
    loop_timer_after(warming->verify->deps.loop, &warming->pause, PAUSE_MS);
}

/* Asks about the first that is due. */
static void ask(struct verify_warming *warming)
{
    struct pn_str due = pn_buf_str(&warming->due);
    struct pn_str local = pn_str_sub(due, 1, (uint8_t)due.ptr[0]);
    enum verify_asked asked = verify_question_ask(
        warming->verify, warming->conf, warming->domain, local, local, NULL, &warming->waiter);

    pn_buf_consume(&warming->due, 1 + local.len);
    warming->left--;
    if (asked != VERIFY_ASKED) {
        warming->silent++; /* too much is going on */
        loop_timer_after(warming->verify->deps.loop, &warming->pause, PAUSE_MS);
    }
}

/* What is the next thing to do? Nothing is under way. */
static void step(struct verify_warming *warming)
{
    if (!verify_is_up(warming->verify, pn_str_z(warming->domain->destination)) ||
        warming->silent >= SILENCE_MAX) {
        end_warming(warming);
    } else if (warming->due.len > 0 && warming->left > 0) {
        ask(warming);
    } else if (!warming->end) {
        pn_buf_clear(&warming->due);
        read_page(warming);
    } else if (warming->wanted == STATE_VALID) {
        warming->wanted = STATE_INVALID;
        pn_buf_clear(&warming->after);
        pn_buf_clear(&warming->due);
        read_page(warming);
    } else {
        end_warming(warming);
    }
}

void verify_warm_up(struct verify *verify, struct conf *conf, struct conf_domain *domain,
                    size_t limit)
{
    struct pn_str name = pn_str_z(domain->name);
    struct verify_warming *warming;

    DL_FOREACH (verify->warmings, warming) {
        if (pn_str_eq(pn_str_z(warming->domain->name), name)) {
            return; /* the last night's is still at it */
        }
    }
    if (!verify_is_up(verify, pn_str_z(domain->destination))) {
        return;
    }
    warming = PN_NEW(struct verify_warming);
    warming->verify = verify;
    warming->conf = conf_ref(conf);
    warming->domain = conf_domain_ref(domain);
    warming->wanted = STATE_VALID;
    warming->left = verify_is_catch_all(verify, domain) ? 0 : limit;
    warming->waiter.on_found = on_found;
    warming->pause.on_fire = on_pause;
    pn_buf_init(&warming->after, 1024);
    pn_buf_init(&warming->due, (size_t)PAGE * (1 + VERIFY_LOCAL_MAX));
    DL_APPEND(verify->warmings, warming);
    read_page(warming);
}

static bool asks_ahead(const struct conf_domain *domain)
{
    for (size_t w = 0; w < domain->recipients.count; w++) {
        if (domain->recipients.words[w] == CONF_RECIPIENTS_CALL_AHEAD) {
            return true;
        }
    }
    return false;
}

void verify_warm_second(struct verify *verify, struct conf *conf, const struct domains *domains,
                        struct pn_wall wall)
{
    int64_t second = wall.ms / 1000 % SECONDS_OF_DAY;
    size_t count = domains_count(domains), from, to;

    if (second >= NIGHT_SECONDS) {
        return;
    }
    from = count * (size_t)second / NIGHT_SECONDS;
    to = count * ((size_t)second + 1) / NIGHT_SECONDS;
    for (size_t i = from; i < to; i++) {
        struct conf_domain *domain = (struct conf_domain *)(uintptr_t)domains_at(domains, i);

        if (asks_ahead(domain)) {
            verify_warm_up(verify, conf, domain, ANSWERS_MAX);
        }
    }
}
