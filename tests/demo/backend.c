/* Set-based inserts, as a backend under load does them: each batch travels as one JSON array. */
#include "tests/demo/backend.h"

#include <string.h>

#include "base/clock.h"
#include "tests/hooks/front.h"

enum { CUSTOMERS_AT_ONCE = 500, BATCH_MAX_BYTES = 16 * 1024 * 1024 };

/* --- rows as JSON --- */

static void begin_row(struct buf *b)
{
    buf_add_str(b, b->len > 1 ? ",{" : "{");
}

static void add_name(struct buf *b, const char *column)
{
    buf_printf(b, "%s\"%s\":", b->data[b->len - 1] == '{' ? "" : ",", column);
}

static void add_text(struct buf *b, const char *column, const char *value)
{
    add_name(b, column);
    if (value != NULL)
        buf_add_json_str(b, value, strlen(value));
    else
        buf_add_str(b, "null");
}

static void add_int(struct buf *b, const char *column, size_t value)
{
    add_name(b, column);
    buf_printf(b, "%zu", value);
}

static void add_bool(struct buf *b, const char *column, bool value)
{
    add_name(b, column);
    buf_add_str(b, value ? "true" : "false");
}

static void begin_batch(struct buf *b)
{
    buf_init(b, BATCH_MAX_BYTES);
    buf_add_char(b, '[');
}

/* The statement's result for the batch, which is freed. */
static struct db_result *send_batch(struct db_session *db, const char *sql, struct buf *b, struct err *e)
{
    struct db_params p;

    buf_add_char(b, ']');
    db_params_init(&p);
    db_param_text(&p, buf_str(b));
    struct db_result *r = db_session_query(db, sql, &p, e);
    db_params_fini(&p);
    buf_fini(b);
    return r;
}

static int run_batch(struct db_session *db, const char *sql, struct buf *b, struct err *e)
{
    struct db_result *r = send_batch(db, sql, b, e);

    if (r == NULL)
        return -1;
    db_result_free(&r);
    return 0;
}

/* --- people --- */

static const char INSERT_WORKSPACES[] = "insert into workspaces (id, name) select id, name from "
                                        "jsonb_to_recordset($1::jsonb) w (id uuid, name text)";

static const char INSERT_CUSTOMERS[] =
    "with c as materialized ("
    "  select * from jsonb_to_recordset($1::jsonb) c (id uuid, conversation_id uuid, workspace_id uuid, name "
    "text, "
    "    phone_number text, remote_jid text, notes text, ai_enabled boolean, channel text)), "
    "people as ("
    "  insert into customer_profiles (id, workspace_id, name, phone_number, remote_jid, country_code, notes, "
    "ai_enabled) "
    "  select id, workspace_id, name, phone_number, remote_jid, '1', notes, ai_enabled from c) "
    "insert into conversations (id, workspace_id, customer_id, channel_type, status, session_data) "
    "select conversation_id, workspace_id, id, channel, 'open', '{\"locale\": \"en-US\"}' from c";

/* The newest came twenty minutes ago. */
static const char INSERT_HISTORY[] =
    "insert into messages (conversation_id, sender_type, content, delivery_status, created_at) "
    "select conversation_id, case when from_ai then 'ai' else 'user' end, content, case when from_ai then "
    "'READ' end, "
    "  now() - (20 + 7 * back) * interval '1 minute' "
    "from jsonb_to_recordset($1::jsonb) h (conversation_id uuid, content text, from_ai boolean, back int)";

static int insert_workspaces(struct db_session *db, struct err *e)
{
    struct buf rows;
    struct plan_workspace w;

    begin_batch(&rows);
    for (size_t n = 0; n < PLAN_WORKSPACES; n++) {
        plan_workspace(n, &w);
        begin_row(&rows);
        add_text(&rows, "id", w.id);
        add_text(&rows, "name", w.name);
        buf_add_char(&rows, '}');
    }
    return run_batch(db, INSERT_WORKSPACES, &rows, e);
}

static void add_customer(struct buf *rows, const struct plan_customer *c)
{
    struct plan_workspace w;

    plan_workspace(c->workspace, &w);
    begin_row(rows);
    add_text(rows, "id", c->id);
    add_text(rows, "conversation_id", c->conversation_id);
    add_text(rows, "workspace_id", w.id);
    add_text(rows, "name", c->name);
    add_text(rows, "phone_number", c->has_number ? c->number : NULL);
    add_text(rows, "remote_jid", c->jid[0] ? c->jid : NULL);
    add_text(rows, "notes", c->notes);
    add_bool(rows, "ai_enabled", c->ai_enabled);
    add_text(rows, "channel", channel_name(c->channel));
    buf_add_char(rows, '}');
}

static void add_history(struct buf *rows, const struct plan_customer *c)
{
    char text[PLAN_TEXT_SIZE];

    for (size_t n = 0; n < c->history_count; n++) {
        plan_history_text(c, n, text);
        begin_row(rows);
        add_text(rows, "conversation_id", c->conversation_id);
        add_text(rows, "content", text);
        add_bool(rows, "from_ai", n % 2 == 1);
        add_int(rows, "back", c->history_count - 1 - n);
        buf_add_char(rows, '}');
    }
}

