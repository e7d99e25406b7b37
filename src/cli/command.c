/*
 * cli/command.c - the commands: one row each, found, explained and run.
 *
 * postern(1) and the completion for bash name the same rows; unit tests compare them.
 * The words of a command come first, its arguments and options in any order behind them;
 * -s and --json may stand anywhere.
 */
#include "cli_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

#define WORDS_MAX 2

static const struct cli_option no_options[] = {{0}};
static const struct cli_option page_options[] = {
    {"names", NULL, "Print the names alone, one a line.", false}, {0}};
static const struct cli_option check_options[] = {
    {"transcript", NULL, "Show what was said in the session with the target.", false}, {0}};
static const struct cli_option flush_options[] = {
    {"all", NULL, "Every queue.", false},
    {"wait", NULL, "Show the progress, and end when nothing waits any more.", false},
    {0}};
static const struct cli_option spool_check_options[] = {
    {"messages", "N", "How many messages to read; 1,000 unless given.", false}, {0}};
static const struct cli_option destination_options[] = {
    {"domain", "DOMAIN", "The destination that this domain's mail goes to.", false}, {0}};
static const struct cli_option decision_options[] = {
    {"domain", "DOMAIN", "The destination that this domain's mail goes to.", false},
    {"all", NULL, "Every destination that is stopped.", false},
    {0}};
static const struct cli_option import_options[] = {
    {"invalid", NULL, "The addresses are those of nobody.", false}, {0}};
static const struct cli_option route_options[] = {
    {"from", "ADDRESS", "The mail's sender; a report's, unless given.", false}, {0}};
static const struct cli_option forget_options[] = {
    {"all", NULL, "Everything that is remembered of the domain.", false}, {0}};

#define TEXT_OPTIONS                                                                           \
    {"domain", "DOMAIN", "Messages of this queue.", false},                                    \
        {"sender", "TEXT", "Messages whose sender has this text in it.", false},               \
        {"recipient", "TEXT", "Messages one of whose recipients has this text in it.", false}, \
        {"older", "AGE", "Messages older than this: 90s, 2h, 14d.", false},
#define FILTER_OPTIONS                                                                         \
    TEXT_OPTIONS{"held", NULL, "Messages that are held.", false},                              \
        {"parked", NULL, "Messages with parked recipients: refused or expired.", false},
#define PAGE_OPTIONS                                                                           \
    {"limit", "N", "How many messages to show; 100 unless given.", false},                     \
        {"after", "PLACE", "Go on where an earlier list ended.", false},
#define ALL_OPTION {"all", NULL, "Every message: for when nothing else is given.", false},

static const struct cli_option list_options[] = {FILTER_OPTIONS PAGE_OPTIONS{0}};
static const struct cli_option verb_options[] = {FILTER_OPTIONS ALL_OPTION{0}};
static const struct cli_option parked_list_options[] = {TEXT_OPTIONS PAGE_OPTIONS{0}};
static const struct cli_option parked_verb_options[] = {TEXT_OPTIONS ALL_OPTION{0}};

