/*
 * admin/recipients.c - who the recipients of a domain are: its sources, an address tested,
 * and the answers that are remembered: listed, imported, forgotten.
 *
 * Remembered answers are counted by reading them a page at a time, up to a bound; no page
 * holds up anybody. A test asks as a client's RCPT does, from loopback, and so may teach an
 * answer. What is remembered of a domain that is configured no more can still be listed and
 * forgotten: whoever removes a domain may want its addresses to be gone.
 */
#include "domain_priv.h"
#include "recipient_priv.h"
#include "status_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define COUNT_PAGE    1000
#define COUNT_MAX     100000 /* answers that are counted for "show" */
#define ANSWERS_PAGE  1000
#define IMPORT_MAX    1000                     /* addresses in one request */
#define IMPORT_BROKEN 100                      /* of them that are told */
#define LOCAL_MAX     (2 * MAIL_LOCAL_MAX + 2) /* in compared form: quoted anew */

/* The domain that the path names, as it is defined; refuses and is NULL if it is not. */
static const struct conf_domain *find_domain(struct admin_ask *ask)
{
    const struct admin_daemon *daemon = &ask->admin->deps.daemon;
    const struct conf_domain *domain;
    char name[MAIL_DOMAIN_MAX + 1];

    if (!admin_domain_name(ask, name)) {
        return NULL;
    }
    domain = domains_find_exact(daemon->domains(daemon->owner), pn_str_z(name));
    if (!domain) {
        admin_refuse(ask->request, 404, "%s is no relay domain", name);
    }
    return domain;
}

/* Refuses and is false when nothing can be remembered. */
static bool has_state(struct admin_ask *ask)
{
    if (!ask->admin->deps.state) {
        admin_refuse(ask->request, 409, "nothing is remembered: there is no state store");
    }
    return ask->admin->deps.state != NULL;
}

/* The local part of an address of this domain, or a local part alone; false: it is none. */
static bool read_local(const struct conf_domain *domain, struct pn_str text, struct pn_str *out)
{
    return !pn_str_has_control(text) &&
           verify_list_line(text, domain, out) == VERIFY_LINE_LOCAL;
}

/* Reads the term "address"; refuses and is false if it is none of the domain. */
static bool read_address(struct admin_ask *ask, const struct conf_domain *domain,
                         struct pn_str *out)
{
    if (!read_local(domain, ask->terms.address, out)) {
        admin_refuse(ask->request, 400, "%.*s is no address of %s",
                     PN_FMT(pn_str_sub(ask->terms.address, 0, 320)), domain->name);
        return false;
    }
    return true;
}

static struct admin_clock clock_of(const struct admin *admin)
{
    return (struct admin_clock){.wall = admin->deps.out->loop->wall};
}

/* ---- show ------------------------------------------------------------------------- */

struct show_call {
    struct admin_call call;
    struct state *state;
    struct loop *loop;
    struct conf_domain *domain;
    struct admin_recipient_facts facts;
    uint64_t seen;
};

/* Beside the sources: what decides what becomes of the mail. */
static void put_rules(json_t *json, const struct conf_domain *domain)
{
    static const char *const rules[] = {"when_up", "unknown_when_down"};
    json_t *options = admin_domain_options(domain);

    for (size_t i = 0; i < PN_COUNT(rules); i++) {
        admin_json_put(json, rules[i], json_incref(json_object_get(options, rules[i])));
    }
    json_decref(options);
}

static json_t *target_json(const struct admin *admin, struct pn_str destination)
{
    struct queue_destination_status status;
    struct admin_view view;

    if (!admin->deps.deliver) {
        return json_null();
    }
    view = admin_view_of(admin);
    return queue_get_destination(view.queue, destination, view.clock.queue_ms, &status)
               ? admin_view_destination(&view, &status)
               : json_null();
}

