/* A target that follows a table, and a verify that knows people by their names. */
#include "helper_target.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BUF_MAX ((size_t)64 << 20)

struct target_link {
    struct stream port;
    struct target *target;
    enum stream_state state;
    struct pn_buf in;   /* said by the target, not consumed by us */
    struct pn_buf out;  /* said by us, not taken */
    struct pn_buf line; /* taken, and not whole */
    bool event, greeted, in_text, closed;
};

static struct target_link *link_of(const struct stream *stream)
{
    return (struct target_link *)(uintptr_t)stream;
}

static enum stream_state link_state(const struct stream *stream)
{
    return link_of(stream)->state;
}

static const char *link_why(const struct stream *stream)
{
    (void)stream;
    return "it broke";
}

static struct pn_str link_look(struct stream *stream)
{
    return link_of(stream)->state == STREAM_FAILED ? PN_STR("")
                                                   : pn_buf_str(&link_of(stream)->in);
}

static void link_eat(struct stream *stream, size_t octets)
{
    pn_buf_consume(&link_of(stream)->in, octets);
}

static void link_put(struct stream *stream, struct pn_str data)
{
    if (link_of(stream)->state == STREAM_OPEN || link_of(stream)->state == STREAM_ENDED) {
        assert_int_equal(pn_buf_append(&link_of(stream)->out, data), 0);
    }
}

static size_t link_left(const struct stream *stream)
{
    return pn_buf_str(&link_of(stream)->out).len;
}

static void link_finish(struct stream *stream, bool flush)
{
    (void)flush;
    assert_false(link_of(stream)->closed);
    link_of(stream)->closed = true;
    link_of(stream)->target->open--;
}

static const struct stream_ops link_ops = {.state = link_state,
                                           .error = link_why,
                                           .peek = link_look,
                                           .consume = link_eat,
                                           .write = link_put,
                                           .unsent = link_left,
                                           .finish = link_finish};

static struct stream *network_open(struct network *network, const struct pn_endpoint *to,
                                   const struct pn_ip *source)
{
    struct target *target = PN_CONTAINER(network, struct target, network);
    struct target_link *link = PN_NEW(struct target_link);

    (void)source;
    assert_true(target->link_count < TARGET_LINKS);
    target->links[target->link_count++] = link;
    target->open++;
    link->port.ops = &link_ops;
    link->port.loop = target->loop;
    link->port.peer = *to;
    link->target = target;
    link->state = target->refuses ? STREAM_FAILED : STREAM_OPEN;
    link->event = true;
    pn_buf_init(&link->in, BUF_MAX);
    pn_buf_init(&link->out, BUF_MAX);
    pn_buf_init(&link->line, BUF_MAX);
    return &link->port;
}

static struct stream *network_open_unix(struct network *network, const char *path)
{
    static const struct pn_endpoint nowhere = {0};

    (void)path;
    return network_open(network, &nowhere, NULL);
}

static const struct network_ops network_ops = {network_open, network_open_unix};

void target_init(struct target *target, struct loop *loop)
{
    *target = (struct target){.network = {&network_ops}, .loop = loop};
    target->capabilities = "250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n";
    pn_buf_init(&target->lines, BUF_MAX);
    pn_buf_init(&target->text, BUF_MAX);
}

void target_fini(struct target *target)
{
    assert_int_equal(target->open, 0);
    for (size_t i = 0; i < target->link_count; i++) {
        pn_buf_fini(&target->links[i]->in);
        pn_buf_fini(&target->links[i]->out);
        pn_buf_fini(&target->links[i]->line);
        free(target->links[i]);
    }
    pn_buf_fini(&target->lines);
    pn_buf_fini(&target->text);
}

void target_rule(struct target *target, const char *verb, const char *reply,
                 enum target_then then)
{
    for (size_t i = 0; i < TARGET_RULES; i++) {
        if (!target->rules[i].verb || strcmp(target->rules[i].verb, verb) == 0) {
            target->rules[i] = (struct target_rule){verb, reply, then, 0};
            return;
        }
    }
    fail_msg("too many rules");
}

