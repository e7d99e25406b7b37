/*
 * cli/daemon.c - the verbs of the daemon itself.
 */
#include "cli_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

/* ---- the daemon ------------------------------------------------------------------- */

static int tell_daemon(struct cli *cli, const char *path, const char *done)
{
    json_t *answer;
    int result = cli_ask(cli, "POST", path, NULL, &answer);

    if (answer) {
        (void)fprintf(cli->out, "%s\n", done);
        json_decref(answer);
    }
    return result;
}

int cli_reload(struct cli *cli, const struct cli_args *args)
{
    (void)args;
    return tell_daemon(cli, "/v1/reload", "the configuration is in force");
}

int cli_stop(struct cli *cli, const struct cli_args *args)
{
    (void)args;
    return tell_daemon(cli, "/v1/stop", "the daemon is stopping");
}

int cli_metrics(struct cli *cli, const struct cli_args *args)
{
    (void)args;
    return cli_ask_text(cli, "/metrics");
}

/* ---- the spool -------------------------------------------------------------------- */

int cli_spool_check(struct cli *cli, const struct cli_args *args)
{
    const char *given = cli_args_value(args, "messages");
    json_t *body = json_object();
    uint64_t messages = 0;
    uint64_t bad;
    json_t *answer;
    int result;

    if (given && (!pn_str_to_u64(pn_str_z(given), 1000000, &messages) || messages == 0)) {
        (void)fprintf(cli->err,
                      "postern spool check: --messages is a number from 1 to 1000000\n");
        json_decref(body);
        return CLI_USAGE;
    }
    if (given) {
        pn_assert(json_object_set_new(body, "messages", json_integer((json_int_t)messages)) ==
                  0);
    }
    result = cli_ask(cli, "POST", "/v1/spool/check", body, &answer);
    if (answer) {
        bad = cli_number(answer, "bad");
        (void)fprintf(cli->out, "checked: %llu, damaged: %llu%s\n",
                      (unsigned long long)cli_number(answer, "checked"),
                      (unsigned long long)bad,
                      cli_flag(answer, "whole") ? "; that was the end of the spool" : "");
        result = bad > 0 ? CLI_REFUSED : CLI_DONE;
        json_decref(answer);
    }
    return result;
}

int cli_spool_salvage(struct cli *cli, const struct cli_args *args)
{
    json_t *body = json_object();
    json_t *answer;
    uint64_t unread;
    int result;

    pn_assert(json_object_set_new(body, "path", cli_json(args->values[0])) == 0);
    result = cli_ask(cli, "POST", "/v1/spool/salvage", body, &answer);
    if (answer) {
        (void)fprintf(cli->out,
                      "brought back: %llu, held (see \"postern queue list --held\"); there "
                      "already: %llu; damaged: %llu\n",
                      (unsigned long long)cli_number(answer, "brought"),
                      (unsigned long long)cli_number(answer, "there_already"),
                      (unsigned long long)cli_number(answer, "bad"));
        unread = cli_number(answer, "unread_jobs");
        if (unread > 0) {
            (void)fprintf(cli->out,
                          "job records that could not be read: %llu; their recipients are not "
                          "known, and miss their mail\n",
                          (unsigned long long)unread);
        }
        result = cli_flag(answer, "complete") ? CLI_DONE : CLI_REFUSED;
        json_decref(answer);
    }
    return result;
}
