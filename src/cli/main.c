/*
 * cli/main.c - the command-line tool "postern": wires the adapters to the commands.
 */
#include "cli_priv.h"

#include "postern/http/call.h"
#include "postern/spool/spool.h"
#include "postern/tls/context.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/postern/admin.sock"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* False when the interrupt key was pressed meanwhile. */
static bool pause_for(int64_t ms)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)sigaction(SIGINT, &action, NULL);
    while (!interrupted && nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
    return !interrupted;
}

static int make_key(struct pn_buf *out)
{
    return spool_key_make(tls_crypto(), out);
}

static size_t terminal_width(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

int main(int argc, char **argv)
{
    const char *socket_path = getenv("POSTERN_SOCKET");
    const char *no_colour = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    struct cli cli = {
        .socket_path = socket_path && *socket_path ? socket_path : DEFAULT_SOCKET,
        .out = stdout,
        .err = stderr,
        .terminal = isatty(STDOUT_FILENO) == 1,
        .call = http_call,
        .make_key = make_key,
        .pause = pause_for,
    };
    int status;

    cli.colour =
        cli.terminal && !(no_colour && *no_colour) && term && strcmp(term, "dumb") != 0;
    cli.width = cli.terminal ? terminal_width() : 0;
    status = cli_run(&cli, argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fprintf(stderr, "postern: the output could not be written\n");
        return status == CLI_DONE ? CLI_REFUSED : status;
    }
    return status;
}
