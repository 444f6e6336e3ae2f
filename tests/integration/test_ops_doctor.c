/* doctor of both programs: a healthy pair passes, and each fault is found, named, and told how to mend. */
#include "rows.h"
#include "wire.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct buf output; /* of the latest command */

static const char *said(void)
{
    return buf_str(&output) != NULL ? buf_str(&output) : "";
}

static int run_doctor(struct pair *p, const char *program, const char *option)
{
    buf_fini(&output);
    return pair_command(p, program, (const char *const[]){"doctor", option, NULL}, &output);
}

static void doctor_says(struct pair *p, const char *program, int status, const char *text)
{
    int is = run_doctor(p, program, "--no-providers");

    if (strstr(said(), text) == NULL || is != status)
        fail_msg("status %d, expected %d and '%s' in:\n%s", is, status, text, said());
}

/* The queues as the daemons declare them. */
static void declare(struct pair *p)
{
    pair_start_publisher_ready(p);
    assert_int_equal(process_end(&p->publisher), 0);
}

static void test_doctor_of_a_healthy_pair(struct pair *p)
{
    static const char *const LINES[] = {
        "ok   configuration: good, 2 sender accounts\n",
        "ok   secrets: ",
        "ok   tls: off",
        "ok   broker: RabbitMQ ",
        "ok   queue ag_queue: arguments as wanted",
        "ok   queue wb_parked: ",
        "ok   round trip: one message confirmed and read back, one without a queue returned\n",
        "ok   database: PostgreSQL ",
        "ok   schema: version ",
        "ok   listen: a notification arrives\n",
        "ok   clock: within ",
        "ok   transactions: none"};

    declare(p);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(run_doctor(p, i ? "agwb-publisher" : "agwb-consumer", "--no-providers"), 0);
        for (size_t n = 0; n < sizeof LINES / sizeof LINES[0]; n++) {
            if (strstr(said(), LINES[n]) == NULL)
                fail_msg("expected '%s' in:\n%s", LINES[n], said());
        }
        assert_null(strstr(said(), "FAIL"));
        assert_null(strstr(said(), "warn"));
    }
    assert_int_equal(wire_count(p, "ag_queue"), 0);
}

static void test_doctor_json(struct pair *p)
{
    struct err e;
    size_t lines = 0;

    declare(p);
    assert_int_equal(run_doctor(p, "agwb-publisher", "--json"), 0);
    const char *line = said();
    for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1, lines++) {
        struct json *json = json_parse(line, (size_t)(end - line), &e);
        assert_non_null(json);
        if (end[1] != '\0')
            assert_string_equal(json_str(json_member(json_root(json), "verdict")), "ok");
        else
            assert_string_equal(json_str(json_member(json_root(json), "type")), "summary");
        json_free(&json);
    }
    assert_true(lines > 12);
}

/* A queue with other arguments: which, the live and the wanted value, and the way out. A missing one is no
 * fault but in passive mode. */
static void test_doctor_queues(struct pair *p)
{
    doctor_says(p, "agwb-publisher", 0, "ok   queue ag_queue: missing: the daemons declare it");
    pair_set(p, "topology.mode=passive");
    doctor_says(p, "agwb-publisher", 78, "FAIL queue ag_queue: queue 'ag_queue' does not exist: declare it");
    pair_set(p, "topology.mode=declare");
    declare(p);
    pair_set(p, "topology.agent_ttl_ms=1234");
    doctor_says(
        p, "agwb-consumer", 78,
        "FAIL queue ag_queue: queue 'ag_queue' exists with x-message-ttl = 300000, but 1234 is wanted");
    assert_non_null(strstr(said(), "set topology.agent_ttl_ms"));
    assert_non_null(strstr(said(), "ok   queue wb_queue")); /* goes on after a refusal */
    assert_non_null(strstr(said(), "ok   round trip"));
    pair_set(p, "topology.mode=passive");
    doctor_says(p, "agwb-consumer", 0,
                "warn queue ag_queue: queue 'ag_queue' exists with x-message-ttl = 300000");
    wire_publish(p, "wb_queue", "a", "{}");
    doctor_says(p, "agwb-consumer", 0, "warn queue wb_queue: 1 messages and nobody reads them");
}

static void test_doctor_broker_away_and_refusing(struct pair *p)
{
    pair_set(p, "rabbitmq.user=nobody");
    doctor_says(p, "agwb-publisher", 78, "FAIL broker: ");
    assert_non_null(strstr(said(), "ok   database: ")); /* the rest is looked at all the same */
    pair_set(p, "rabbitmq.hosts=127.0.0.1:1");
    doctor_says(p, "agwb-publisher", 69, "FAIL broker: ");
}

