/* agwb-consumer: the agent's replies on wb_queue are delivered over WhatsApp and SMS. */
#include "consumer/channels/channel.h"
#include "consumer/consumer.h"
#include "consumer/dlq.h"
#include "consumer/doctor.h"
#include "domain/daemon.h"
#include "domain/stats.h"

static const char *metrics_listen(const struct config *c)
{
    return c->consumer.metrics_listen;
}

int main(int argc, char **argv)
{
    static const struct daemon_command COMMANDS[] = {
        {"dlq", "dead letters: list | show | replay | park | purge; dlq --help says more", dlq_command},
        {"stats", "what waits, is under way, done and failed, by queue and account; stats --help",
         stats_command},
        {"doctor", "look at everything this program needs; doctor --help says more", consumer_doctor_command},
    };
    const struct daemon_program program = {
        .name = "agwb-consumer",
        .about = "delivers an AI agent's replies from RabbitMQ over WhatsApp and SMS",
        .commands = COMMANDS,
        .command_count = sizeof COMMANDS / sizeof COMMANDS[0],
        .handlers = CONSUMER_HANDLERS,
        .metrics_listen = metrics_listen,
        .check = channel_check_accounts};

    return daemon_main(&program, argc, argv);
}
