/*
 * generate.c - writes what is made of tables: sample files and manual pages.
 *
 *   generate sample|domain-sample|man|domain-man|metrics-man
 */
#include "postern/conf/conf.h"
#include "postern/stats/counters.h"

#include <stdio.h>
#include <string.h>

static int write_metrics_man(struct pn_buf *out)
{
    static const char head[] =
        ".TH POSTERN-METRICS 7 2026-11-21 Postern\n"
        ".SH NAME\npostern\\-metrics \\- what Postern tells Prometheus\n"
        ".SH DESCRIPTION\n"
        "The admin API answers GET /metrics on its unix socket in Prometheus' text format, "
        "and\n"
        ".B postern metrics\nprints the same.\nCounters begin at zero with each start.\n"
        ".SH METRICS\n";
    static const char tail[] = ".SH SEE ALSO\n.BR postern (1),\n.BR postern-admin (7)\n";
    int failed = pn_buf_append_z(out, head);

    failed = failed ? failed : stats_write_man(out);
    return failed ? failed : pn_buf_append_z(out, tail);
}

static const struct {
    const char *name;
    int (*write)(struct pn_buf *out);
} documents[] = {
    {"sample", conf_write_sample},
    {"domain-sample", conf_write_domain_sample},
    {"man", conf_write_man},
    {"domain-man", conf_write_domain_man},
    {"metrics-man", write_metrics_man},
};

int main(int argc, char **argv)
{
    struct pn_buf out;
    int status = 2;

    pn_buf_init(&out, (size_t)1024 * 1024);
    for (size_t i = 0; argc == 2 && i < sizeof documents / sizeof *documents; i++) {
        if (strcmp(argv[1], documents[i].name) == 0) {
            status = documents[i].write(&out) == 0 &&
                             fwrite(pn_buf_str(&out).ptr, 1, out.len, stdout) == out.len &&
                             fflush(stdout) == 0
                         ? 0
                         : 1;
        }
    }
    if (status == 2) {
        (void)fprintf(stderr,
                      "usage: generate sample|domain-sample|man|domain-man|metrics-man\n");
    }
    pn_buf_fini(&out);
    return status;
}
