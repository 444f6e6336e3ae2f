/* What the database tests share: a db on a loop of its own whose handlers count and remember, and servers
 * between it and the real one that misbehave at will. The real one is AGWB_TEST_DATABASE_URL
 * ("postgresql://postgres@127.0.0.1:PORT/postgres"). */
#ifndef AGWB_TESTS_DB_RIG_H
#define AGWB_TESTS_DB_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/db.h"

enum { RIG_CELLS = 6 };

struct rig_answer { /* what a statement's db_done_fn was given */
    size_t calls;
    size_t order;        /* 1 = the rig's first answer */
    size_t downs_before; /* on_down calls until then */
    struct err e;        /* ERR_NONE on success */
    bool has_result;
    char sqlstate[8];
    size_t rows;
    char cells[RIG_CELLS][200]; /* of the first row */
    bool nulls[RIG_CELLS];
    struct db_rig *rig;
};

struct db_rig {
    struct loop *loop;
    struct db *db;
    struct db_settings settings;
    char url[400];
    size_t ups, downs, refusals, notifies, answers;
    struct err why_down, why_refused; /* the latest */
    const size_t *counter;            /* what db_rig_wait waits for */
    size_t wanted;
};

/* A loop and settings for the real server; change settings, then db_rig_start. */
struct db_rig *db_rig_new(void);
void db_rig_start(struct db_rig *r);    /* db_new */
void db_rig_start_up(struct db_rig *r); /* and waits until it is up */
void db_rig_free(struct db_rig **r);

/* Turns the loop until *counter >= wanted; the test fails after 30 s. */
void db_rig_wait(struct db_rig *r, const size_t *counter, size_t wanted);
/* Queues a statement; the test fails if it is not taken. `a` must live until the answer. */
void db_rig_send(struct db_rig *r, const char *sql, const struct db_params *p, struct rig_answer *a);
/* db_rig_send, and waits for the answer. */
struct rig_answer db_rig_ask(struct db_rig *r, const char *sql, const struct db_params *p);

/* A URL with these hosts ("127.0.0.1:5432,..."), database and role; static. */
const char *rig_url(const char *hosts, const char *database, const char *role);
int rig_port(void); /* the real server's */
/* Runs a script by a session of its own; the test fails if it fails. */
void rig_script(const char *sql);
/* A listening socket on the loopback; *port 0 = any free one, which is then told. */
int rig_listen(int *port);

/* Passes bytes between its port (0 = any) and the real server. */
struct relay;
struct relay *relay_new(int port);
int relay_port(const struct relay *relay);
void relay_swallow(struct relay *relay); /* from now on nothing passes, and nobody is told */
void relay_free(struct relay **relay);

/* A server that answers each log-in with this SQLSTATE and message. */
struct refuser;
struct refuser *refuser_new(const char *sqlstate, const char *message);
int refuser_port(const struct refuser *refuser);
void refuser_free(struct refuser **refuser);

#endif