static const struct cli_command commands[] = {
    {"status", "", 0, 0, no_options, cli_status,
     "Domains, waiting mail, the spool: everything that matters at a glance."},
    {"domain list", "", 0, 0, page_options, cli_domain_list, "All relay domains."},
    {"domain show", "DOMAIN", 1, 1, no_options, cli_domain_show,
     "One relay domain: its state, its mail, its options."},
    {"domain add", "DOMAIN", 1, 1, NULL, cli_domain_add,
     "Writes the domain's file; it takes effect at once."},
    {"domain remove", "DOMAIN", 1, 1, no_options, cli_domain_remove,
     "Removes the domain's file. Mail that waits is kept, and held."},
    {"domain check", "DOMAIN", 1, 1, check_options, cli_domain_check,
     "Looks at the domain's DNS and its target, and says what to do."},
    {"recipients show", "DOMAIN", 1, 1, no_options, cli_recipients_show,
     "Who knows the domain's recipients: each source in its order, and its state."},
    {"recipients test", "DOMAIN ADDRESS", 2, 2, no_options, cli_recipients_test,
     "What a client would be told about an address now, and why."},
    {"recipients import", "DOMAIN FILE", 2, 2, import_options, cli_recipients_import,
     "Remembers the addresses in a file as valid."},
    {"recipients export", "DOMAIN", 1, 1, no_options, cli_recipients_export,
     "Prints what is remembered, one line each: address, verdict, source, age."},
    {"recipients forget", "DOMAIN [ADDRESS]", 1, 2, forget_options, cli_recipients_forget,
     "Forgets what is remembered of an address."},
    {"queue list", "", 0, 0, list_options, cli_queue_list,
     "Messages that wait, by queue and time of the next try."},
    {"queue show", "ID", 1, 1, no_options, cli_queue_show, "Everything about one message."},
    {"queue hold", "[ID ...]", 0, CLI_ARGUMENTS_MAX, verb_options, cli_queue_hold,
     "Keeps messages until they are released."},
    {"queue release", "[ID ...]", 0, CLI_ARGUMENTS_MAX, verb_options, cli_queue_release,
     "Makes held or parked messages due now."},
    {"queue retry", "[ID ...]", 0, CLI_ARGUMENTS_MAX, verb_options, cli_queue_retry,
     "Makes waiting messages due now."},
    {"queue delete", "[ID ...]", 0, CLI_ARGUMENTS_MAX, verb_options, cli_queue_delete,
     "Deletes messages, without a report to anybody."},
    {"parked list", "", 0, 0, parked_list_options, cli_parked_list,
     "Messages with recipients that were refused, or waited too long."},
    {"parked show", "ID", 1, 1, no_options, cli_parked_show,
     "One of them: its parked recipients, and why."},
    {"parked release", "[ID ...]", 0, CLI_ARGUMENTS_MAX, parked_verb_options,
     cli_parked_release, "Makes parked recipients due now."},
    {"parked forward", "ADDRESS [ID ...]", 1, CLI_ARGUMENTS_MAX, parked_verb_options,
     cli_parked_forward, "Sends parked messages to another address, and parks them no longer."},
    {"parked delete", "[ID ...]", 0, CLI_ARGUMENTS_MAX, parked_verb_options, cli_parked_delete,
     "Deletes parked recipients, without a report to anybody."},
    {"flush", "[DOMAIN]", 0, 1, flush_options, cli_flush,
     "Tries every message of a queue now, or of all."},
    {"trace", "ID", 1, 1, no_options, cli_trace, "What happened to a message."},
    {"destination list", "", 0, 0, page_options, cli_destination_list,
     "The next hops: whether they answer, and since when."},
    {"destination show", "NAME", 1, 1, no_options, cli_destination_show,
     "One next hop: its state, its sessions, what it offers, and whose mail goes there."},
    {"destination hold", "[NAME]", 0, 1, destination_options, cli_destination_hold,
     "Sends nothing to a destination until it is released."},
    {"destination release", "[NAME]", 0, 1, destination_options, cli_destination_release,
     "Lets a held destination have its mail."},
    {"destination resume", "[NAME]", 0, 1, decision_options, cli_destination_resume,
     "Lets a destination that was stopped for its refusals have its mail, still on parole."},
    {"destination refuse", "[NAME]", 0, 1, decision_options, cli_destination_refuse,
     "Believes a destination's refusals: its parole is over."},
    {"route", "ADDRESS", 1, 1, route_options, cli_route,
     "What would happen to mail for an address now, step by step; nothing is sent."},
    {"probe", "NAME", 1, 1, no_options, cli_probe,
     "Opens a session to a destination, or a domain's, and shows what is said."},
    {"reload", "", 0, 0, no_options, cli_reload, "Reads the configuration again."},
    {"stop", "", 0, 0, no_options, cli_stop, "Ends the daemon; no accepted mail is lost."},
    {"config explain", "[NAME]", 0, 1, no_options, cli_config_explain,
     "Explains an option; without a name, lists all. Works without the daemon."},
    {"spool genkey", "FILE", 1, 1, no_options, cli_spool_genkey,
     "Makes a key file for encryption at rest. Works without the daemon."},
    {"spool check", "", 0, 0, spool_check_options, cli_spool_check,
     "Reads messages from the disk and verifies them, from where the last check ended."},
    {"spool salvage", "DIRECTORY", 1, 1, no_options, cli_spool_salvage,
     "Repairs a copy of a broken store and brings its messages back, held."},
    {"metrics", "", 0, 0, no_options, cli_metrics,
     "Counters and gauges, as Prometheus reads them."},
    {"help", "[COMMAND ...]", 0, WORDS_MAX, no_options, cli_help, "Explains a command."},
    {"version", "", 0, 0, no_options, cli_version, "Prints the version of this tool."},
};