static void say(struct target_link *link, const char *octets, enum target_then then)
{
    assert_int_equal(pn_buf_append_z(&link->in, octets), 0);
    link->event = true;
    if (then == THEN_CLOSE) {
        link->state = STREAM_ENDED;
    } else if (then == THEN_RESET) {
        link->state = STREAM_FAILED;
    }
}

void target_say(struct target *target, const char *octets, enum target_then then)
{
    for (size_t i = 0; i < target->link_count; i++) {
        if (!target->links[i]->closed) {
            say(target->links[i], octets, then);
        }
    }
}

const char *target_lines(struct target *target)
{
    static char lines[65536];

    snprintf(lines, sizeof lines, "%.*s", PN_FMT(pn_buf_str(&target->lines)));
    pn_buf_clear(&target->lines);
    return lines;
}

/* True: a rule has said what is to be said. */
static bool follow(struct target_link *link, struct pn_str line)
{
    struct target *target = link->target;

    for (size_t i = 0; i < TARGET_RULES && target->rules[i].verb; i++) {
        const struct target_rule *rule = &target->rules[i];

        if (pn_str_starts(line, pn_str_z(rule->verb))) {
            target->turns[i]++;
            if (rule->turn != 0 && rule->turn != target->turns[i]) {
                continue;
            }
            if (pn_str_eq(line, PN_STR(".")) && rule->reply[0] == '2') {
                target->taken++;
            }
            say(link, rule->reply, rule->then);
            return true;
        }
    }
    return false;
}

static void on_text_line(struct target_link *link, struct pn_str line)
{
    struct target *target = link->target;

    if (!pn_str_eq(line, PN_STR("."))) {
        if (pn_buf_str(&target->text).len == 0) {
            (void)follow(link, PN_STR("text"));
        }
        assert_int_equal(pn_buf_append(&target->text, line), 0);
        assert_int_equal(pn_buf_append_z(&target->text, "\r\n"), 0);
        return;
    }
    link->in_text = false;
    target->ends++;
    if (!follow(link, line)) {
        target->taken++;
        say(link, "250 2.0.0 Ok: queued as T1\r\n", THEN_STAY);
    }
}

static void on_command(struct target_link *link, struct pn_str line)
{
    static const char *const usual[][2] = {{"MAIL", "250 2.1.0 Ok\r\n"},
                                           {"RCPT", "250 2.1.5 Ok\r\n"},
                                           {"RSET", "250 2.0.0 Ok\r\n"}};
    char hello[1024];

    if (pn_str_starts(line, PN_STR("DATA"))) {
        pn_buf_clear(&link->target->text);
    }
    if (follow(link, line)) {
        link->in_text = pn_str_starts(line, PN_STR("DATA")) &&
                        pn_str_starts(pn_buf_str(&link->in), PN_STR("354"));
        return;
    }
    if (pn_str_starts(line, PN_STR("EHLO"))) {
        snprintf(hello, sizeof hello, "250-mail.example.org\r\n%s250 HELP\r\n",
                 link->target->capabilities);
        say(link, hello, THEN_STAY);
    } else if (pn_str_starts(line, PN_STR("DATA"))) {
        link->in_text = true;
        say(link, "354 Go ahead\r\n", THEN_STAY);
    } else if (pn_str_starts(line, PN_STR("QUIT"))) {
        say(link, "221 2.0.0 Bye\r\n", THEN_CLOSE);
    }
    for (size_t i = 0; i < PN_COUNT(usual); i++) {
        if (pn_str_starts(line, pn_str_z(usual[i][0]))) {
            say(link, usual[i][1], THEN_STAY);
        }
    }
}

static void on_line(struct target_link *link, struct pn_str line)
{
    struct target *target = link->target;

    if (!link->in_text || pn_str_eq(line, PN_STR("."))) {
        assert_int_equal(pn_buf_append(&target->lines, line), 0);
        assert_int_equal(pn_buf_append_char(&target->lines, '|'), 0);
    }
    if (link->in_text) {
        on_text_line(link, line);
    } else {
        on_command(link, line);
    }
}

