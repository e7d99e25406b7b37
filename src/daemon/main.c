/*
 * daemon/main.c - posternd [-c FILE] [--check]
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "daemon_priv.h"

#define CONF_DEFAULT "/etc/postern/postern.conf"

enum { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "posternd - a backup MX: holds a domain's mail while its server is away\n"
    "\n"
    "usage: posternd [-c FILE] [--check]\n"
    "\n"
    "  -c, --config FILE  the configuration (default " CONF_DEFAULT ")\n"
    "      --check        read the configuration and every domain file, say what is wrong\n"
    "                     with it (file, line, what to do), and exit: 0 fine, 1 not\n"
    "      --version      print the version\n"
    "  -h, --help         this text\n"
    "\n"
    "It stays in the foreground and logs to standard error. SIGTERM ends it cleanly, SIGHUP\n"
    "reloads. See posternd(8), postern.conf(5), postern-domain(5) and postern(1).\n";

static int check(const char *path)
{
    struct daemon_settings settings;
    struct conf_mistakes mistakes;
    bool fatal;

    conf_mistakes_init(&mistakes);
    (void)daemon_settings_load(&settings, path, &mistakes);
    daemon_settings_check(&settings, &mistakes);
    for (size_t i = 0; i < mistakes.count; i++) {
        struct pn_buf line;

        pn_buf_init(&line, 8192);
        if (conf_mistake_format(&mistakes.items[i], &line) == 0) {
            fprintf(stderr, "%.*s\n", PN_FMT(pn_buf_str(&line)));
        }
        pn_buf_fini(&line);
    }
    if (mistakes.more > 0) {
        fprintf(stderr, "and %zu more\n", mistakes.more);
    }
    fatal = conf_mistakes_fatal(&mistakes);
    if (!fatal) {
        printf("%s: fine, %zu relay domains\n", path,
               domains_count(daemon_domain_files_table(settings.domain_files)));
    }
    conf_mistakes_fini(&mistakes);
    daemon_settings_fini(&settings);
    return fatal ? EXIT_REFUSED : EXIT_DONE;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, 'k'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *path = CONF_DEFAULT;
    bool only_check = false;
    int option;

    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'k':
            only_check = true;
            break;
        case 'v':
            printf("posternd %s\n", POSTERN_VERSION);
            return EXIT_DONE;
        case 'h':
            fputs(usage, stdout);
            return EXIT_DONE;
        default:
            fputs(usage, stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "posternd: %s is not an option\n%s", argv[optind], usage);
        return EXIT_USAGE;
    }
    return only_check ? check(path) : daemon_run(path);
}
