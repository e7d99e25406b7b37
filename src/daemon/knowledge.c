/*
 * daemon/knowledge.c - what is known of destinations and recipients, wired together.
 *
 * The board and the lists are shared by all workers; each worker asks by a verify of its
 * own (worker.c), and the main loop has one for the operator's questions and the nightly
 * warm-up.
 */
#include <stdio.h>

#include "daemon_priv.h"
#include "postern/base/mem.h"
#include "postern/http/client.h"
#include "postern/mail/address.h"
#include "postern/outbound/logins.h"
#include "postern/outbound/policies.h"
#include "postern/policy/defer.h"
#include "postern/tls/context.h"

#define LISTS_PATH_MAX 4096

/* ---- life ------------------------------------------------------------------------------ */

static void open_policies(struct daemon *daemon)
{
    struct out_policies_deps deps = {
        .loop = net_loop_port(daemon->loop),
        .resolver = daemon->resolver,
        .http = daemon->http,
        .state = daemon->state_records,
        .counters = daemon->counters,
        .log = &daemon->log,
    };
    uint64_t seed;

    tls_crypto()->ops->random(&seed, sizeof seed);
    pn_rand_init(&daemon->rand, seed);
    daemon->policies = out_policies_new(&deps);
    daemon->out.policies = daemon->policies;
    daemon->out.rand = &daemon->rand;
}

void daemon_knowledge_open(struct daemon *daemon)
{
    struct loop *loop = net_loop_port(daemon->loop);
    struct verify_lists_deps lists = {
        .loop = loop,
        .files = daemon->settings.files,
        .crypto = tls_crypto(),
        .log = &daemon->log,
    };
    struct verify_deps verify = {
        .loop = loop,
        .state = daemon->state_records,
        .log = &daemon->log,
    };
    char path[LISTS_PATH_MAX];
    uint64_t seed;

    (void)snprintf(path, sizeof path, "%s/lists", daemon->settings.conf->spool);
    daemon->lists_path = pn_strdup(path);
    daemon->board = out_board_new();
    daemon->logins = out_logins_new(daemon->settings.files);
    daemon->out.board = daemon->board;
    daemon->out.logins = daemon->logins;
    tls_crypto()->ops->random(&seed, sizeof seed);
    daemon->defer = policy_defer_new(seed);
    daemon->http = daemon_http_new(daemon->loop);
    lists.path = daemon->lists_path;
    lists.http = daemon->http;
    tls_crypto()->ops->random(&lists.seed, sizeof lists.seed);
    daemon->lists = verify_lists_new(&lists);
    verify_lists_configure(daemon->lists,
                           daemon_domain_files_table(daemon->settings.domain_files));
    open_policies(daemon);
    daemon->rates = verify_rates_new();
    daemon->pool = out_pool_new(&daemon->out, daemon->board);
    verify.pool = daemon->pool;
    verify.board = daemon->board;
    verify.lists = daemon->lists;
    verify.rates = daemon->rates;
    tls_crypto()->ops->random(&verify.seed, sizeof verify.seed);
    daemon->verify = verify_new(&verify);
}

void daemon_knowledge_close(struct daemon *daemon)
{
    verify_free(&daemon->verify);
    out_pool_free(&daemon->pool);
    verify_rates_free(&daemon->rates);
    verify_lists_free(&daemon->lists);
    out_policies_free(&daemon->policies);
    http_client_free(&daemon->http);
    policy_defer_free(&daemon->defer);
    out_board_free(&daemon->board);
    out_logins_free(&daemon->logins);
    free(daemon->lists_path);
}

bool daemon_knowledge_believes(void *daemon, const struct conf_domain *domain,
                               struct pn_str address)
{
    struct daemon *d = daemon;
    struct pn_str written = pn_str_sub(address, 0, pn_str_rfind(address, '@'));
    struct state_answer answer;
    struct pn_buf local;
    bool believed = false;

    pn_buf_init(&local, MAIL_ADDRESS_MAX);
    if (verify_local(domain, written, &local)) {
        struct pn_str name = pn_buf_str(&local);

        believed =
            verify_lists_find(d->lists, domain, name) == VERIFY_LIST_YES ||
            (state_answer_peek(d->state_records, pn_str_z(domain->name), name, &answer) &&
             answer.verdict == STATE_VALID);
    }
    pn_buf_fini(&local);
    return believed;
}

void daemon_knowledge_second(struct daemon *daemon)
{
    verify_warm_second(daemon->verify, daemon->settings.conf,
                       daemon_domain_files_table(daemon->settings.domain_files),
                       net_loop_port(daemon->loop)->wall);
}
