/*
 * bench/keeper.c - the parent of all that a peer starts, so that its cost can be summed up.
 *
 *     keeper      reads command lines from standard input and starts each by sh
 *
 * Mail systems detach their processes, and what a detached process has used is lost with
 * it. This one is a child subreaper: it inherits them, waits for them, and so has their
 * user and system time and their input and output in its own account of children.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_child(int number)
{
    (void)number;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

int main(void)
{
    struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART};
    char *line = NULL;
    size_t size = 0;

    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 || sigaction(SIGCHLD, &action, NULL) != 0) {
        perror("keeper");
        return 1;
    }
    while (getline(&line, &size, stdin) > 0) {
        if (fork() == 0) {
            execl("/bin/sh", "sh", "-c", line, (char *)NULL);
            _exit(127);
        }
    }
    free(line);
    return 0;
}