/* A user without the configure right: nothing can be compared or tried, which is said. */
static void test_doctor_least_privileged_user(struct pair *p)
{
    declare(p);
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"add_user", "poor", "test-password", NULL});
    sandbox_run("AGWB_TEST_RABBITMQCTL",
                (const char *const[]){"set_permissions", "-p", p->vhost, "poor", "", ".*", ".*", NULL});
    pair_set(p, "rabbitmq.user=poor");
    pair_set(p, "rabbitmq.password=test-password");
    int status = run_doctor(p, "agwb-publisher", "--no-providers");
    pair_set(p, "topology.mode=passive");
    int passive = run_doctor(p, "agwb-consumer", "--no-providers");
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"delete_user", "poor", NULL});
    assert_int_equal(status, 78);
    if (passive != 0)
        fail_msg("%s", said());
    assert_non_null(strstr(said(), "ok   queue ag_queue: there; its arguments are not compared"));
    assert_non_null(strstr(said(), "warn round trip: not tried"));
}

static void test_doctor_database(struct pair *p)
{
    struct db_session *old = sql_session(p);

    declare(p);
    sql_run(p, "delete from agwb.schema_version where version > 3");
    doctor_says(p, "agwb-consumer", 78, "FAIL schema: version 3, this program needs ");
    assert_non_null(strstr(said(), ": agwb-publisher migrate\n"));
    sql_run(p, "insert into agwb.schema_version (version, name) values (1000, 'future')");
    doctor_says(p, "agwb-consumer", 0, "warn schema: version 1000, ");
    sql_run(p, "drop schema agwb cascade");
    doctor_says(p, "agwb-consumer", 78, "does not exist (42P01): agwb-publisher migrate\n");
    sql_session_run(old, "begin; select 1");
    doctor_says(p, "agwb-consumer", 78, "ok   transactions: ");
    db_session_close(&old);
    pair_set(p, "database.url=host=127.0.0.1 port=1");
    doctor_says(p, "agwb-consumer", 69, "FAIL database: ");
}

/* A role without rights does not need a migration. */
static void test_doctor_database_role_without_rights(struct pair *p)
{
    static char url[320];
    const char *at = strchr(p->url, '@');

    declare(p);
    if (at == NULL) {
        fail_msg("no user in %s", p->url);
        return;
    }
    sql_run(p, "drop role if exists doctor_poor");
    sql_run(p, "create role doctor_poor login");
    snprintf(url, sizeof url, "database.url=postgresql://doctor_poor%s", at);
    pair_set(p, url);
    int status = run_doctor(p, "agwb-consumer", "--no-providers");
    sql_run(p, "drop role doctor_poor");
    assert_int_equal(status, 78);
    if (strstr(said(), "(42501): make the role a member of agwb_publisher or agwb_consumer") == NULL)
        fail_msg("%s", said());
}

/* database.listen = false is for a pooler: it is no fault there. */
static void test_doctor_listen_off(struct pair *p)
{
    declare(p);
    pair_set(p, "database.listen=false");
    doctor_says(p, "agwb-publisher", 0, "ok   listen: off, though a notification arrives");
}

/* Everything of `from` up to its end; without notifications when from is the server. */
static void relay_messages(int from, int to)
{
    static char body[1 << 20];
    char head[5];

    while (recv(from, head, sizeof head, MSG_WAITALL) == (ssize_t)sizeof head) {
        uint32_t size;
        memcpy(&size, head + 1, sizeof size);
        size_t len = ntohl(size) - sizeof size;
        if (len > sizeof body || (len > 0 && recv(from, body, len, MSG_WAITALL) != (ssize_t)len))
            return;
        if (head[0] == 'A')
            continue;
        (void)!write(to, head, sizeof head);
        (void)!write(to, body, len);
    }
}

static void relay_bytes(int from, int to)
{
    char bytes[4096];

    for (ssize_t len; (len = read(from, bytes, sizeof bytes)) > 0;)
        (void)!write(to, bytes, (size_t)len);
}

static int connect_to(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return connect(fd, (struct sockaddr *)&at, sizeof at) == 0 ? fd : -1;
}

static int listen_on(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

/* Stands before PostgreSQL as a transaction pooler does: what a session listens for never reaches it. */
static pid_t start_pooler(int port, int server)
{
    int fd = listen_on(port);
    pid_t pid = fork();

    while (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int client = accept(fd, NULL, NULL), upstream = connect_to(server);
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (fork() == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                relay_bytes(client, upstream);
                shutdown(upstream, SHUT_RDWR);
                _exit(0);
            }
            relay_messages(upstream, client);
            shutdown(client, SHUT_RDWR);
            _exit(0);
        }
        close(client);
        close(upstream);
    }
    close(fd);
    return pid;
}

static void test_doctor_names_a_transaction_pooler(struct pair *p)
{
    static char url[320];
    int port = web_free_port();
    const char *at = strchr(p->url, '@'), *colon = at != NULL ? strchr(at, ':') : NULL;

    declare(p);
    if (colon == NULL || strchr(colon, '/') == NULL) {
        fail_msg("no port in %s", p->url);
        return;
    }
    pid_t pooler = start_pooler(port, (int)strtol(colon + 1, NULL, 10));
    snprintf(url, sizeof url, "database.url=%.*s:%d%s", (int)(colon - p->url), p->url, port,
             strchr(colon, '/'));
    pair_set(p, url);
    int status = run_doctor(p, "agwb-publisher", "--no-providers");
    pair_set(p, "database.listen=false");
    int off = run_doctor(p, "agwb-publisher", "--no-providers");
    process_kill(&(struct process){.pid = pooler});
    assert_int_equal(status, 78);
    if (off != 0 || strstr(said(), "ok   listen: off: work is found every 200 ms") == NULL)
        fail_msg("%s", said());
}