static void conclude_show(struct show_call *show)
{
    const struct admin *admin = show->call.admin;
    struct httpd_request *request = admin_call_end(&show->call);
    const struct conf_domain *domain = show->domain;
    struct verify_list_status list;
    struct out_board_entry target;
    struct state_catch_all catch_all;
    json_t *json;

    if (request) {
        show->facts.domain = domain;
        show->facts.clock = clock_of(admin);
        if (admin->deps.lists &&
            verify_lists_status(admin->deps.lists, pn_str_z(domain->name), &list)) {
            show->facts.list = &list;
        }
        if (admin->deps.board) {
            target = out_board_get(admin->deps.board, pn_str_z(domain->destination));
            show->facts.target = &target;
        }
        if (admin->deps.state) {
            catch_all = state_catch_all_get(admin->deps.state, pn_str_z(domain->name));
            show->facts.catch_all = &catch_all;
        }
        json = json_object();
        admin_json_put(json, "name", admin_json_text(pn_str_z(domain->name)));
        admin_json_put(json, "sources", admin_recipient_sources(&show->facts));
        put_rules(json, domain);
        admin_json_put(json, "target", target_json(admin, pn_str_z(domain->destination)));
        admin_answer(request, 200, json);
    }
    conf_domain_unref(&show->domain);
    free(show);
}

static void on_counted(void *owner, int status, const struct state_answer_row *rows,
                       size_t count, bool end)
{
    struct show_call *show = owner;
    struct admin_recipient_facts *facts = &show->facts;

    if (!show->call.request || status != 0) {
        facts->counted = false;
        conclude_show(show);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t *counter = admin_recipient_is_expired(show->domain, &rows[i].answer)
                                ? &facts->expired
                            : rows[i].answer.verdict == STATE_VALID ? &facts->valid
                                                                    : &facts->invalid;

        ++*counter;
    }
    show->seen += count;
    facts->counted = true;
    facts->more = !end;
    if (end || count == 0 || show->seen >= COUNT_MAX) {
        conclude_show(show);
    } else {
        state_answers_list(show->state, show->loop, pn_str_z(show->domain->name),
                           rows[count - 1].local, COUNT_PAGE, on_counted, show);
    }
}

void admin_get_recipients(struct admin_ask *ask)
{
    const struct conf_domain *domain = find_domain(ask);
    struct show_call *show;

    if (!domain) {
        return;
    }
    show = PN_NEW(struct show_call);
    show->state = ask->admin->deps.state;
    show->loop = ask->admin->deps.out->loop;
    /* Snapshots never change; counting a reference is all that is done to them. */
    show->domain = conf_domain_ref((struct conf_domain *)domain);
    admin_call_begin(&show->call, ask);
    if (show->state) {
        state_answers_list(show->state, show->loop, pn_str_z(domain->name), PN_STR(""),
                           COUNT_PAGE, on_counted, show);
    } else {
        conclude_show(show);
    }
}

/* ---- test ------------------------------------------------------------------------- */

struct test_call {
    struct admin_call call;
    struct verify *verify;
    struct verify_request request;
    struct conf *conf;
    struct conf_domain *domain;
    char *local;
};

static void test_free(struct test_call *test)
{
    conf_domain_unref(&test->domain);
    conf_unref(&test->conf);
    free(test->local);
    free(test);
}

static void on_test_abort(struct admin_call *call)
{
    struct test_call *test = PN_CONTAINER(call, struct test_call, call);

    verify_cancel(test->verify, &test->request);
    test_free(test);
}

static json_t *address_json(struct pn_str local, const char *domain)
{
    struct pn_buf text;
    json_t *json;

    pn_buf_init(&text, MAIL_ADDRESS_MAX + MAIL_DOMAIN_MAX + LOCAL_MAX);
    pn_assert(pn_buf_append(&text, local) == 0);
    if (verify_name_local(local) == local.len) {
        pn_assert(pn_buf_printf(&text, "@%s", domain) == 0);
    }
    json = admin_json_text(pn_buf_str(&text));
    pn_buf_fini(&text);
    return json;
}

static void on_verdict(void *owner, const struct verify_verdict *verdict)
{
    struct test_call *test = owner;
    const struct admin *admin = test->call.admin;
    struct httpd_request *request = admin_call_end(&test->call);
    const struct conf_domain *domain = test->domain;
    struct admin_clock clock;
    json_t *json;

    if (request) {
        clock = clock_of(admin);
        json = admin_recipient_verdict(domain, verdict, &clock);
        admin_json_put(json, "address", address_json(pn_str_z(test->local), domain->name));
        admin_json_put(json, "target", target_json(admin, pn_str_z(domain->destination)));
        admin_answer(request, 200, json);
    }
    test_free(test);
}

