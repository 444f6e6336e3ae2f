/* Where values come from besides the file: environment, spec 004's names, secret files, the credentials
 * directory, --set; and which of them wins. */
#include "config_fixture.h"

static struct config *load_from(const char *content, char *const *environment, const char *set)
{
    struct err e;
    struct config *c = fixture_load_all(content, environment, set, &e);
    if (!c)
        fail_msg("%s", e.text);
    return c;
}

static void test_config_sources_precedence(void **state)
{
    (void)state;
    static const char file[] = "topology: { agent_queue = \"from_file\"; };";
    char *const spec[] = {"AGENT_QUEUE_NAME=from_spec", NULL};
    char *const both[] = {"AGWB_TOPOLOGY_AGENT_QUEUE=from_env", "AGENT_QUEUE_NAME=from_spec", NULL};
    char *const empty[] = {"AGWB_TOPOLOGY_AGENT_QUEUE=", "AGENT_QUEUE_NAME=", NULL};
    const struct {
        const char *file;
        char *const *environment;
        const char *set, *expected;
    } cases[] = {
        {NULL, NULL, NULL, "ag_queue"},
        {file, NULL, NULL, "from_file"},
        {file, empty, NULL, "from_file"},
        {file, spec, NULL, "from_spec"},
        {file, both, NULL, "from_env"},
        {NULL, both, NULL, "from_env"},
        {file, both, "topology.agent_queue=from_set", "from_set"},
        {file, NULL, "topology.agent_queue=a=b", "a=b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *c = load_from(cases[i].file, cases[i].environment, cases[i].set);
        assert_string_equal(c->topology.agent_queue, cases[i].expected);
        config_free(&c);
    }
}

static void test_config_sources_last_set_wins(void **state)
{
    (void)state;
    struct err e;
    const char *sets[] = {"limits.window_ms=1", "limits.window_ms=2", "rabbitmq.hosts=a, b:1 ,[::1]:2"};
    struct config *c = config_load(&(struct config_source){.sets = sets, .set_count = 3}, &e);
    assert_non_null(c);
    assert_int_equal(c->limits.window_ms, 2);
    assert_int_equal(c->rabbitmq.host_count, 3);
    assert_string_equal(c->rabbitmq.hosts[0], "a");
    assert_string_equal(c->rabbitmq.hosts[1], "b:1");
    assert_string_equal(c->rabbitmq.hosts[2], "[::1]:2");
    config_free(&c);
}

static void test_config_sources_every_type(void **state)
{
    (void)state;
    struct config *c = load_from(
        NULL,
        ENVIRONMENT("AGWB_RABBITMQ_HOSTS=a.example.com:5672,b.example.com", "AGWB_RABBITMQ_TLS=yes",
                    "AGWB_DATABASE_LISTEN=FALSE", "AGWB_LIMITS_WINDOW_MS=0500", "AGWB_RETRY_DELIVERY_TRIES=9",
                    "AGWB_RETRY_JOB_JITTER=1e-1", "AGWB_CONSUMER_UNCERTAIN=resend", "AGWB_LOG_FORMAT=json",
                    "PATH=/bin", "AGWB_TEST_ANYTHING=1", "AGWB_CONFIG=/etc/x", "AGWB=1", "NOVALUE"),
        NULL);
    assert_int_equal(c->rabbitmq.host_count, 2);
    assert_string_equal(c->rabbitmq.hosts[1], "b.example.com");
    assert_true(c->rabbitmq.tls);
    assert_false(c->database.listen);
    assert_int_equal(c->limits.window_ms, 500);
    assert_int_equal(c->retry.delivery.tries, 9);
    assert_true(c->retry.job.backoff.jitter == 0.1);
    assert_int_equal(c->consumer.uncertain, UNCERTAIN_RESEND);
    assert_int_equal(c->log.format, LOG_FORMAT_JSON);
    config_free(&c);
}

static void test_config_sources_spec_names(void **state)
{
    (void)state;
    struct config *c = load_from(
        NULL,
        ENVIRONMENT("RABBITMQ_HOST=rabbit.example.com", "RABBITMQ_PORT=5673", "RABBITMQ_USER=u",
                    "RABBITMQ_PASS=p", "RABBITMQ_VHOST=v", "AGENT_QUEUE_NAME=aq", "WEBHOOK_QUEUE_NAME=wq",
                    "WEBHOOK_QUEUE_PREFETCH=22", "AGENT_QUEUE_PREFETCH=1", "MESSAGE_TTL=1234",
                    "MAX_RETRIES=0", "RETRY_DELAY=77", "DATABASE_URL=postgresql://db.example.com/x"),
        NULL);
    assert_int_equal(c->rabbitmq.host_count, 1);
    assert_string_equal(c->rabbitmq.hosts[0], "rabbit.example.com:5673");
    assert_string_equal(c->rabbitmq.user, "u");
    assert_string_equal(c->rabbitmq.password, "p");
    assert_string_equal(c->rabbitmq.vhost, "v");
    assert_string_equal(c->topology.agent_queue, "aq");
    assert_string_equal(c->topology.webhook_queue, "wq");
    assert_int_equal(c->consumer.prefetch, 22);
    assert_int_equal(c->topology.agent_ttl_ms, 1234);
    assert_int_equal(c->retry.delivery.tries, 1);
    assert_int_equal(c->retry.delivery.backoff.delay_ms, 77);
    assert_string_equal(c->database.url, "postgresql://db.example.com/x");
    config_free(&c);
}

static void test_config_sources_spec_host(void **state)
{
    (void)state;
    const struct {
        char *host, *port;
        const char *expected;
    } cases[] = {
        {"RABBITMQ_HOST=r", "X=1", "r"},
        {"X=1", "RABBITMQ_PORT=1", "localhost:1"},
        {"RABBITMQ_HOST=r:7", "RABBITMQ_PORT=", "r:7"},
        {"RABBITMQ_HOST=::1", "RABBITMQ_PORT=5", "[::1]:5"},
        {"RABBITMQ_HOST=[::1]", "RABBITMQ_PORT=5", "[::1]:5"},
        {"RABBITMQ_HOST=::1", "X=1", "[::1]"},
        {"AGWB_RABBITMQ_HOSTS=ours", "RABBITMQ_PORT=5", "ours"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *c = load_from(NULL, ENVIRONMENT(cases[i].host, cases[i].port), NULL);
        assert_int_equal(c->rabbitmq.host_count, 1);
        assert_string_equal(c->rabbitmq.hosts[0], cases[i].expected);
        config_free(&c);
    }
}

static const struct {
    char *variable;
    const char *set, *expected;
} faults[] = {
    {"AGWB_LIMITS_CONTACT_PER_MIN=3", NULL,
     "environment AGWB_LIMITS_CONTACT_PER_MIN: unknown option, did you mean AGWB_LIMITS_CONTACT_PER_MINUTE?"},
    {"AGWB_NONSENSE=3", NULL, "environment AGWB_NONSENSE: unknown option"},
    {"AGWB_NONSENSE=", NULL, "environment AGWB_NONSENSE: unknown option"},
    {"AGWB_RABBITMQ_USER_FILE=/x", NULL, "environment AGWB_RABBITMQ_USER_FILE: unknown option"},
    {"AGWB_ACCOUNT_OTHER_TOKEN=x", NULL, "environment AGWB_ACCOUNT_OTHER_TOKEN: unknown option"},
    {"AGWB_ACCOUNT_MAIN_TOKN=x", NULL, "environment AGWB_ACCOUNT_MAIN_TOKN: unknown option"},
    {"AGWB_ACCOUNT_MAIN_NAME=x", NULL, "environment AGWB_ACCOUNT_MAIN_NAME: unknown option"},
    {"AGWB_ACCOUNT_MAIN_TIMEOUT_MS=fast", NULL,
     "environment AGWB_ACCOUNT_MAIN_TIMEOUT_MS: account main: timeout_ms: expected an integer 100..300000, "
     "found \"fast\""},
    {"AGWB_LIMITS_WINDOW_MS=1.5", NULL,
     "environment AGWB_LIMITS_WINDOW_MS: limits.window_ms: expected an integer 1..86400000, found \"1.5\""},
    {"AGWB_LIMITS_WINDOW_MS= 5", NULL, "limits.window_ms"},
    {"AGWB_LIMITS_WINDOW_MS=-", NULL, "limits.window_ms"},
    {"AGWB_LIMITS_WINDOW_MS=99999999999999999999", NULL, "limits.window_ms"},
    {"AGWB_RETRY_JOB_JITTER=nan", NULL, "retry.job.jitter: expected a number 0..1, found \"nan\""},
    {"AGWB_RETRY_JOB_JITTER=0x1", NULL, "retry.job.jitter"},
    {"AGWB_RETRY_JOB_JITTER=1e", NULL, "retry.job.jitter"},
    {"AGWB_RABBITMQ_TLS=maybe", NULL, "rabbitmq.tls: expected one of true, false, found \"maybe\""},
    {"AGWB_LOG_LEVEL=INFO", NULL,
     "environment AGWB_LOG_LEVEL: log.level: expected one of error, warn, info, debug"},
    {"AGWB_RABBITMQ_HOSTS=,", NULL, "rabbitmq.hosts: expected strings of 1..255 printable bytes"},
    {"RABBITMQ_PORT=amqp", NULL, "environment RABBITMQ_PORT: expected an integer 1..65535, found \"amqp\""},
    {"RABBITMQ_PORT=65536", NULL, "environment RABBITMQ_PORT"},
    {"RABBITMQ_HOST=a/b", NULL,
     "environment RABBITMQ_HOST: rabbitmq.hosts: expected host:port or [v6]:port, found \"a/b\""},
    {"AGENT_QUEUE_PREFETCH=one", NULL,
     "environment AGENT_QUEUE_PREFETCH: expected an integer, found \"one\""},
    {"WEBHOOK_QUEUE_PREFETCH=0", NULL,
     "environment WEBHOOK_QUEUE_PREFETCH: consumer.prefetch: expected an integer 1..65535, found 0"},
    {"MAX_RETRIES=many", NULL,
     "environment MAX_RETRIES: retry.delivery.tries: expected an integer 1..100, found \"many\""},
    {"MAX_RETRIES=100", NULL,
     "environment MAX_RETRIES: retry.delivery.tries: expected an integer 1..100, found 101"},
    {"MAX_RETRIES=-1", NULL, "environment MAX_RETRIES"},
    {"MAX_RETRIES=9223372036854775807", NULL, "environment MAX_RETRIES"},
    {"X=1", "limits.windowms=1", "--set: limits.windowms: unknown option, did you mean limits.window_ms?"},
    {"X=1", "limits.window_ms", "--set: expected group.key=value, found \"limits.window_ms\""},
    {"X=1", "limits.window_ms=x", "--set: limits.window_ms: expected an integer 1..86400000, found \"x\""},
    {"X=1", "channels.accounts=x", "--set: channels.accounts: unknown option"},
    {"X=1", "=x", "--set: : unknown option"},
};

#define MAIN                                                                                                 \
    "channels: { accounts = ( { name = \"main\"; provider = \"wasender\"; channel = \"whatsapp\"; token = "  \
    "\"from_file\";\n"                                                                                       \
    "options = { app-id = \"1\"; }; },\n"                                                                    \
    "{ name = \"main-2\"; provider = \"sms_gateway\"; channel = \"sms\"; } ); };"

static void test_config_sources_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        fixture_assert_fault(MAIN, ENVIRONMENT(faults[i].variable), faults[i].set, faults[i].expected);
}

static void test_config_sources_accounts(void **state)
{
    (void)state;
    struct config *c = load_from(
        MAIN,
        ENVIRONMENT("AGWB_ACCOUNT_MAIN_TOKEN=from_env", "AGWB_ACCOUNT_MAIN_2_USER=u",
                    "AGWB_ACCOUNT_MAIN_2_PASSWORD=p", "AGWB_ACCOUNT_MAIN_2_TIMEOUT_MS=700",
                    "AGWB_ACCOUNT_MAIN_2_DEFAULT=true", "AGWB_ACCOUNT_MAIN_2_NEXT=main,park",
                    "AGWB_ACCOUNT_MAIN_OPTIONS_APP_ID=2", "AGWB_ACCOUNT_MAIN_OPTIONS_APP_SECRET=hush",
                    "AGWB_ACCOUNT_MAIN_OPTIONS_EMPTY="),
        NULL);
    const struct config_account *first = &c->channels.accounts[0], *second = &c->channels.accounts[1];
    assert_string_equal(first->token, "from_env");
    assert_int_equal(first->option_count, 2);
    assert_string_equal(config_account_option(first, "app-id", ""), "2");
    assert_string_equal(config_account_option(first, "app_secret", ""), "hush");
    assert_string_equal(second->user, "u");
    assert_string_equal(second->password, "p");
    assert_null(second->token);
    assert_int_equal(second->timeout_ms, 700);
    assert_true(second->is_default);
    assert_int_equal(second->next_count, 2);
    config_free(&c);
}

/* --- secrets --- */
static char *variable_of(const char *name, const char *value)
{
    static char texts[4][512];
    static size_t turn;
    char *text = texts[turn++ % 4];
    (void)snprintf(text, sizeof texts[0], "%s=%s", name, value);
    return text;
}

static void test_config_sources_secret_files(void **state)
{
    (void)state;
    static const struct {
        const char *content, *expected;
    } cases[] = {{"hush", "hush"},
                 {"hush\n", "hush"},
                 {"hush\r\n", "hush"},
                 {" hush \n", " hush "},
                 {"caf\xe9", "caf\xe9"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = fixture_write("secret", cases[i].content);
        struct config *c = load_from(MAIN,
                                     ENVIRONMENT(variable_of("AGWB_RABBITMQ_PASSWORD_FILE", path),
                                                 variable_of("DATABASE_URL_FILE", ""),
                                                 variable_of("AGWB_ALERTS_SECRET_FILE", path),
                                                 variable_of("AGWB_ACCOUNT_MAIN_TOKEN_FILE", path)),
                                     NULL);
        assert_string_equal(c->rabbitmq.password, cases[i].expected);
        assert_string_equal(c->alerts.secret, cases[i].expected);
        assert_string_equal(c->channels.accounts[0].token, cases[i].expected);
        config_free(&c);
    }
}

static void test_config_sources_token_file(void **state)
{
    (void)state;
    char content[512];
    (void)snprintf(content, sizeof content,
                   "channels: { accounts = ( { name = \"a\"; provider = \"p\"; channel = \"sms\"; token_file "
                   "= \"%s\"; } ); };",
                   fixture_write("secret", "hush\n"));
    struct config *c = load_from(content, NULL, NULL);
    assert_string_equal(c->channels.accounts[0].token, "hush");
    config_free(&c);
}

static void assert_secret_fault(char *first, char *second, const char *expected)
{
    fixture_assert_fault(NULL, ENVIRONMENT(first, second), NULL, expected);
}

static void test_config_sources_secret_faults(void **state)
{
    (void)state;
    char too_long[9001] = {0};
    memset(too_long, 'x', sizeof too_long - 1);
    char *from_file = variable_of("AGWB_RABBITMQ_PASSWORD_FILE", fixture_path("secret"));

    (void)fixture_write("secret", "hush");
    assert_secret_fault(from_file, "AGWB_RABBITMQ_PASSWORD=hush",
                        "expected AGWB_RABBITMQ_PASSWORD or AGWB_RABBITMQ_PASSWORD_FILE, found both");
    assert_secret_fault(variable_of("RABBITMQ_PASS_FILE", fixture_path("secret")), "RABBITMQ_PASS=hush",
                        "expected RABBITMQ_PASS or RABBITMQ_PASS_FILE, found both");
    (void)fixture_write("secret", "");
    assert_secret_fault(
        from_file, "X=1",
        "environment AGWB_RABBITMQ_PASSWORD_FILE: rabbitmq.password: expected a line of text in");
    (void)fixture_write("secret", "\n");
    assert_secret_fault(from_file, "X=1", "found nothing");
    (void)fixture_write("secret", "hush\nhush");
    assert_secret_fault(from_file, "X=1", "expected UTF-8 text without control characters");
    (void)fixture_write("secret", too_long);
    assert_secret_fault(from_file, "X=1", "File too large");

    assert_secret_fault(variable_of("AGWB_RABBITMQ_PASSWORD_FILE", fixture_path("none")), "X=1",
                        "No such file or directory");
    assert_int_equal(mkfifo(fixture_path("fifo"), 0600), 0);
    assert_secret_fault(variable_of("AGWB_RABBITMQ_PASSWORD_FILE", fixture_path("fifo")), "X=1",
                        "Invalid argument");
}

static void test_config_sources_credentials(void **state)
{
    (void)state;
    (void)fixture_write("rabbitmq_password", "from_credentials\n");
    (void)fixture_write("database_url", "postgresql://credentials.example.com\n");
    (void)fixture_write("account_main_token", "token_from_credentials\n");
    char *directory = variable_of("CREDENTIALS_DIRECTORY", fixture_dir);

    struct config *c = load_from(MAIN, ENVIRONMENT(directory), NULL);
    assert_string_equal(c->rabbitmq.password, "from_credentials");
    assert_string_equal(c->database.url, "postgresql://credentials.example.com");
    assert_string_equal(c->channels.accounts[0].token, "token_from_credentials");
    assert_string_equal(c->alerts.secret, "");
    config_free(&c);

    (void)fixture_write("secret", "from_env_file");
    c = load_from(MAIN,
                  ENVIRONMENT(directory, "AGWB_RABBITMQ_PASSWORD=from_env",
                              "DATABASE_URL=postgresql://env.example.com",
                              variable_of("AGWB_ACCOUNT_MAIN_TOKEN_FILE", fixture_path("secret"))),
                  "database.url=postgresql://set.example.com");
    assert_string_equal(c->rabbitmq.password, "from_env");
    assert_string_equal(c->database.url, "postgresql://set.example.com");
    assert_string_equal(c->channels.accounts[0].token, "from_env_file");
    config_free(&c);
}

/* What load logs while it runs, as a text. */
static const char *logged_by(const char *content, char *variable)
{
    static char text[4096];
    log_flush();
    int saved = dup(STDERR_FILENO);
    int fd = open(fixture_path("stderr"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(saved >= 0 && fd >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    struct err e;
    struct config_source s = {.file = content, .environment = ENVIRONMENT(variable)};
    struct config *c = config_load(&s, &e);
    log_flush();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    assert_non_null(c);
    config_free(&c);
    ssize_t len = pread(fd, text, sizeof text - 1, 0);
    assert_true(len >= 0);
    text[len] = '\0';
    close(fd);
    close(saved);
    return text;
}

static void test_config_sources_warn_about_readable_secrets(void **state)
{
    (void)state;
    const char *secret = fixture_write("secret", "hush");
    char *variable = variable_of("AGWB_RABBITMQ_PASSWORD_FILE", secret);
    assert_string_equal(logged_by(NULL, variable), "");
    assert_int_equal(chmod(secret, 0640), 0);
    assert_non_null(strstr(logged_by(NULL, variable), "secret file is readable by others"));
    assert_int_equal(unlink(secret), 0);

    const char *file = fixture_write("agwb.cfg", "rabbitmq: { password = \"hush\"; };");
    assert_int_equal(chmod(file, 0640), 0);
    assert_string_equal(logged_by(file, "X=1"), "");
    assert_int_equal(chmod(file, 0644), 0);
    assert_non_null(strstr(logged_by(file, "X=1"), "holds secrets and is readable by everyone"));
    (void)fixture_write("agwb.cfg", "rabbitmq: { user = \"open\"; };");
    assert_string_equal(logged_by(file, "X=1"), "");
    assert_null(strstr(logged_by(file, "X=1"), "hush"));
    assert_int_equal(unlink(file), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_sources_precedence),
        cmocka_unit_test(test_config_sources_last_set_wins),
        cmocka_unit_test(test_config_sources_every_type),
        cmocka_unit_test(test_config_sources_spec_names),
        cmocka_unit_test(test_config_sources_spec_host),
        cmocka_unit_test(test_config_sources_faults),
        cmocka_unit_test(test_config_sources_accounts),
        cmocka_unit_test(test_config_sources_secret_files),
        cmocka_unit_test(test_config_sources_token_file),
        cmocka_unit_test(test_config_sources_secret_faults),
        cmocka_unit_test(test_config_sources_credentials),
        cmocka_unit_test(test_config_sources_warn_about_readable_secrets),
    };
    return cmocka_run_group_tests(tests, fixture_begin, fixture_end);
}
