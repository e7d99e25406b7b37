/*
 * cli/cli_priv.h - the command-line tool: what its commands share.
 */
#ifndef POSTERN_CLI_CLI_PRIV_H
#define POSTERN_CLI_CLI_PRIV_H

#include "args_priv.h"
#include "text_priv.h"

#include "postern/http/call.h"

#include <jansson.h>
#include <stdio.h>

/* Exit statuses: scripts hold on to them. */
enum cli_status { CLI_DONE = 0, CLI_REFUSED = 1, CLI_USAGE = 2, CLI_UNREACHABLE = 3 };

typedef int cli_call_fn(const struct http_call *call, unsigned *out_status,
                        struct pn_buf *out_body, struct pn_err *err);
typedef int cli_key_fn(struct pn_buf *out);

/* One run of the tool. */
struct cli {
    const char *socket_path;
    bool json;
    FILE *out, *err;
    bool terminal; /* out is one */
    bool colour;
    size_t width;      /* of the terminal; 0: lines are not cut */
    cli_call_fn *call; /* http_call, or a test's */
    cli_key_fn *make_key;
    bool (*pause)(int64_t ms); /* false: the user wants to leave */
};

typedef int cli_command_fn(struct cli *cli, const struct cli_args *args);

struct cli_command {
    const char *words;     /* "queue list" */
    const char *arguments; /* "[ID ...]" */
    size_t least, most;    /* how many of them */
    const struct cli_option *options;
    cli_command_fn *run; /* an enum cli_status */
    const char *help;
};
const struct cli_command *cli_commands(size_t *out_count);

/* Parses, runs, and gives the exit status. */
int cli_run(struct cli *cli, int argc, char **argv);

/* Options of "domain add": those of a domain's file. Ended by a NULL name. */
const struct cli_option *cli_domain_options(void);

cli_command_fn cli_status, cli_metrics, cli_reload, cli_stop, cli_trace;
cli_command_fn cli_domain_list, cli_domain_show, cli_domain_add, cli_domain_remove,
    cli_domain_check;
cli_command_fn cli_queue_list, cli_queue_show, cli_queue_hold, cli_queue_release,
    cli_queue_retry, cli_queue_delete;
cli_command_fn cli_parked_list, cli_parked_show, cli_parked_release, cli_parked_forward,
    cli_parked_delete;
cli_command_fn cli_recipients_show, cli_recipients_test, cli_recipients_import,
    cli_recipients_export, cli_recipients_forget;
cli_command_fn cli_flush, cli_destination_list, cli_destination_show, cli_destination_hold,
    cli_destination_release, cli_destination_resume, cli_destination_refuse;
cli_command_fn cli_probe, cli_route;
cli_command_fn cli_config_explain, cli_spool_genkey, cli_spool_check, cli_spool_salvage;
cli_command_fn cli_help, cli_version;

/* ---- asking the daemon ------------------------------------------------------------ */

/*
 * Sends a request and takes its answer. CLI_DONE and *out (NULL with --json, when the
 * answer was printed as it is); else the error has been told. Takes over body (or NULL).
 */
int cli_ask(struct cli *cli, const char *method, const char *path, json_t *body, json_t **out);
/* The same, never printed: for commands that ask more than once. */
int cli_ask_quietly(struct cli *cli, const char *method, const char *path, json_t *body,
                    json_t **out);

/* Values of an answer; what is missing is "", 0 or -1. */
struct pn_str cli_text(const json_t *object, const char *key);
uint64_t cli_number(const json_t *object, const char *key);
double cli_seconds(const json_t *object, const char *key); /* -1: null */
bool cli_flag(const json_t *object, const char *key);

/* Prints an answer that is text, as it is. */
int cli_ask_text(struct cli *cli, const char *path);

/* Follows the pages of a listing to their end: all rows, and the first page's answer. Both
 * are to be released, whatever the status. */
int cli_pages(struct cli *cli, const char *path, const char *key, json_t **out_rows,
              json_t **out_first);

/* An argument as JSON; what is no UTF-8 becomes "?", which no name has. */
json_t *cli_json(const char *argument);

/* A path of two parts, the second one encoded, with what follows it; "" for none. */
void cli_path(struct pn_buf *out, const char *before, const char *name, const char *after);
void cli_path_query(struct pn_buf *out, const char *name, const char *value);
void cli_path_number(struct pn_buf *out, const char *name, uint64_t value);
const char *cli_z(struct pn_buf *path); /* with a NUL behind it */

/* ---- showing ---------------------------------------------------------------------- */

#define CLI_OUTPUT_MAX (256u << 20)

void cli_print(struct cli *cli, const struct pn_buf *text);
void cli_print_json(struct cli *cli, const json_t *json);

void cli_summary(const json_t *status, struct pn_buf *out); /* the status' first line */
void cli_status_text(const json_t *status, size_t width, bool colour, struct pn_buf *out);
void cli_put_broken(const json_t *broken, struct pn_buf *out);
/* A destination, or a domain that goes there, that is on parole or stopped: in words. */
void cli_put_parole(const json_t *row, struct pn_buf *out);
void cli_put_stopped(const json_t *row, struct pn_buf *out);
struct cli_table *cli_domain_table(const json_t *domains);
struct cli_table *cli_queue_table(const json_t *messages);
struct cli_table *cli_parked_table(const json_t *messages);
struct cli_table *cli_destination_table(const json_t *destinations);
bool cli_findings_text(const json_t *answer, bool colour, struct pn_buf *out);
void cli_progress_bar(uint64_t done, uint64_t total, struct pn_buf *out);
void cli_progress_text(const json_t *queue, uint64_t most, struct pn_buf *out);

#endif
