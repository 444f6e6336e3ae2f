/* The command line of `dlq`. Options that a verb would ignore are refused: whoever writes `list --execute`
 * expects something else than a list. */
#include "consumer/dlq_options.h"

#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "domain/topology.h"

const struct dlq_queue DLQ_QUEUES[DLQ_QUEUE_COUNT] = {
    {TOPOLOGY_DLX_AGENT, DLQ_REQUESTS, TOPOLOGY_AG_PARKED},
    {TOPOLOGY_AG_PARKED, DLQ_REQUESTS, NULL},
    {TOPOLOGY_DLX_WEBHOOK, DLQ_REPLIES, TOPOLOGY_WB_PARKED},
    {TOPOLOGY_WB_PARKED, DLQ_REPLIES, NULL},
};

static const char *const VERBS[] = {[DLQ_LIST] = "list",
                                    [DLQ_SHOW] = "show",
                                    [DLQ_REPLAY] = "replay",
                                    [DLQ_PARK] = "park",
                                    [DLQ_PURGE] = "purge"};
enum { VERB_COUNT = sizeof VERBS / sizeof VERBS[0] };

enum {
    OPTION_HELP = 'h',
    OPTION_QUEUE = 256,
    OPTION_REASON,
    OPTION_MIN_AGE,
    OPTION_MAX_AGE,
    OPTION_CONTACT,
    OPTION_MESSAGE_ID,
    OPTION_WORKSPACE,
    OPTION_LIMIT,
    OPTION_RATE,
    OPTION_DRY_RUN,
    OPTION_EXECUTE,
    OPTION_YES,
    OPTION_AGAIN,
    OPTION_BODY,
    OPTION_JSON,
};

static const struct option LONG_OPTIONS[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {"queue", required_argument, NULL, OPTION_QUEUE},
    {"reason", required_argument, NULL, OPTION_REASON},
    {"min-age", required_argument, NULL, OPTION_MIN_AGE},
    {"max-age", required_argument, NULL, OPTION_MAX_AGE},
    {"contact", required_argument, NULL, OPTION_CONTACT},
    {"message-id", required_argument, NULL, OPTION_MESSAGE_ID},
    {"workspace", required_argument, NULL, OPTION_WORKSPACE},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
    {"execute", no_argument, NULL, OPTION_EXECUTE},
    {"yes", no_argument, NULL, OPTION_YES},
    {"again", no_argument, NULL, OPTION_AGAIN},
    {"body", no_argument, NULL, OPTION_BODY},
    {"json", no_argument, NULL, OPTION_JSON},
    {NULL, 0, NULL, 0},
};

const char *dlq_verb_name(enum dlq_verb v)
{
    return VERBS[v];
}

bool dlq_verb_moves(enum dlq_verb v)
{
    switch (v) {
    case DLQ_LIST:
    case DLQ_SHOW:
        return false;
    case DLQ_REPLAY:
    case DLQ_PARK:
    case DLQ_PURGE:
        return true;
    }
    return false;
}

bool dlq_duration_parse(const char *text, int64_t *ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } UNITS[] = {{"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    enum { DIGITS_MAX = 9 };
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > DIGITS_MAX)
        return false;
    for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++) {
        if (strcmp(text + digits, UNITS[i].unit) == 0) {
            *ms = strtoll(text, NULL, 10) * UNITS[i].ms;
            return true;
        }
    }
    return false;
}

static int take_duration(const char *name, const char *text, int64_t *ms, struct err *e)
{
    if (dlq_duration_parse(text, ms))
        return 0;
    return err_set(e, ERR_USAGE, 0, "dlq: --%s: expected a duration like 90s, 15m, 2h or 1d, found '%.40s'",
                   name, text);
}

static int take_number(const char *name, const char *text, int64_t max, int64_t *value, struct err *e)
{
    char *end;

    *value = strtoll(text, &end, 10);
    if (isdigit((unsigned char)text[0]) && !*end && *value >= 1 && *value <= max)
        return 0;
    return err_set(e, ERR_USAGE, 0, "dlq: --%s: expected 1 to %lld, found '%.40s'", name, (long long)max,
                   text);
}