const struct cli_command *cli_commands(size_t *out_count)
{
    *out_count = PN_COUNT(commands);
    return commands;
}

static const struct cli_option *options_of(const struct cli_command *command)
{
    return command->options ? command->options : cli_domain_options();
}

/* How many of argv's words name this command; 0: they do not. */
static int words_match(const struct cli_command *command, int argc, char *const *argv)
{
    struct pn_str words = pn_str_z(command->words);
    int count = 0;

    while (words.len > 0) {
        struct pn_str word = pn_str_cut(&words, ' ');

        if (count >= argc || !pn_str_eq(word, pn_str_z(argv[count]))) {
            return 0;
        }
        count++;
    }
    return count;
}

static const struct cli_command *command_find(int argc, char *const *argv, int *out_words)
{
    for (size_t i = 0; i < PN_COUNT(commands); i++) {
        int words = words_match(&commands[i], argc, argv);

        if (words > 0) {
            *out_words = words;
            return &commands[i];
        }
    }
    return NULL;
}

/* ---- help ------------------------------------------------------------------------- */

static void help_all(FILE *file)
{
    (void)fprintf(file, "usage: postern [-s SOCKET] [--json] COMMAND\n\n");
    for (size_t i = 0; i < PN_COUNT(commands); i++) {
        (void)fprintf(file, "  %-20s %-16s %s\n", commands[i].words, commands[i].arguments,
                      commands[i].help);
    }
    (void)fprintf(file,
                  "\n\"postern help COMMAND\" explains one of them; see also postern(1).\n");
}

static void help_command(FILE *file, const struct cli_command *command)
{
    const struct cli_option *options = options_of(command);

    (void)fprintf(file, "usage: postern [-s SOCKET] [--json] %s%s%s%s\n\n%s\n", command->words,
                  options[0].name ? " [OPTIONS]" : "", command->arguments[0] ? " " : "",
                  command->arguments, command->help);
    for (size_t i = 0; options[i].name; i++) {
        (void)fprintf(file, "%s  --%s%s%s\n        %s%s\n", i == 0 ? "\n" : "", options[i].name,
                      options[i].value ? " " : "", options[i].value ? options[i].value : "",
                      options[i].help, options[i].many ? " May be given several times." : "");
    }
}

/* The commands that begin with this word: "postern queue" alone. */
static bool help_group(FILE *file, const char *word)
{
    size_t found = 0;

    for (size_t i = 0; i < PN_COUNT(commands); i++) {
        struct pn_str words = pn_str_z(commands[i].words);

        if (pn_str_eq(pn_str_cut(&words, ' '), pn_str_z(word)) && words.len > 0) {
            (void)fprintf(file, "%spostern %s%s%s\n        %s\n", found++ ? "" : "usage:\n",
                          commands[i].words, commands[i].arguments[0] ? " " : "",
                          commands[i].arguments, commands[i].help);
        }
    }
    return found > 0;
}