void admin_test_recipient(struct admin_ask *ask)
{
    const struct admin_daemon *daemon = &ask->admin->deps.daemon;
    const struct conf_domain *domain = find_domain(ask);
    const struct pn_ip loopback = pn_ip_v4(0x7f000001);
    struct test_call *test;
    struct pn_str local;

    if (!domain || !read_address(ask, domain, &local)) {
        return;
    }
    if (!ask->admin->deps.verify) {
        admin_refuse(ask->request, 503, "recipients are not looked up yet");
        return;
    }
    test = PN_NEW(struct test_call);
    test->call.on_abort = on_test_abort;
    test->verify = ask->admin->deps.verify;
    test->request.on_verdict = on_verdict;
    test->request.owner = test;
    test->conf = conf_ref((struct conf *)daemon->conf(daemon->owner));
    test->domain = conf_domain_ref((struct conf_domain *)domain);
    test->local = pn_strndup(local);
    admin_call_begin(&test->call, ask);
    verify_ask(test->verify, &test->request, test->conf, test->domain, local, &loopback);
}

/* ---- what is remembered: listed --------------------------------------------------- */

struct answers_call {
    struct admin_call call;
    char name[MAIL_DOMAIN_MAX + 1];
};

static void on_listed(void *owner, int status, const struct state_answer_row *rows,
                      size_t count, bool end)
{
    struct answers_call *answers = owner;
    const struct admin *admin = answers->call.admin;
    struct httpd_request *request = admin_call_end(&answers->call);

    if (request && status != 0) {
        admin_refuse_storage(request, status);
    } else if (request) {
        const struct admin_daemon *daemon = &admin->deps.daemon;
        const struct conf_domain *domain =
            domains_find_exact(daemon->domains(daemon->owner), pn_str_z(answers->name));
        struct admin_clock clock = clock_of(admin);
        json_t *list = json_array();
        json_t *json = json_object();

        for (size_t i = 0; i < count; i++) {
            json_t *row = admin_recipient_answer(domain, &rows[i].answer, &clock);

            admin_json_put(row, "address", address_json(rows[i].local, answers->name));
            pn_assert(json_array_append_new(list, row) == 0);
        }
        admin_json_put(json, "answers", list);
        admin_json_put(json, "next",
                       end || count == 0 ? json_null()
                                         : admin_json_text(rows[count - 1].local));
        admin_answer(request, 200, json);
    }
    free(answers);
}

void admin_get_answers(struct admin_ask *ask)
{
    size_t limit = admin_page_limit(&ask->terms);
    char name[MAIL_DOMAIN_MAX + 1];
    struct answers_call *answers;

    if (!admin_domain_name(ask, name) || !has_state(ask)) {
        return;
    }
    answers = PN_NEW(struct answers_call);
    memcpy(answers->name, name, sizeof name);
    admin_call_begin(&answers->call, ask);
    state_answers_list(ask->admin->deps.state, ask->admin->deps.out->loop, pn_str_z(name),
                       ask->terms.after, limit < ANSWERS_PAGE ? limit : ANSWERS_PAGE, on_listed,
                       answers);
}

/* ---- imported --------------------------------------------------------------------- */

/* False: it is no address of the domain. */
static bool import_one(struct admin_ask *ask, const struct conf_domain *domain,
                       struct pn_str text)
{
    struct pn_str local;
    struct pn_buf compared;
    bool taken;

    pn_buf_init(&compared, LOCAL_MAX);
    taken = read_local(domain, text, &local) && verify_local(domain, local, &compared);
    if (taken) {
        state_answer_put(ask->admin->deps.state, pn_str_z(domain->name), pn_buf_str(&compared),
                         ask->terms.invalid ? STATE_INVALID : STATE_VALID, STATE_BY_IMPORT,
                         ask->admin->deps.out->loop->wall);
    }
    pn_buf_fini(&compared);
    return taken;
}

struct import_call {
    struct admin_call call;
    char name[MAIL_DOMAIN_MAX + 1];
    struct state *state;
    struct loop *loop;
    unsigned rounds;
    uint64_t imported;
    json_t *answer;
};

static void on_round(void *owner, int status, size_t count);

/*
 * Waits until what was put is in the store, so that the next listing has it and no backlog
 * grows beyond its bound. No local part is a blank: what is forgotten here is nobody, and
 * it ends when the write that was under way has. By then all the rest is under way, for
 * which a second round waits.
 */
static void next_round(struct import_call *import)
{
    import->rounds++;
    state_answers_forget(import->state, import->loop, pn_str_z(import->name), PN_STR(" "),
                         on_round, import);
}

