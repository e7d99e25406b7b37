/*
 * admin/check.c - "domain check": gathers facts about a domain's DNS and its target.
 *
 * All questions are asked at once, and a session to the target is opened beside them; the
 * session goes as far as a probe does (MAIL and RSET), so nothing is delivered. When all
 * have ended, or the time is up, the facts are judged (findings.c) and the request is
 * answered, with a transcript of the session.
 */
#include "domain_priv.h"
#include "findings_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define CHECK_TIME_MS    PN_SECONDS(60)
#define TRANSCRIPT_LINES 500
#define QUESTIONS_MAX    (1 + 2 * (2 * ADMIN_CHECK_HOSTS + 1))

struct check;

struct question {
    struct resolver_query query;
    struct check *check;
    struct admin_host *host; /* NULL: the MX of the domain */
    enum resolver_type type;
};

struct check {
    struct admin_call call;
    const struct out_deps *out;
    struct conf *conf;
    struct conf_domain *domain;
    struct pn_timer timer;
    struct loop_task again; /* out of the callback that brought the last fact */
    bool concluding;
    struct question questions[QUESTIONS_MAX];
    size_t question_count;
    size_t open; /* questions without an answer */
    struct out_session *session;
    json_t *transcript;
    struct admin_facts facts;
};

static void check_free(struct check *check)
{
    for (size_t i = 0; i < check->question_count; i++) {
        resolver_cancel(check->out->resolver, &check->questions[i].query);
    }
    loop_timer_stop(check->out->loop, &check->timer);
    out_session_free(&check->session);
    json_decref(check->transcript);
    conf_mistakes_fini(&check->facts.files);
    conf_domain_unref(&check->domain);
    conf_unref(&check->conf);
    free(check);
}

/* Copies as much as fits; what is there is text for people. */
static void copy_text(char *out, size_t octets, struct pn_str text)
{
    size_t len = text.len < octets ? text.len : octets - 1;

    memcpy(out, text.len > 0 ? text.ptr : "", len);
    out[len] = '\0';
}

static void conclude(struct check *check)
{
    struct httpd_request *request = admin_call_end(&check->call);
    json_t *json;

    if (request) {
        json = json_object();
        admin_json_put(json, "name", admin_json_text(pn_str_z(check->domain->name)));
        admin_json_put(json, "findings", admin_findings(&check->facts));
        admin_json_put(json, "transcript", json_incref(check->transcript));
        admin_answer(request, 200, json);
    }
    check_free(check);
}

static void on_again(struct loop_task *task)
{
    conclude(PN_CONTAINER(task, struct check, again));
}

/* Ends the check when nothing is open any more. */
static void step(struct check *check)
{
    if (!check->concluding && check->open == 0 && !check->session) {
        check->concluding = true;
        loop_defer(check->out->loop, &check->again);
    }
}

static void on_time(struct pn_timer *timer)
{
    struct check *check = PN_CONTAINER(timer, struct check, timer);

    if (!check->concluding) {
        conclude(check);
    }
}

static void on_abort(struct admin_call *call)
{
    struct check *check = PN_CONTAINER(call, struct check, call);

    if (!check->concluding) {
        check_free(check);
    }
}

/* ---- DNS -------------------------------------------------------------------------- */

static void on_answer(struct resolver_query *query, const struct resolver_answer *answer);

static void ask_dns(struct check *check, struct admin_host *host, const char *name,
                    enum resolver_type type)
{
    struct question *question = &check->questions[check->question_count++];

    pn_assert(check->question_count <= QUESTIONS_MAX);
    *question = (struct question){
        .query.on_answer = on_answer, .check = check, .host = host, .type = type};
    check->open++;
    resolver_ask(check->out->resolver, &question->query, name, type);
}

static void ask_addresses(struct check *check, struct admin_host *host)
{
    host->v4 = host->v6 = RESOLVER_TEMPFAIL;
    copy_text(host->why, sizeof host->why, PN_STR("no answer within the time of this check"));
    ask_dns(check, host, host->name, RESOLVER_A);
    ask_dns(check, host, host->name, RESOLVER_AAAA);
}

static void take_addresses(struct admin_host *host, enum resolver_type type,
                           const struct resolver_answer *answer)
{
    *(type == RESOLVER_A ? &host->v4 : &host->v6) = answer->status;
    if (answer->status == RESOLVER_TEMPFAIL) {
        copy_text(host->why, sizeof host->why, pn_str_z(answer->why));
    }
    if (answer->status != RESOLVER_FOUND) {
        return;
    }
    for (size_t i = 0; i < answer->count && host->ip_count < ADMIN_CHECK_ADDRESSES; i++) {
        host->ips[host->ip_count++] = answer->records[i].ip;
    }
}

/* Keeps the hosts in the order of their preferences. */
static void take_mx(struct check *check, const struct resolver_answer *answer)
{
    struct admin_facts *facts = &check->facts;

    facts->mx_answered = true;
    facts->mx_status = answer->status;
    copy_text(facts->mx_why, sizeof facts->mx_why, pn_str_z(answer->why));
    if (answer->status != RESOLVER_FOUND) {
        return;
    }
    for (size_t i = 0; i < answer->count && facts->mx_count < ADMIN_CHECK_HOSTS; i++) {
        size_t at = facts->mx_count++;

        while (at > 0 && facts->mx[at - 1].preference > answer->records[i].preference) {
            facts->mx[at] = facts->mx[at - 1];
            at--;
        }
        facts->mx[at] = (struct admin_host){.preference = answer->records[i].preference};
        copy_text(facts->mx[at].name, sizeof facts->mx[at].name,
                  pn_str_z(answer->records[i].name));
    }
    for (size_t i = 0; i < facts->mx_count; i++) {
        if (facts->mx[i].name[0]) {
            ask_addresses(check, &facts->mx[i]);
        }
    }
}