static int tell_unknown(struct cli *cli, const char *word)
{
    size_t nearest_distance = strlen(word) / 2 + 1;
    const char *nearest = NULL;

    for (size_t i = 0; i < PN_COUNT(commands); i++) {
        struct pn_str words = pn_str_z(commands[i].words);
        size_t distance = pn_str_distance(pn_str_z(word), pn_str_cut(&words, ' '));

        if (distance < nearest_distance) {
            nearest_distance = distance;
            nearest = commands[i].words;
        }
    }
    (void)fprintf(cli->err, "postern: there is no command %.64s%s%s%s\n", word,
                  nearest ? "; the nearest is \"" : "", nearest ? nearest : "",
                  nearest ? "\"" : "");
    return CLI_USAGE;
}

int cli_help(struct cli *cli, const struct cli_args *args)
{
    const struct cli_command *command;
    int words;

    if (args->count == 0) {
        help_all(cli->out);
        return CLI_DONE;
    }
    command = command_find((int)args->count, (char *const *)args->values, &words);
    if (command) {
        help_command(cli->out, command);
        return CLI_DONE;
    }
    return help_group(cli->out, args->values[0]) ? CLI_DONE
                                                 : tell_unknown(cli, args->values[0]);
}

int cli_version(struct cli *cli, const struct cli_args *args)
{
    (void)args;
    if (cli->json) {
        (void)fprintf(cli->out, "{\"version\":\"%s\"}\n", POSTERN_VERSION);
    } else {
        (void)fprintf(cli->out, "postern %s\n", POSTERN_VERSION);
    }
    return CLI_DONE;
}

/* ---- running ---------------------------------------------------------------------- */

static int run_command(struct cli *cli, const struct cli_command *command, int argc,
                       char **argv)
{
    struct cli_args args;
    struct pn_err err;

    if (cli_args_parse(&args, options_of(command), argc, argv, &err) != 0) {
        (void)fprintf(cli->err, "postern %s: %s; see \"postern help %s\"\n", command->words,
                      err.text, command->words);
        return CLI_USAGE;
    }
    if (args.count < command->least || args.count > command->most) {
        (void)fprintf(cli->err, "usage: postern %s%s%s; see \"postern help %s\"\n",
                      command->words, command->arguments[0] ? " " : "", command->arguments,
                      command->words);
        return CLI_USAGE;
    }
    return command->run(cli, &args);
}

/* Takes the options that every command has out of argv; false: usage. */
static bool take_common(struct cli *cli, int *argc, char **argv, bool *out_help)
{
    int kept = 0;
    bool ended = false;

    for (int i = 0; i < *argc; i++) {
        bool value = i + 1 < *argc;

        ended = ended || strcmp(argv[i], "--") == 0;
        if (!ended && strcmp(argv[i], "--json") == 0) {
            cli->json = true;
        } else if (!ended && (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)) {
            *out_help = true;
        } else if (!ended && (strcmp(argv[i], "-s") == 0 || strcmp(argv[i], "--socket") == 0)) {
            if (!value) {
                (void)fprintf(cli->err, "postern: %s needs the path of a socket\n", argv[i]);
                return false;
            }
            cli->socket_path = argv[++i];
        } else {
            argv[kept++] = argv[i];
        }
    }
    *argc = kept;
    return true;
}

int cli_run(struct cli *cli, int argc, char **argv)
{
    const struct cli_command *command;
    bool help = false;
    int words = 0;

    argc = argc > 0 ? argc - 1 : 0;
    argv = argv + 1;
    if (!take_common(cli, &argc, argv, &help)) {
        return CLI_USAGE;
    }
    if (argc > 0 && strcmp(argv[0], "--version") == 0) {
        argv[0] = "version";
    }
    if (argc == 0) {
        help_all(help ? cli->out : cli->err);
        return help ? CLI_DONE : CLI_USAGE;
    }
    command = command_find(argc, argv, &words);
    if (!command) {
        if (help_group(help ? cli->out : cli->err, argv[0])) {
            return help ? CLI_DONE : CLI_USAGE;
        }
        return tell_unknown(cli, argv[0]);
    }
    if (help) {
        help_command(cli->out, command);
        return CLI_DONE;
    }
    return run_command(cli, command, argc - words, argv + words);
}
