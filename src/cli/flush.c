/*
 * cli/flush.c - a flush, and its progress.
 *
 * The daemon does the work; with --wait the tool asks how far it is, five times a second
 * for a bar on a terminal, once a second for lines in a pipe (where one that would say the
 * same again is left out). It ends when nothing waits,
 * or when what waits will not move by itself: messages that the target put off, and held
 * ones. A target that is down is waited for, because that is what the user asked for; the
 * interrupt key leaves, and changes nothing.
 */
#include "cli_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#define BAR_CELLS      30
#define TERMINAL_MS    200
#define PIPE_MS        1000
#define IDLE_LOOKS_MAX 5 /* looks without any movement before a flush counts as over */

struct progress {
    struct cli *cli;
    const char *domain; /* NULL: all */
    uint64_t most;      /* messages that waited, at the most */
    unsigned idle;      /* looks in a row at which nothing moved */
    bool told_down;
    uint64_t shown; /* messages that waited when a line was last written, in a pipe */
};

void cli_progress_bar(uint64_t done, uint64_t total, struct pn_buf *out)
{
    size_t full = total > 0 ? (size_t)((double)done / (double)total * BAR_CELLS) : BAR_CELLS;

    cli_put_z(out, "[");
    for (size_t i = 0; i < BAR_CELLS; i++) {
        cli_put_z(out, i < full ? "#" : "-");
    }
    cli_put_z(out, "] ");
}

void cli_progress_text(const json_t *queue, uint64_t most, struct pn_buf *out)
{
    uint64_t left = cli_number(queue, "messages");
    double rate = cli_seconds(queue, "rate");

    cli_put_count(out, most > left ? most - left : 0);
    cli_put_z(out, " of ");
    cli_put_count(out, most);
    if (rate > 0) {
        cli_put_printf(out, ", %.0f/s", rate);
        cli_put_z(out, ", ");
        cli_put_age(out, (double)left / rate);
        cli_put_z(out, " left");
    }
}

/* What is to be watched: a domain's own numbers, or those of all queues. */
static int look(struct progress *progress, json_t **out)
{
    struct pn_buf path;
    json_t *status;
    int result;

    if (progress->domain) {
        cli_path(&path, "/v1/domains/", progress->domain, "");
    } else {
        cli_path(&path, "/v1/status", "", "");
    }
    result = cli_ask_quietly(progress->cli, "GET", cli_z(&path), NULL, &status);
    pn_buf_fini(&path);
    if (progress->domain) {
        *out = status;
    } else {
        *out = json_incref(json_object_get(status, "queue"));
        json_decref(status);
    }
    return result;
}

static void show(struct progress *progress, const json_t *queue)
{
    struct cli *cli = progress->cli;
    uint64_t left = cli_number(queue, "messages");
    struct pn_buf out;

    if (!cli->terminal && left == progress->shown) {
        return;
    }
    progress->shown = left;
    pn_buf_init(&out, CLI_TEXT_MAX);
    if (cli->terminal) {
        cli_put_z(&out, "\r");
        cli_progress_bar(progress->most - left, progress->most, &out);
    }
    cli_progress_text(queue, progress->most, &out);
    cli_put_z(&out, cli->terminal ? "\033[K" : "\n");
    cli_print(cli, &out);
    (void)fflush(cli->out);
    pn_buf_fini(&out);
}

static void tell(struct progress *progress, struct pn_str what, struct pn_str why)
{
    struct pn_buf out;

    pn_buf_init(&out, CLI_TEXT_MAX);
    cli_put_z(&out, progress->cli->terminal ? "\r\033[K" : "");
    cli_put_text(&out, what);
    cli_put_text(&out, pn_str_sub(why, 0, 4096));
    cli_put_z(&out, "\n");
    cli_print(progress->cli, &out);
    pn_buf_fini(&out);
}

/* Says once that the target is down, and once that it is back. */
static void tell_changes(struct progress *progress, const json_t *queue)
{
    bool down = pn_str_eq(cli_text(queue, "state"), PN_STR("down"));

    if (down && !progress->told_down) {
        tell(progress,
             PN_STR("the target does not answer; probes go on, and mail follows by itself: "),
             cli_text(queue, "reason"));
    } else if (!down && progress->told_down) {
        tell(progress, PN_STR("the target answers again"), PN_STR(""));
    }
    progress->told_down = down;
}

/* An exit status, or -1 while it goes on. */
static int judge(struct progress *progress, const json_t *queue)
{
    uint64_t left = cli_number(queue, "messages");
    struct pn_str state = cli_text(queue, "state");
    bool moves = cli_flag(queue, "flushing") || cli_number(queue, "in_flight") > 0 ||
                 cli_seconds(queue, "rate") > 0.5;

    if (left == 0) {
        tell(progress, PN_STR("nothing waits any more"), PN_STR(""));
        return CLI_DONE;
    }
    if (pn_str_eq(state, PN_STR("held"))) {
        tell(progress, PN_STR("the queue is held: "), cli_text(queue, "reason"));
        return CLI_REFUSED;
    }
    if (pn_str_eq(state, PN_STR("stopped"))) {
        tell(progress,
             PN_STR("the target is back and refuses too much; see \"postern status\": "),
             cli_text(queue, "reason"));
        return CLI_REFUSED;
    }
    progress->idle = moves || progress->told_down ? 0 : progress->idle + 1;
    if (progress->idle < IDLE_LOOKS_MAX) {
        return -1;
    }
    tell(
        progress,
        PN_STR("the flush is over, and some messages stay: held, or put off by the target; see "
               "\"postern queue list\""),
        PN_STR(""));
    return CLI_REFUSED;
}

static int wait_for(struct progress *progress)
{
    struct cli *cli = progress->cli;
    int status = -1;

    while (status < 0) {
        json_t *queue;
        int result = look(progress, &queue);

        if (result != CLI_DONE) {
            return result;
        }
        if (cli_number(queue, "messages") > progress->most) {
            progress->most = cli_number(queue, "messages");
        }
        tell_changes(progress, queue);
        show(progress, queue);
        status = judge(progress, queue);
        json_decref(queue);
        if (status < 0 && !cli->pause(cli->terminal ? TERMINAL_MS : PIPE_MS)) {
            tell(progress, PN_STR("left; the flush goes on"), PN_STR(""));
            status = CLI_REFUSED;
        }
    }
    return status;
}

int cli_flush(struct cli *cli, const struct cli_args *args)
{
    struct progress progress = {
        .cli = cli, .domain = args->count > 0 ? args->values[0] : NULL, .shown = UINT64_MAX};
    bool all = cli_args_has(args, "all");
    json_t *body = json_object();
    json_t *answer;
    int result;

    if (all == (progress.domain != NULL)) {
        (void)fprintf(cli->err, "usage: postern flush DOMAIN [--wait], or postern flush --all "
                                "[--wait]\n");
        json_decref(body);
        return CLI_USAGE;
    }
    pn_assert(json_object_set_new(body, all ? "all" : "domain",
                                  all ? json_true() : cli_json(progress.domain)) == 0);
    result = cli_ask(cli, "POST", "/v1/flush", body, &answer);
    json_decref(answer);
    if (result != CLI_DONE || cli->json) {
        return result;
    }
    if (cli_args_has(args, "wait")) {
        return wait_for(&progress);
    }
    (void)fprintf(cli->out, "%s: every message is tried now\n", all ? "all" : progress.domain);
    return CLI_DONE;
}