static void on_answer(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct question *question = PN_CONTAINER(query, struct question, query);
    struct check *check = question->check;

    check->open--;
    if (question->host) {
        take_addresses(question->host, question->type, answer);
    } else {
        take_mx(check, answer);
    }
    step(check);
}

static void ask_all(struct check *check)
{
    struct admin_facts *facts = &check->facts;

    copy_text(facts->own.name, sizeof facts->own.name, pn_str_z(check->conf->hostname));
    ask_addresses(check, &facts->own);
    for (size_t i = 0; i < check->domain->target_count && i < ADMIN_CHECK_HOSTS; i++) {
        const struct conf_target *target = &check->domain->targets[i];
        struct admin_host *host;

        if (target->path) {
            continue;
        }
        host = &facts->targets[facts->target_count++];
        *host = (struct admin_host){.port = target->port, .literal = target->literal};
        copy_text(host->name, sizeof host->name, pn_str_z(target->host));
        if (target->literal) {
            host->ips[host->ip_count++] = target->ip;
        } else {
            ask_addresses(check, host);
        }
    }
    ask_dns(check, NULL, check->domain->name, RESOLVER_MX);
}

/* ---- the session ------------------------------------------------------------------ */

static void on_line(void *owner, char direction, struct pn_str line)
{
    struct check *check = owner;
    json_t *text = admin_json_line(direction, line);

    copy_text(check->facts.session.last_line, sizeof check->facts.session.last_line,
              (struct pn_str){json_string_value(text), json_string_length(text)});
    if (json_array_size(check->transcript) < TRANSCRIPT_LINES) {
        pn_assert(json_array_append(check->transcript, text) == 0);
    }
    json_decref(text);
}

static void take_ready(struct check *check)
{
    struct admin_session_facts *facts = &check->facts.session;
    const struct stream_tls *tls = out_session_tls(check->session);

    facts->ready = true;
    facts->capabilities = out_session_capabilities(check->session);
    facts->size_limit = out_session_size_limit(check->session);
    copy_text(facts->peer, sizeof facts->peer, out_session_peer(check->session));
    if (!tls) {
        return;
    }
    facts->encrypted = true;
    copy_text(facts->tls_why, sizeof facts->tls_why,
              pn_str_z(out_session_tls_why(check->session)));
    copy_text(facts->cipher, sizeof facts->cipher, pn_str_z(tls->cipher));
    copy_text(facts->names, sizeof facts->names,
              pn_str_z(tls->peer_names && tls->peer_names[0] ? tls->peer_names : tls->peer));
    copy_text(facts->issuer, sizeof facts->issuer, pn_str_z(tls->peer_issuer));
    copy_text(facts->verify_error, sizeof facts->verify_error, pn_str_z(tls->verify_error));
    facts->expires_s = tls->peer_expires_s;
    facts->verified = tls->verified;
}

static void on_session(struct out_session *session, void *owner)
{
    struct check *check = owner;
    struct out_event event;
    bool ended = false;

    while (!ended && out_session_next(session, &event)) {
        if (event.kind == OUT_EV_READY) {
            take_ready(check);
            out_session_quit(session);
        } else if (event.kind == OUT_EV_ENDED) {
            check->facts.session.ended = true;
            check->facts.session.end = event.end;
            copy_text(check->facts.session.reason, sizeof check->facts.session.reason,
                      event.reason);
            ended = true;
        }
    }
    if (ended) {
        out_session_free(&check->session);
        step(check);
    }
}

/* ---- the request ------------------------------------------------------------------ */

void admin_check_domain(struct admin_ask *ask)
{
    struct admin_daemon *daemon = &ask->admin->deps.daemon;
    const struct conf_domain *domain;
    char name[MAIL_DOMAIN_MAX + 1];
    struct check *check;

    if (!admin_domain_name(ask, name)) {
        return;
    }
    domain = domains_find_exact(daemon->domains(daemon->owner), pn_str_z(name));
    if (!domain) {
        admin_refuse(ask->request, 404, "%s is no relay domain", name);
        return;
    }
    check = PN_NEW(struct check);
    check->call.on_abort = on_abort;
    check->out = ask->admin->deps.out;
    /* Snapshots never change; counting a reference is all that is done to them. */
    check->conf = conf_ref((struct conf *)daemon->conf(daemon->owner));
    check->domain = conf_domain_ref((struct conf_domain *)domain);
    check->timer.on_fire = on_time;
    check->again.on_run = on_again;
    check->transcript = json_array();
    check->facts.conf = check->conf;
    check->facts.domain = check->domain;
    check->facts.out = check->out;
    conf_mistakes_init(&check->facts.files);
    if (daemon->check_files) {
        daemon->check_files(daemon->owner, domain, &check->facts.files);
    }
    check->facts.now = check->out->loop->wall;
    admin_call_begin(&check->call, ask);
    loop_timer_after(check->out->loop, &check->timer, CHECK_TIME_MS);
    ask_all(check);
    check->session = out_session_new(check->out,
                                     &(struct out_options){.conf = check->conf,
                                                           .domain = check->domain,
                                                           .check = true,
                                                           .on_line = on_line,
                                                           .window_mails = 1,
                                                           .window_octets = 1},
                                     on_session, check);
}
