/* See flow.h. */
#include "flow.h"

#include "rows.h"
#include "wire.h"

bool flow_is_ready(struct pair *p)
{
    return pair_is_ready(&p->publisher, p->publisher_port) && pair_is_ready(&p->consumer, p->consumer_port);
}

void flow_finish(struct pair *p, int64_t jobs)
{
    WAIT_UNTIL((wire_agent_all(p), job_count(p, "status = 'complete'") == jobs));
    assert_int_equal(job_count(p, "published_at is null"), 0);
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'"), jobs);
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries"), jobs);
    assert_int_equal(pair_sent(p, NULL), jobs);
    assert_true(pair_sent_once_each(p));
    WAIT_UNTIL((wire_agent_all(p), wire_count(p, "ag_queue") == 0 && wire_count(p, "wb_queue") == 0));
    assert_int_equal(wire_count(p, "wb_parked") + wire_count(p, "dlx_webhook") + wire_count(p, "dlx_agent"),
                     0);
}