static void test_doctor_files(struct pair *p)
{
    declare(p);
    assert_int_equal(chmod(p->config, 0644), 0);
    const char *const args[] = {"doctor", "--no-providers", NULL};
    buf_fini(&output);
    assert_int_equal(pair_command(p, "agwb-publisher", args, &output), 0);
    if (strstr(said(), "can be read by others: chmod") == NULL)
        fail_msg("%s", said());
    assert_int_equal(chmod(p->config, 0600), 0);
    pair_set(p, "rabbitmq.tls=true");
    pair_set(p, "rabbitmq.ca_file=/nonexistent/ca.pem");
    doctor_says(p, "agwb-publisher", 78,
                "FAIL tls: /nonexistent/ca.pem cannot be read: set rabbitmq.ca_file");
}

/* --- providers --- */

/* Answers every request on the port with these bytes, until killed. */
static pid_t serve(int port, const char *answer)
{
    int fd = listen_on(port);
    pid_t pid = fork();
    if (pid == 0) {
        char request[4096];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            int client = accept(fd, NULL, NULL);
            if (read(client, request, sizeof request) > 0)
                (void)!write(client, answer, strlen(answer));
            close(client);
        }
    }
    close(fd);
    return pid;
}

static void provider_says(struct pair *p, const char *answer, int status, const char *text)
{
    pid_t pid = serve(p->provider_port, answer);
    int is = run_doctor(p, "agwb-consumer", NULL);

    process_kill(&(struct process){.pid = pid});
    if (strstr(said(), text) == NULL || is != status)
        fail_msg("status %d, expected %d and '%s' in:\n%s", is, status, text, said());
    assert_null(strstr(said(), "test-token"));
}

#define HTTP(status, body) "HTTP/1.1 " status " X\r\nConnection: close\r\n\r\n" body

static void test_doctor_providers(struct pair *p)
{
    declare(p);
    pair_account(p,
                 "name = \"qr\"; provider = \"whatsapp_qr\"; channel = \"whatsapp\"; token = \"test-token\"; "
                 "options = { instance = \"main\"; };");
    static char mail[256];
    p->provider_port = web_free_port();
    snprintf(mail, sizeof mail,
             "name = \"mail\"; provider = \"smtp\"; channel = \"email\"; from = "
             "\"bot@example.com\"; base_url = \"smtp://127.0.0.1:%d\";",
             p->provider_port);
    pair_account(p, mail);
    pair_write_config(p);
    assert_int_equal(run_doctor(p, "agwb-consumer", NULL), 0);
    if (strstr(said(), "warn account wa: wasender not_sent: ") == NULL)
        assert_non_null(strstr(said(), "warn account wa: wasender"));
    provider_says(p, HTTP("200", "{\"status\":\"connected\"}"), 0,
                  "ok   account wa: wasender answers: connected\n");
    assert_non_null(strstr(said(), "ok   account sms: sms_gateway reachable"));
    assert_non_null(strstr(said(), "ok   account mail: smtp 127.0.0.1:"));
    provider_says(p, HTTP("200", "{\"status\":\"need_scan\"}"), 0,
                  "warn account wa: wasender answers: need_scan");
    provider_says(p, HTTP("200", "{\"instance\":{\"state\":\"close\"}}"), 0,
                  "warn account qr: whatsapp_qr answers: close");
    provider_says(p, HTTP("401", "{}"), 78,
                  "FAIL account wa: wasender answers HTTP 401: check the account's token");
    provider_says(p, HTTP("503", "{}"), 0, "warn account wa: wasender answers HTTP 503");
    assert_int_equal(run_doctor(p, "agwb-consumer", "--no-providers"), 0);
    assert_null(strstr(said(), "account wa"));
}

static void test_doctor_usage(struct pair *p)
{
    assert_int_equal(run_doctor(p, "agwb-consumer", "--help"), 0);
    assert_non_null(strstr(said(), "ExecStartPre"));
    assert_int_equal(run_doctor(p, "agwb-consumer", "--json=1"), 64);
    assert_int_equal(run_doctor(p, "agwb-publisher", "x"), 64);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_doctor_of_a_healthy_pair),
        PAIR_TEST(test_doctor_json),
        PAIR_TEST(test_doctor_queues),
        PAIR_TEST(test_doctor_broker_away_and_refusing),
        PAIR_TEST(test_doctor_least_privileged_user),
        PAIR_TEST(test_doctor_database),
        PAIR_TEST(test_doctor_database_role_without_rights),
        PAIR_TEST(test_doctor_listen_off),
        PAIR_TEST(test_doctor_names_a_transaction_pooler),
        PAIR_TEST(test_doctor_files),
        PAIR_TEST(test_doctor_providers),
        PAIR_TEST(test_doctor_usage),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