static int take_queue(const char *name, struct dlq_options *o, struct err *e)
{
    const struct dlq_queue *found = NULL;

    for (size_t i = 0; i < DLQ_QUEUE_COUNT; i++) {
        if (strcmp(DLQ_QUEUES[i].name, name) == 0)
            found = &DLQ_QUEUES[i];
    }
    if (!found)
        return err_set(e, ERR_USAGE, 0, "dlq: '%.100s' is no dead-letter queue (%s, %s, %s, %s are)", name,
                       TOPOLOGY_DLX_AGENT, TOPOLOGY_AG_PARKED, TOPOLOGY_DLX_WEBHOOK, TOPOLOGY_WB_PARKED);
    if (o->queue && o->queue != found)
        return err_set(e, ERR_USAGE, 0, "dlq: one queue at a time, found %s and %s", o->queue->name, name);
    o->queue = found;
    return 0;
}

/* A number with or without its plus, or a JID. */
static int take_contact(const char *text, struct dlq_filter *f, struct err *e)
{
    char with_plus[32] = "+";

    if (strlen(text) < sizeof with_plus - 1)
        memcpy(with_plus + 1, text, strlen(text) + 1);
    if (contact_number_from_jid(text, f->number) || contact_normalise_number(text, f->number) ||
        contact_normalise_number(with_plus, f->number))
        return 0;
    f->jid = text;
    if (contact_jid_kind_of(text) != CONTACT_JID_NONE)
        return 0;
    return err_set(e, ERR_USAGE, 0, "dlq: --contact: expected a number like +12025550143 or a JID");
}

/* Options with a value. */
static int take_value(int option, const char *text, struct dlq_options *o, struct err *e)
{
    switch (option) {
    case OPTION_QUEUE:
        return take_queue(text, o, e);
    case OPTION_MIN_AGE:
        return take_duration("min-age", text, &o->filter.min_age_ms, e);
    case OPTION_MAX_AGE:
        return take_duration("max-age", text, &o->filter.max_age_ms, e);
    case OPTION_CONTACT:
        return take_contact(text, &o->filter, e);
    case OPTION_LIMIT:
        return take_number("limit", text, DLQ_LIMIT_MAX, &o->limit, e);
    case OPTION_RATE:
        return take_number("rate", text, DLQ_RATE_MAX, &o->rate, e);
    case OPTION_REASON:
        o->filter.reason = text;
        return 0;
    case OPTION_MESSAGE_ID:
        o->filter.message_id = text;
        return 0;
    default: /* the last one with a value */
        o->filter.workspace = text;
        return 0;
    }
}

struct seen { /* what was said and leaves no trace in the options */
    bool filter, limit, dry_run;
};

static int take_option(int option, const char *text, struct dlq_options *o, struct seen *seen, struct err *e)
{
    switch (option) {
    case OPTION_HELP:
        o->help = true;
        return 0;
    case OPTION_DRY_RUN:
        seen->dry_run = true;
        return 0;
    case OPTION_EXECUTE:
        o->execute = true;
        return 0;
    case OPTION_YES:
        o->yes = true;
        return 0;
    case OPTION_AGAIN:
        o->again = true;
        return 0;
    case OPTION_BODY:
        o->body = true;
        return 0;
    case OPTION_JSON:
        o->json = true;
        return 0;
    default:
        seen->limit |= option == OPTION_LIMIT;
        seen->filter |= option >= OPTION_REASON && option <= OPTION_WORKSPACE;
        return take_value(option, text, o, e);
    }
}

static int check_verb(const struct dlq_options *o, const struct seen *seen, struct err *e)
{
    const char *verb = dlq_verb_name(o->verb);

    if (!o->queue && (o->verb != DLQ_LIST || seen->filter || seen->limit))
        return err_set(e, ERR_USAGE, 0, "dlq %s: which queue? (%s, %s, %s or %s)", verb, TOPOLOGY_WB_PARKED,
                       TOPOLOGY_DLX_WEBHOOK, TOPOLOGY_AG_PARKED, TOPOLOGY_DLX_AGENT);
    if (!dlq_verb_moves(o->verb) && (o->execute || seen->dry_run || o->yes || o->rate > 0))
        return err_set(e, ERR_USAGE, 0,
                       "dlq %s: moves nothing: --execute, --dry-run, --yes and --rate are not for it", verb);
    if (o->execute && seen->dry_run)
        return err_set(e, ERR_USAGE, 0, "dlq %s: either --execute or --dry-run", verb);
    if (o->again && o->verb != DLQ_REPLAY)
        return err_set(e, ERR_USAGE, 0, "dlq %s: --again is for replay", verb);
    if (o->body && o->verb != DLQ_SHOW)
        return err_set(e, ERR_USAGE, 0, "dlq %s: --body is for show", verb);
    if (o->verb == DLQ_PARK && !o->queue->parked)
        return err_set(e, ERR_USAGE, 0, "dlq park: what is in %s is parked already", o->queue->name);
    return 0;
}

