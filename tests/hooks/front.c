/* See front.h. */
#include "tests/hooks/front.h"

#include <string.h>

#include "tests/hooks/sign.h"

int front_store(struct front *f, const struct hook_provider *p, struct buf *body, struct err *e)
{
    const char *provider = strncmp(p->name, "twilio", 6) == 0 ? "twilio" : p->name;
    struct db_params params;
    struct buf headers;

    buf_init(&headers, 8192);
    sign_headers(p->name, f->secret, f->url, body, &headers);
    db_params_init(&params);
    db_param_text(&params, provider);
    db_param_text(&params, buf_str(&headers));
    db_param_text(&params, buf_str(body));
    struct db_result *r =
        db_session_query(f->db, "select agwb.receive_webhook($1, null, $2::jsonb, $3)", &params, e);
    int rc = r != NULL ? 0 : -1;
    db_result_free(&r);
    db_params_fini(&params);
    buf_fini(&headers);
    return rc;
}