static void on_round(void *owner, int status, size_t count)
{
    struct import_call *import = owner;
    const struct admin *admin = import->call.admin;
    struct httpd_request *request;

    (void)count;
    if (import->call.request && status == 0 && import->rounds < 2) {
        next_round(import);
        return;
    }
    request = admin_call_end(&import->call);
    if (request && status != 0) {
        admin_refuse_storage(request, status);
    } else if (request) {
        admin_log(admin, "recipients import", pn_str_z(import->name), import->imported);
        admin_answer(request, 200, json_incref(import->answer));
    }
    json_decref(import->answer);
    free(import);
}

static struct import_call *import_all(struct admin_ask *ask, const struct conf_domain *domain)
{
    struct import_call *import = PN_NEW(struct import_call);
    const json_t *addresses = ask->terms.addresses;
    json_t *broken = json_array();
    json_t *item;
    size_t index;

    json_array_foreach(addresses, index, item)
    {
        struct pn_str text = {json_string_value(item), json_string_length(item)};

        if (import_one(ask, domain, text)) {
            import->imported++;
        } else if (json_array_size(broken) < IMPORT_BROKEN) {
            pn_assert(json_array_append_new(broken, json_integer((json_int_t)index)) == 0);
        }
    }
    import->answer = json_object();
    admin_json_put(import->answer, "imported", admin_json_u64(import->imported));
    admin_json_put(import->answer, "broken_total",
                   admin_json_u64(json_array_size(addresses) - import->imported));
    admin_json_put(import->answer, "broken", broken);
    (void)snprintf(import->name, sizeof import->name, "%s", domain->name);
    import->state = ask->admin->deps.state;
    import->loop = ask->admin->deps.out->loop;
    return import;
}

void admin_import_answers(struct admin_ask *ask)
{
    const struct conf_domain *domain = find_domain(ask);
    const json_t *addresses = ask->terms.addresses;
    struct import_call *import;

    if (!domain || !has_state(ask)) {
        return;
    }
    if (!addresses || json_array_size(addresses) > IMPORT_MAX) {
        admin_refuse(ask->request, 400, "\"addresses\" must be a list of at most %d addresses",
                     IMPORT_MAX);
        return;
    }
    import = import_all(ask, domain);
    admin_call_begin(&import->call, ask);
    next_round(import);
}

/* ---- forgotten -------------------------------------------------------------------- */

static void on_forgotten(void *owner, int status, size_t count)
{
    struct answers_call *forget = owner;
    const struct admin *admin = forget->call.admin;
    struct httpd_request *request = admin_call_end(&forget->call);
    json_t *json;

    if (request && status != 0 && count == 0) {
        admin_refuse_storage(request, status);
    } else if (request) {
        admin_log(admin, "recipients forget", pn_str_z(forget->name), count);
        json = json_object();
        admin_json_put(json, "forgotten", admin_json_u64(count));
        admin_json_put(json, "complete", json_boolean(status == 0));
        admin_answer(request, 200, json);
    }
    free(forget);
}

static void forget(struct admin_ask *ask, const char *name, struct pn_str local)
{
    struct answers_call *call = PN_NEW(struct answers_call);

    (void)snprintf(call->name, sizeof call->name, "%s", name);
    admin_call_begin(&call->call, ask);
    state_answers_forget(ask->admin->deps.state, ask->admin->deps.out->loop, pn_str_z(name),
                         local, on_forgotten, call);
}

static void forget_one(struct admin_ask *ask)
{
    const struct conf_domain *domain = find_domain(ask);
    struct pn_str local;
    struct pn_buf compared;

    if (!domain || !read_address(ask, domain, &local)) {
        return;
    }
    pn_buf_init(&compared, LOCAL_MAX);
    pn_assert(verify_local(domain, local, &compared)); /* no local part is longer */
    forget(ask, domain->name, pn_buf_str(&compared));
    pn_buf_fini(&compared);
}

void admin_forget_answers(struct admin_ask *ask)
{
    char name[MAIL_DOMAIN_MAX + 1];

    if ((ask->terms.address.len > 0) == ask->terms.all) {
        admin_refuse(ask->request, 400, "give either \"address\" or \"all\": true");
        return;
    }
    if (!admin_domain_name(ask, name) || !has_state(ask)) {
        return;
    }
    if (ask->terms.all) {
        forget(ask, name, PN_STR(""));
    } else {
        forget_one(ask);
    }
}
