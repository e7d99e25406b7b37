/*
 * sim_isolated.c - many worlds, each in a process of its own, so that one that fails does not
 * hide the others; as many at a time as there are processors.
 */
#include "sim.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_S    300 /* for one of them */
#define JOBS_MOST 64

struct job {
    pid_t pid;
    uint64_t n;
};

#ifdef SIM_COVERAGE
void __gcov_dump(void);
#endif

/* Without what exit() does, which is a great deal under a sanitizer; libgcov needs telling. */
static _Noreturn void end_process(void)
{
    (void)fflush(NULL);
#ifdef SIM_COVERAGE
    __gcov_dump();
#endif
    _exit(0);
}

static struct job begin(sim_isolated_fn *fn, void *owner, uint64_t n)
{
    struct job job = {.n = n};

    (void)fflush(NULL);
    job.pid = fork();
    pn_assert(job.pid >= 0);
    if (job.pid == 0) {
        (void)alarm(MOST_S);
        fn(owner, n);
        end_process();
    }
    return job;
}

static size_t jobs_at_a_time(void)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    return processors < 1 ? 1 : processors > JOBS_MOST ? JOBS_MOST : (size_t)processors;
}

uint64_t sim_isolated(uint64_t count, sim_isolated_fn *fn, sim_isolated_fn *on_failed,
                      void *owner)
{
    struct job jobs[JOBS_MOST];
    size_t most = jobs_at_a_time(), running = 0;
    uint64_t begun = 0, failed = 0;

    while (begun < count || running > 0) {
        size_t i = 0;
        int status;
        pid_t pid;

        if (begun < count && running < most) {
            jobs[running++] = begin(fn, owner, begun++);
            continue;
        }
        pid = wait(&status);
        while (i < running && jobs[i].pid != pid) {
            i++;
        }
        pn_assert(i < running);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            on_failed(owner, jobs[i].n);
            failed++;
        }
        jobs[i] = jobs[--running];
    }
    return failed;
}
