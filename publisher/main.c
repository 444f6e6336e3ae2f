/* agwb-publisher: inbound rows in PostgreSQL become requests on ag_queue. */
#include "domain/daemon.h"
#include "publisher/migrate.h"
#include "publisher/publisher.h"

static const char *metrics_listen(const struct config *c)
{
    return c->publisher.metrics_listen;
}

int main(int argc, char **argv)
{
    static const struct daemon_command COMMANDS[] = {
        {"migrate", "bring the database schema to this version [--complete-status WORD]", migrate_command},
    };
    const struct daemon_program program = {
        .name = "agwb-publisher",
        .about = "turns inbound message rows in PostgreSQL into requests for an AI agent on RabbitMQ",
        .commands = COMMANDS,
        .command_count = sizeof COMMANDS / sizeof COMMANDS[0],
        .handlers = PUBLISHER_HANDLERS,
        .metrics_listen = metrics_listen};

    return daemon_main(&program, argc, argv);
}