static bool take(struct target_link *link)
{
    struct pn_str rest;

    if (link->target->deaf || link->out.len == 0 || link->state == STREAM_FAILED) {
        return false;
    }
    assert_int_equal(pn_buf_append(&link->line, pn_buf_str(&link->out)), 0);
    pn_buf_clear(&link->out);
    link->event = true;
    rest = pn_buf_str(&link->line);
    while (link->state == STREAM_OPEN && pn_str_find(rest, '\n') < rest.len) {
        struct pn_str line = pn_str_cut(&rest, '\n');

        assert_true(pn_str_ends(line, PN_STR("\r")));
        on_line(link, pn_str_sub(line, 0, line.len - 1));
    }
    pn_buf_consume(&link->line, link->line.len - rest.len);
    return true;
}

bool target_run(struct target *target)
{
    bool any = false;

    for (size_t i = 0; i < target->link_count; i++) {
        struct target_link *link = target->links[i];

        if (!link->closed && !link->greeted) {
            link->greeted = true;
            if (!follow(link, PN_STR("greeting"))) {
                say(link, "220 mail.example.org\r\n", THEN_STAY);
            }
        }
        any = (!link->closed && take(link)) || any;
        if (!link->closed && link->event) {
            link->event = false;
            any = true;
            link->port.on_event(&link->port, link->port.owner);
        }
    }
    return any;
}

/* ---- verify ----------------------------------------------------------------------------- */

void fake_verify_init(struct verify *verify)
{
    *verify = (struct verify){0};
    pn_buf_init(&verify->learned, BUF_MAX);
}

void fake_verify_fini(struct verify *verify)
{
    assert_int_equal(verify->request_count, 0);
    pn_buf_fini(&verify->learned);
}

void verify_ask(struct verify *verify, struct verify_request *request, struct conf *conf,
                struct conf_domain *domain, struct pn_str local, const struct pn_ip *client)
{
    size_t at = verify->request_count;

    (void)conf;
    (void)domain;
    (void)client;
    assert_null(request->pending);
    assert_true(at < PN_COUNT(verify->requests));
    verify->asked++;
    request->pending = verify;
    verify->requests[at] = request;
    verify->outcomes[at] = VERIFY_VALID;
    smtp_reply_set(&verify->replies[at], 250, "2.1.5", "Ok");
    if (pn_str_starts(local, PN_STR("nobody"))) {
        verify->outcomes[at] = VERIFY_INVALID;
        smtp_reply_set(&verify->replies[at], 550, "5.1.1", "no such user");
    } else if (pn_str_starts(local, PN_STR("later"))) {
        verify->outcomes[at] = VERIFY_UNKNOWN;
        smtp_reply_set(&verify->replies[at], 450, "4.1.1", "not known now");
    } else if (pn_str_starts(local, PN_STR("silent"))) {
        verify->replies[at].code = 0;
    }
    verify->request_count++;
}

static void drop(struct verify *verify, size_t at)
{
    verify->requests[at]->pending = NULL;
    verify->request_count--;
    for (size_t i = at; i < verify->request_count; i++) {
        verify->requests[i] = verify->requests[i + 1];
        verify->replies[i] = verify->replies[i + 1];
        verify->outcomes[i] = verify->outcomes[i + 1];
    }
}

void verify_cancel(struct verify *verify, struct verify_request *request)
{
    for (size_t i = 0; i < verify->request_count; i++) {
        if (verify->requests[i] == request) {
            drop(verify, i);
            verify->cancelled++;
            return;
        }
    }
}

bool fake_verify_run(struct verify *verify)
{
    for (size_t i = 0; i < verify->request_count; i++) {
        struct verify_request *request = verify->requests[i];
        struct verify_verdict verdict = {
            .outcome = verify->outcomes[i], .source = "list", .reply = verify->replies[i]};

        if (verdict.reply.code != 0) {
            drop(verify, i);
            request->on_verdict(request->owner, &verdict);
            return true;
        }
    }
    return false;
}

void verify_learn(struct verify *verify, const struct conf_domain *domain, struct pn_str local,
                  const struct smtp_reply *reply, enum state_source source)
{
    (void)domain;
    assert_int_equal(source, STATE_BY_PASS_THROUGH);
    assert_int_equal(pn_buf_printf(&verify->learned, "%.*s=%d %s;", PN_FMT(local), reply->code,
                                   reply->enhanced),
                     0);
}
