/* agwb-publisher: inbound rows in PostgreSQL become requests on ag_queue. */
#include <malloc.h>

#include "domain/daemon.h"
#include "domain/doctor.h"
#include "domain/stats.h"
#include "publisher/migrate.h"
#include "publisher/publisher.h"
#include "publisher/trace.h"

static const char *metrics_listen(const struct config *c)
{
    return c->publisher.metrics_listen;
}

static int doctor(const struct config *c, int argc, char **argv, struct err *e)
{
    return doctor_run(c, argc, argv, NULL, e);
}

/* A batch is some hundred KB that come and go. By default glibc gives them back to the kernel each time,
 * which then clears the same pages anew. */
enum { KEPT_BYTES = 2 * 1024 * 1024 };

int main(int argc, char **argv)
{
    static const struct daemon_command COMMANDS[] = {
        {"migrate", "bring the database schema to this version [--complete-status WORD]", migrate_command},
        {"trace", "the whole way of one message, by any of its ids or a person's number; trace --help",
         trace_command},
        {"stats", "what waits, is under way, done and failed, by queue and account; stats --help",
         stats_command},
        {"doctor", "look at everything this program needs; doctor --help says more", doctor},
    };
    const struct daemon_program program = {
        .name = "agwb-publisher",
        .about = "turns inbound message rows in PostgreSQL into requests for an AI agent on RabbitMQ",
        .commands = COMMANDS,
        .command_count = sizeof COMMANDS / sizeof COMMANDS[0],
        .handlers = PUBLISHER_HANDLERS,
        .metrics_listen = metrics_listen};

    (void)mallopt(M_TRIM_THRESHOLD, KEPT_BYTES); /* a refusal costs time only */
    return daemon_main(&program, argc, argv);
}