static int take_verb(const char *word, enum dlq_verb *verb, struct err *e)
{
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (strcmp(word, VERBS[i]) == 0) {
            *verb = (enum dlq_verb)i;
            return 0;
        }
    }
    return err_set(e, ERR_USAGE, 0, "dlq: expected list, show, replay, park or purge, found '%.40s'", word);
}

int dlq_options_parse(int argc, char **argv, struct dlq_options *o, struct err *e)
{
    struct seen seen = {0};
    int option;

    *o = (struct dlq_options){.limit = DLQ_LIMIT_DEFAULT, .filter = {.min_age_ms = -1, .max_age_ms = -1}};
    if (argc > 0 &&
        (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 || strcmp(argv[0], "help") == 0)) {
        o->help = true;
        return 0;
    }
    if (take_verb(argc > 0 ? argv[0] : "nothing", &o->verb, e) != 0)
        return -1;
    optind = 0; /* glibc: start over; ":" names a missing value */
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":h", LONG_OPTIONS, NULL)) != -1) {
        if (option == ':')
            return err_set(e, ERR_USAGE, 0, "dlq: %.40s needs a value", argv[optind - 1]);
        if (option == '?')
            return err_set(e, ERR_USAGE, 0, "dlq: unknown option %.40s (see dlq --help)", argv[optind - 1]);
        if (take_option(option, optarg, o, &seen, e) != 0)
            return -1;
    }
    for (int i = optind; i < argc; i++) {
        if (take_queue(argv[i], o, e) != 0)
            return -1;
    }
    return o->help ? 0 : check_verb(o, &seen, e);
}

void dlq_usage_write(struct buf *out)
{
    buf_add_str(out, "usage: agwb-consumer [-c FILE] dlq VERB [QUEUE] [OPTIONS]\n\n"
                     "  list            the four queues with their counts\n"
                     "  list QUEUE      its messages, a line each\n"
                     "  show QUEUE      in full: headers, the ledger's state, every attempt\n"
                     "  replay QUEUE    back to the queue they came from\n"
                     "  park QUEUE      from dlx_agent to ag_parked, from dlx_webhook to wb_parked\n"
                     "  purge QUEUE     out of the queue for good, each with its row in agwb.audit\n\n"
                     "QUEUE (or --queue QUEUE): dlx_agent, ag_parked, dlx_webhook, wb_parked\n\n"
                     "which messages:\n"
                     "  --reason WORD       why it is there: agwb-reason, or what the broker says (expired, "
                     "rejected, ...)\n"
                     "  --min-age D, --max-age D\n"
                     "                      90s, 15m, 2h, 1d; counted from the message's own timestamp\n"
                     "  --contact C         a number or JID\n"
                     "  --message-id ID, --workspace UUID\n"
                     "  --limit N           at most so many (10)\n\n"
                     "replay, park, purge:\n"
                     "  --dry-run           say what would be done (the default)\n"
                     "  --execute           do it; asks for the queue's name\n"
                     "  --yes               do not ask; needed where there is no terminal\n"
                     "  --rate N            at most N a second\n"
                     "  --again             replay: also what was sent or answered already\n\n"
                     "output:\n"
                     "  --json              an object a line, a summary at the end\n"
                     "  --body              show: the message's bytes, too\n\n"
                     "replay leaves out expired replies older than an hour unless --max-age is given: they "
                     "would reach people\n"
                     "out of context.\n\n"
                     "exit status: 0 done, 64 usage, 69 a server is unavailable, 75 another run has the "
                     "queue, or this one was\n"
                     "stopped: run it again\n");
}