static int insert_customers(struct db_session *db, size_t first, size_t count, struct err *e)
{
    struct buf customers, history;
    struct plan_customer c;

    begin_batch(&customers);
    begin_batch(&history);
    for (size_t n = first; n < first + count; n++) {
        plan_customer(n, &c);
        add_customer(&customers, &c);
        add_history(&history, &c);
    }
    int rc = run_batch(db, INSERT_CUSTOMERS, &customers, e);
    if (rc == 0)
        rc = run_batch(db, INSERT_HISTORY, &history, e);
    else
        buf_fini(&history);
    return rc;
}

int backend_insert_people(struct db_session *db, const struct plan *p, struct err *e)
{
    if (insert_workspaces(db, e) != 0)
        return -1;
    for (size_t first = 0; first < p->customer_count; first += CUSTOMERS_AT_ONCE) {
        size_t left = p->customer_count - first;
        if (insert_customers(db, first, left < CUSTOMERS_AT_ONCE ? left : CUSTOMERS_AT_ONCE, e) != 0)
            return -1;
    }
    return 0;
}

/* --- inbound --- */

static const char INSERT_INBOUND[] =
    "with i as materialized ("
    "  select * from jsonb_to_recordset($1::jsonb) i (job_id uuid, message_id uuid, customer_id uuid, "
    "conversation_id uuid, "
    "    workspace_id uuid, text text, task_type text, priority int, is_minimal boolean)), "
    "said as ("
    "  insert into messages (id, conversation_id, sender_type, content) select message_id, conversation_id, "
    "'user', text from i) "
    "insert into ai_response_queue "
    "  (id, workspace_id, contact_id, message_id, conversation_id, user_message, task_type, priority) "
    "select job_id, workspace_id, customer_id, message_id, case when not is_minimal then conversation_id "
    "end, "
    "  case when not is_minimal then text end, task_type, priority from i";

static void add_inbound(struct buf *rows, const struct plan_inbound *m)
{
    struct plan_customer c;
    struct plan_workspace w;

    plan_customer(m->customer, &c);
    plan_workspace(c.workspace, &w);
    begin_row(rows);
    add_text(rows, "job_id", m->job_id);
    add_text(rows, "message_id", m->message_id);
    add_text(rows, "customer_id", c.id);
    add_text(rows, "conversation_id", c.conversation_id);
    add_text(rows, "workspace_id", w.id);
    add_text(rows, "text", m->text);
    add_text(rows, "task_type", m->task_type);
    add_int(rows, "priority", (size_t)m->priority);
    add_bool(rows, "is_minimal", m->is_minimal);
    buf_add_char(rows, '}');
}

int backend_insert_inbound(struct db_session *db, const struct plan *p, size_t first, size_t count,
                           struct err *e)
{
    struct buf rows;
    struct plan_inbound m;

    begin_batch(&rows);
    for (size_t n = first; n < first + count; n++) {
        plan_inbound(p, n, &m);
        if (m.door == PLAN_BACKEND)
            add_inbound(&rows, &m);
    }
    return run_batch(db, INSERT_INBOUND, &rows, e);
}

static int store_webhook(struct front *front, const struct plan_inbound *m, struct err *e)
{
    struct plan_customer c;
    struct buf body;

    plan_customer(m->customer, &c);
    const struct hook_provider *provider = hook_find(c.provider);
    const struct hook_message message = {
        .number = c.number, .name = c.name, .text = m->text, .id = m->message_id, .at_ms = clock_wall_ms()};
    buf_init(&body, BATCH_MAX_BYTES);
    provider->write_message(&message, &body);
    int rc = front_store(front, provider, &body, e);
    buf_fini(&body);
    return rc;
}

int backend_store_webhooks(struct db_session *db, const struct plan *p, size_t first, size_t count,
                           struct err *e)
{
    struct front front = {.db = db, .secret = PLAN_WEBHOOK_SECRET, .url = PLAN_TWILIO_URL};
    struct plan_inbound m;

    for (size_t n = first; n < first + count; n++) {
        plan_inbound(p, n, &m);
        if (m.door == PLAN_WEBHOOK && store_webhook(&front, &m, e) != 0)
            return -1;
    }
    return 0;
}

/* --- looking --- */

struct db_result *backend_find_ended(struct db_session *db, struct err *e)
{
    return db_session_query(
        db, "select id, status, error from ai_response_queue where status in ('cancelled', 'failed')", NULL,
        e);
}

int backend_count_open(struct db_session *db, int64_t *count, struct err *e)
{
    static const char SQL[] =
        "select (select count(*) from ai_response_queue where status in ('pending', 'processing', 'error')) "
        "     + (select count(*) from agwb.deliveries where state in ('ready', 'sending', 'uncertain')) "
        "     + (select count(*) from webhook_inbox where status = 'pending') "
        "     + (select count(*) from messages m join conversations v on v.id = m.conversation_id "
        "        where m.sender_type = 'ai' and (m.delivery_status in ('PENDING', 'SENT') "
        "          or (m.delivery_status = 'DELIVERED' and v.channel_type = 'whatsapp')))";
    struct db_result *r = db_session_query(db, SQL, NULL, e);

    if (r == NULL)
        return -1;
    *count = db_int(r, 0, 0);
    db_result_free(&r);
    return 0;
}
