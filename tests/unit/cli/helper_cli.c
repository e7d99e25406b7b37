#include "helper_cli.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define WORDS_MAX 50

static struct run *current;

static int on_call(const struct http_call *call, unsigned *out_status, struct pn_buf *out_body,
                   struct pn_err *err)
{
    size_t used = strlen(current->requests);
    size_t index = current->request_count < current->answer_count ? current->request_count
                                                                  : current->answer_count - 1;
    const struct answer *answer = &current->answers[index];

    assert_true(current->answer_count > 0);
    current->request_count++;
    (void)snprintf(current->requests + used, sizeof current->requests - used, "%s %s %.*s\n",
                   call->method, call->path, PN_FMT(call->body));
    if (answer->status == 0) {
        return pn_err_set(err, answer->code, "nobody answers on %s", call->socket_path);
    }
    *out_status = answer->status;
    return pn_buf_append_z(out_body, answer->body);
}

static int on_key(struct pn_buf *out)
{
    return pn_buf_append_z(out, "a key\n");
}

static bool on_pause(int64_t ms)
{
    (void)ms;
    return current->pauses == 0 || --current->pauses > 0;
}

void run_init(struct run *run)
{
    *run = (struct run){0};
}

void run_words(struct run *run, const char *words)
{
    struct pn_str rest = pn_str_z(words);
    char *argv[WORDS_MAX + 1] = {pn_strdup("postern")};
    char *owned[WORDS_MAX + 1];
    int argc = 1;
    size_t out_octets;
    size_t err_octets;
    struct cli cli = {.socket_path = "/test.sock",
                      .terminal = run->terminal,
                      .width = run->width,
                      .colour = run->colour,
                      .call = on_call,
                      .make_key = on_key,
                      .pause = on_pause};

    while (rest.len > 0) {
        assert_true(argc < WORDS_MAX);
        argv[argc++] = pn_strndup(pn_str_cut(&rest, ' '));
    }
    memcpy(owned, argv, sizeof owned); /* the tool moves its words about */
    current = run;
    cli.out = open_memstream(&run->out, &out_octets);
    cli.err = open_memstream(&run->err, &err_octets);
    run->status = cli_run(&cli, argc, argv);
    assert_int_equal(fclose(cli.out), 0);
    assert_int_equal(fclose(cli.err), 0);
    for (int i = 0; i < argc; i++) {
        free(owned[i]);
    }
}

void run_fini(struct run *run)
{
    free(run->out);
    free(run->err);
}
