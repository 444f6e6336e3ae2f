/* Instagram's Messaging API on Meta's Graph: POST /{version}/{account id}/messages. A person is an
 * Instagram-scoped id, which their first message brings; they can be answered for 24 hours after each of
 * theirs. There is no idempotency key on send, and nothing of ours comes back. What Meta's pages could not be
 * read for is marked [K]: general knowledge of the Messenger platform's error codes. */
#include "consumer/channels/graph.h"

/* --- the account --- */

static int check(const struct config_account *a, struct err *e)
{
    if (!graph_is_id(config_account_option(a, "account_id", "")))
        return err_set(
            e, ERR_CONFIG, 0,
            "options.account_id: expected the id of the Instagram professional account, or of its page "
            "(digits)");
    return graph_check_version(a, e);
}

/* --- the request --- */

/* A file goes by its link; only pictures can be shown, of the rest there is "file" [K]. */
static void add_file(struct buf *b, const struct channel_part *p)
{
    channel_json_open(b, "attachment");
    channel_json_member(b, "type", p->is_image ? "image" : "file");
    channel_json_open(b, "payload");
    channel_json_member(b, "url", p->files[0].url);
    buf_add_str(b, "}}");
}

static int build(const struct channel_send *s, struct channel_request *r, struct err *e)
{
    if (!graph_is_id(s->address))
        return err_set(e, ERR_DATA, 0, "the contact has no Instagram-scoped id: Instagram cannot reach it");
    graph_request(r, s->account, config_account_option(s->account, "account_id", ""));
    buf_add_char(&r->body, '{');
    channel_json_open(&r->body, "recipient");
    channel_json_member(&r->body, "id", s->address);
    buf_add_str(&r->body, "},\"messaging_type\":\"RESPONSE\"");
    channel_json_open(&r->body, "message");
    if (s->part->file_count)
        add_file(&r->body, s->part);
    else
        channel_json_member(&r->body, "text", s->part->text);
    buf_add_str(&r->body, "}}");
    return 0;
}

/* --- the answer --- */

/* Graph's common codes, then Messenger's own [K]. Those above 1,000,000 are
 * subcodes, by which one code says several things. */
static const struct channel_error ERRORS[] = {
    GRAPH_ERRORS,
    {17, 17, OUTCOME_THROTTLED, 60, 0, "the user's call rate"},
    {32, 32, OUTCOME_THROTTLED, 60, 0, "the page's call rate"},
    {33, 33, OUTCOME_AUTH, 0, 0, "the account id does not exist"},
    {551, 551, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "this person is not available"},
    {613, 613, OUTCOME_THROTTLED, 60, 0, "the account's call rate"},
    {1200, 1200, OUTCOME_TEMPFAIL, 5, 0, "temporary failure to send"},
    {80006, 80006, OUTCOME_THROTTLED, 60, 0, "the account's messaging rate"},
    {1545041, 1545041, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "this person is not available"},
    {2018001, 2018001, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "no such user"},
    {2018108, 2018108, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "this person does not take messages"},
    {2018278, 2018278, OUTCOME_PERMFAIL, 0, LINE_WINDOW, "more than 24 hours since the user's last message"},
};

static const struct graph_subcode SUBCODES[] = {
    {10, 2018278, 2018278},  {10, 2018065, 2018278},  {100, 33, 33},
    {100, 2018001, 2018001}, {200, 1545041, 1545041}, {200, 2018108, 2018108},
};

static const char *id_of(const struct json_node *root)
{
    return json_str(json_member(root, "message_id"));
}

static void judge(const struct http_result *r, struct channel_verdict *v)
{
    static const struct graph_errors TABLE = {.lines = ERRORS,
                                              .count = sizeof ERRORS / sizeof ERRORS[0],
                                              .subcodes = SUBCODES,
                                              .subcode_count = sizeof SUBCODES / sizeof SUBCODES[0]};

    graph_judge(r, &TABLE, id_of, v);
}

static const enum channel CHANNELS[] = {CHANNEL_INSTAGRAM, CHANNEL_NONE};
static const char *const OPTIONS[] = {"account_id", "api_version", NULL};

const struct channel_provider CHANNEL_INSTAGRAM_GRAPH = {
    .name = "instagram",
    .channels = CHANNELS,
    .needs_token = true,
    .options = OPTIONS,
    .text_limit = 1000,
    .unit = CHANNEL_BYTES,
    .attachment_limit = 1,
    .files = CHANNEL_FILES_BARE,
    .check = check,
    .build = build,
    .judge = judge,
};
