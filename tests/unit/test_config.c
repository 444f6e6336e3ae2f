/* The configuration: defaults, what a file may say and what is refused, cross checks, reload, printing. */
#include "config_fixture.h"

#include "domain/message.h"

static void test_config_defaults(void **state)
{
    (void)state;
    struct config *c = fixture_load(NULL);
    assert_int_equal(c->rabbitmq.host_count, 1);
    assert_string_equal(c->rabbitmq.hosts[0], "localhost:5672");
    assert_string_equal(c->rabbitmq.vhost, "/");
    assert_string_equal(c->rabbitmq.ca_file, "");
    assert_false(c->rabbitmq.tls);
    assert_int_equal(c->rabbitmq.heartbeat_s, 30);
    assert_string_equal(c->database.url, "");
    assert_true(c->database.listen);
    assert_int_equal(c->topology.mode, TOPOLOGY_DECLARE);
    assert_int_equal(c->topology.queue_type, TOPOLOGY_QUORUM);
    assert_string_equal(c->topology.agent_queue, "ag_queue");
    assert_int_equal(c->topology.agent_ttl_ms, 300000);
    assert_int_equal(c->topology.webhook_ttl_ms, 60000);
    assert_int_equal(c->publisher.batch, 100);
    assert_int_equal(c->publisher.answer_timeout_ms, 600000);
    assert_int_equal(c->consumer.uncertain, UNCERTAIN_PARK);
    assert_string_equal(c->consumer.fallback_text,
                        "I'm having trouble processing your request. Please try again.");
    assert_int_equal(c->limits.contact_per_minute, 5);
    assert_int_equal(c->retry.job.tries, 3);
    assert_int_equal(c->retry.job.backoff.delay_ms, 5000);
    assert_true(c->retry.job.backoff.multiplier == 5.0);
    assert_int_equal(c->retry.delivery.tries, 4);
    assert_int_equal(c->retry.delivery.backoff.delay_ms, 30000);
    assert_int_equal(c->retry.webhook.backoff.delay_ms, 1000);
    assert_int_equal(c->retry.webhook.backoff.max_delay_ms, 3600000);
    assert_true(c->retry.webhook.backoff.jitter == 0.2);
    assert_int_equal(c->channels.account_count, 0);
    assert_int_equal(c->log.level, LOG_LEVEL_INFO);
    assert_int_equal(c->log.format, LOG_FORMAT_AUTO);
    assert_int_equal(c->daemon.drain_timeout_ms, 30000);
    config_free(&c);
    assert_null(c);
    config_free(&c);
}

static const char accounts_text[] =
    "channels = { accounts = (\n"
    "  { name = \"main\"; provider = \"wasender\"; channel = \"whatsapp\"; token = \"t-1\"; default = true;\n"
    "    workspaces = [\"00000000-0000-4000-8000-000000000001\", \"00000000-0000-4000-8000-000000000002\"];\n"
    "    timeout_ms = 8000; next = [\"sms-1\", \"park\"];\n"
    "    options = { instance = \"a\"; n = 3; share = 0.5; flag = true; } },\n"
    "  { name = \"sms-1\"; provider = \"sms_gateway\"; channel = \"sms\"; base_url = "
    "\"https://sms.example.com/v1\";\n"
    "    user = \"u\"; password = \"p\"; from = \"+12025550143\"; },\n"
    "  { name = \"mail\"; provider = \"smtp\"; channel = \"email\"; base_url = \"smtps://mail.example.com\"; "
    "}\n"
    "); };";

static void test_config_accounts(void **state)
{
    (void)state;
    struct config *c = fixture_load(accounts_text);
    assert_int_equal(c->channels.account_count, 3);
    const struct config_account *a = &c->channels.accounts[0];
    assert_string_equal(a->name, "main");
    assert_string_equal(a->provider, "wasender");
    assert_int_equal(a->channel, CHANNEL_WHATSAPP);
    assert_string_equal(a->base_url, "");
    assert_string_equal(a->token, "t-1");
    assert_null(a->user);
    assert_null(a->password);
    assert_null(a->from);
    assert_true(a->is_default);
    assert_int_equal(a->workspace_count, 2);
    assert_string_equal(a->workspaces[1], "00000000-0000-4000-8000-000000000002");
    assert_int_equal(a->timeout_ms, 8000);
    assert_int_equal(a->next_count, 2);
    assert_string_equal(a->next[0], "sms-1");
    assert_string_equal(config_account_option(a, "instance", NULL), "a");
    assert_string_equal(config_account_option(a, "n", NULL), "3");
    assert_string_equal(config_account_option(a, "share", NULL), "0.5");
    assert_string_equal(config_account_option(a, "flag", NULL), "true");
    assert_string_equal(config_account_option(a, "other", "x"), "x");
    a = &c->channels.accounts[1];
    assert_string_equal(a->base_url, "https://sms.example.com/v1");
    assert_string_equal(a->user, "u");
    assert_string_equal(a->password, "p");
    assert_null(a->token);
    assert_int_equal(a->timeout_ms, 10000);
    assert_false(a->is_default);
    assert_int_equal(c->channels.accounts[2].channel, CHANNEL_EMAIL);
    config_free(&c);
}

/* The words of `channel` stand in a table of their own, for the fault's text. */
static void test_config_channel_words(void **state)
{
    (void)state;
    for (enum channel ch = CHANNEL_WHATSAPP; ch <= CHANNEL_INSTAGRAM; ch++) {
        char text[256];
        (void)snprintf(text, sizeof text,
                       "channels: { accounts = ( { name = \"a\"; provider = \"p\"; channel = \"%s\"; } ); };",
                       channel_name(ch));
        struct config *c = fixture_load(text);
        assert_int_equal(c->channels.accounts[0].channel, ch);
        config_free(&c);
    }
}

static void test_config_file_forms(void **state)
{
    (void)state;
    struct config *c = fixture_load(
        "// all forms that libconfig knows\n"
        "/* of a number, 99999999999 */ # 99999999999\n"
        "limits: { jobs_in_flight = 7L, jobs_per_minute = 0x10; sends_per_minute = +5 };\n"
        "retry: { job: { multiplier = 3; jitter = 1; }; webhook = { multiplier = 1.5e0; jitter = .5 } }\n"
        "consumer = { drop_stale = TRUE; fallback_text = \"a \\\"b\\\"\\n\" \"99999999999\"; uncertain = "
        "\"resend\" };\n"
        "rabbitmq = { hosts = (\"a.example.com\", \"[::1]:5673\", \"c.example.com:1\"); };\n"
        "publisher = { metrics_listen = \"off\"; }; log = { level = \"debug\"; };\n");
    assert_int_equal(c->limits.jobs_in_flight, 7);
    assert_int_equal(c->limits.jobs_per_minute, 16);
    assert_int_equal(c->limits.sends_per_minute, 5);
    assert_true(c->retry.job.backoff.multiplier == 3.0);
    assert_true(c->retry.job.backoff.jitter == 1.0);
    assert_true(c->retry.webhook.backoff.multiplier == 1.5);
    assert_true(c->retry.webhook.backoff.jitter == 0.5);
    assert_int_equal(c->retry.webhook.tries, 4);
    assert_true(c->consumer.drop_stale);
    assert_string_equal(c->consumer.fallback_text, "a \"b\"\n99999999999");
    assert_int_equal(c->consumer.uncertain, UNCERTAIN_RESEND);
    assert_int_equal(c->rabbitmq.host_count, 3);
    assert_string_equal(c->rabbitmq.hosts[1], "[::1]:5673");
    assert_int_equal(c->log.level, LOG_LEVEL_DEBUG);
    config_free(&c);
    c = fixture_load("");
    config_free(&c);
}

#define ACCOUNT(members) "channels: { accounts = (\n{ " members " } ); };"
#define PLAIN(members)   ACCOUNT("name = \"a\"; provider = \"p\"; channel = \"sms\"; " members)

static const struct {
    const char *content, *expected;
} faults[] = {
    /* names */
    {"\nlimits: {\n  contact_per_minut = 3;\n};",
     "agwb.cfg:3: limits.contact_per_minut: unknown option, did you mean limits.contact_per_minute?"},
    {"limit: { };", "agwb.cfg:1: limit: unknown option, did you mean limits?"},
    {"chanels: { };", "chanels: unknown option, did you mean channels?"},
    {"retry: { jobs: { tries = 1; }; };", "retry.jobs: unknown option"},
    {"completely = 1;", "agwb.cfg:1: completely: unknown option"},
    {"log: { level: { }; };", "log.level: expected one of error, warn, info, debug, found a group"},
    {"log = 3;", "agwb.cfg:1: log: expected a group { }, found 3"},
    {"retry: { job = [1, 2]; };", "retry.job: expected a group { }, found a list"},
    /* types */
    {"limits: { window_ms = 1.0; };",
     "agwb.cfg:1: limits.window_ms: expected an integer 1..86400000, found 1.0"},
    {"limits: { window_ms = \"5\"; };", "found \"5\""},
    {"limits: { window_ms = true; };", "found true"},
    {"limits: { window_ms = [1]; };", "found a list"},
    {"retry: { job: { jitter = \"0.1\"; }; };", "retry.job.jitter: expected a number 0..1, found \"0.1\""},
    {"rabbitmq: { tls = 1; };", "rabbitmq.tls: expected one of true, false, found 1"},
    {"rabbitmq: { user = 7; };", "rabbitmq.user: expected a string of 1..255 bytes, found 7"},
    {"rabbitmq: { hosts = \"a:1\"; };", "rabbitmq.hosts: expected a list of 1..8 strings, found \"a:1\""},
    {"rabbitmq: { hosts = [1]; };", "rabbitmq.hosts: expected a list of 1..8 strings"},
    {"topology: { mode = false; };", "topology.mode: expected one of declare, passive, none, found false"},
    /* ranges */
    {"limits: { window_ms = 0; };", "found 0"},
    {"limits: { jobs_in_flight = -1; };", "limits.jobs_in_flight: expected an integer 0..1000000, found -1"},
    {"rabbitmq: { heartbeat_s = 601; };", "rabbitmq.heartbeat_s: expected an integer 1..600, found 601"},
    {"publisher: { window = 0; };", "publisher.window: expected an integer 1..65535, found 0"},
    {"retry: { job: { jitter = 1.5; }; };", "found 1.5"},
    {"retry: { job: { multiplier = 0.5; }; };", "retry.job.multiplier: expected a number 1..100, found 0.5"},
    {"retry: { job: { multiplier = 1e999; }; };", "found inf"},
    {"retry: { delivery: { tries = 0; }; };", "retry.delivery.tries: expected an integer 1..100, found 0"},
    {"rabbitmq: { hosts = []; };", "found 0"},
    {"rabbitmq: { hosts = [\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\"]; };", "found 9"},
    {"rabbitmq: { user = \"\"; };", "rabbitmq.user: expected a string of 1..255 bytes, found \"\""},
    {"log: { level = \"loud\"; };", "log.level: expected one of error, warn, info, debug, found \"loud\""},
    {"rabbitmq: { vhost = \"a\\nb\"; };", "rabbitmq.vhost: expected UTF-8 text without control characters"},
    {"consumer: { fallback_text = \"\\xff\"; };", "consumer.fallback_text: expected UTF-8 text"},
    {"consumer: { fallback_text = \"\"; };", "consumer.fallback_text: expected a string of 1..4096 bytes"},
    /* what libconfig 1.5 would have passed over in silence */
    {"limits: {\n window_ms = 4294967896; };",
     "agwb.cfg:2: expected an integer up to 2147483647, found 4294967896"},
    {"limits: { window_ms = 0xFFFFFFFF; };", "found 0xFFFFFFFF"},
    {"limits: { window_ms = 4294967896L; };",
     "limits.window_ms: expected an integer 1..86400000, found 4294967896"},
    {"limits: { window_ms = 99999999999999999999L; };", "expected an integer up to"},
    {"\n/* open\nlimits: { };\n", "agwb.cfg:2: expected an end of this comment, found /* open limits"},
    {"/*/ 4294967896 */ limits = 4;", "limits: expected a group { }, found 4"},
    {"/*/", "expected an end of this comment"},
    /* grammar */
    {"limits: {\n window_ms = ;\n};", "agwb.cfg:2: syntax error"},
    {"limits: { window_ms = 1; window_ms = 2; };", "duplicate setting name"},
    {"rabbitmq: { user = \"open };\n", "syntax error"},
    /* addresses and names */
    {"\nrabbitmq: {\n hosts = [\"a:b:c\"]; };",
     "agwb.cfg:3: rabbitmq.hosts: expected host:port or [v6]:port, found \"a:b:c\""},
    {"rabbitmq: { hosts = [\"a:0\"]; };", "rabbitmq.hosts"},
    {"rabbitmq: { hosts = [\"a:65536\"]; };", "rabbitmq.hosts"},
    {"rabbitmq: { hosts = [\":5672\"]; };", "rabbitmq.hosts"},
    {"rabbitmq: { hosts = [\"amqp://a\"]; };", "rabbitmq.hosts"},
    {"rabbitmq: { hosts = [\"[::1:5672\"]; };", "rabbitmq.hosts"},
    {"rabbitmq: { hosts = [\"[x]:5672\"]; };", "rabbitmq.hosts"},
    {"rabbitmq: { hosts = [\"\"]; };", "rabbitmq.hosts: expected strings of 1..255 printable bytes"},
    {"rabbitmq: { cert_file = \"/c.pem\"; };",
     "rabbitmq.key_file: expected cert_file and key_file, or neither"},
    {"publisher: { metrics_listen = \"9464\"; };",
     "publisher.metrics_listen: expected host:port, [v6]:port, :port or off"},
    {"consumer: { metrics_listen = \"a:70000\"; };", "consumer.metrics_listen: expected host:port"},
    {"database: { url = \"mysql//secret\"; };",
     "agwb.cfg:1: database.url: expected postgresql://... or key=value pairs"},
    {"alerts: { webhook_url = \"ftp://a/secret\"; };", "alerts.webhook_url: expected http:// or https://"},
    {"topology: { agent_queue = \"wb_queue\"; };",
     "topology.webhook_queue: expected another name than topology.agent_queue"},
    {"topology: { agent_queue = \"dlx_agent\"; };",
     "topology.agent_queue: expected another name than a dead-letter queue's"},
    {"topology: { webhook_queue = \"wb_parked\"; };", "topology.webhook_queue: expected another name"},
    {"publisher: { debounce_ms = 5000;\n debounce_max_ms = 4999; };",
     "agwb.cfg:2: publisher.debounce_max_ms: expected at least publisher.debounce_ms = 5000, found \"4999\""},
    {"publisher: { debounce_ms = 15001; };", "default: publisher.debounce_max_ms: expected at least"},
    /* accounts */
    {"channels: { accounts = { }; };", "channels.accounts: expected a list ( { }, ... ), found a group"},
    {"channels: { accounts = (1); };", "channels.accounts[0]: expected a group { }, found 1"},
    {"channels: { account = (); };", "channels.account: unknown option, did you mean channels.accounts?"},
    {ACCOUNT("provider = \"p\"; channel = \"sms\";"),
     "agwb.cfg:2: channels.accounts[0].name: expected a value, found none"},
    {ACCOUNT("name = \"a\"; channel = \"sms\";"), "channels.accounts[0].provider: expected a value"},
    {ACCOUNT("name = \"a\"; provider = \"p\";"), "channels.accounts[0].channel: expected a value"},
    {ACCOUNT("name = \"a\"; provider = \"p\"; channel = \"fax\";"),
     "channels.accounts[0].channel: expected one of whatsapp, sms,"},
    {ACCOUNT("name = \"a b\"; provider = \"p\"; channel = \"sms\";"), "name: expected letters, digits"},
    {ACCOUNT("name = \"park\"; provider = \"p\"; channel = \"sms\";"), "name: expected letters, digits"},
    {PLAIN("tokn = \"x\";"), "agwb.cfg:2: channels.accounts[0].tokn: unknown option, did you mean token?"},
    {PLAIN("token = 5;"), "channels.accounts[0].token: expected a string of 0..8192 bytes"},
    {PLAIN("token_file = 5;"), "channels.accounts[0].token_file: expected the path of a file, found 5"},
    {PLAIN("token = \"x\"; token_file = \"/y\";"), "token_file: expected token or token_file, found both"},
    {PLAIN("token_file = \"/nonexistent/y\";"),
     "agwb.cfg:2: channels.accounts[0].token_file: cannot read the secret from /nonexistent/y: No such file"},
    {PLAIN("timeout_ms = 99;"), "channels.accounts[0].timeout_ms: expected an integer 100..300000, found 99"},
    {PLAIN("timeout_ms = 55000;"),
     "account a: timeout_ms: expected less than consumer.lease_ms - 5000 = 55000, found 55000"},
    {PLAIN("base_url = \"sms.example.com\";"),
     "account a: base_url: expected http:// or https://, found \"sms.example.com\""},
    {PLAIN("base_url = \"smtp://mail.example.com\";"), "base_url: expected http:// or https://"},
    {PLAIN("base_url = \"https://\";"), "base_url: expected http:// or https://"},
    {PLAIN("base_url = \"https://u:p@sms.example.com\";"),
     "base_url: expected user and password in their own options"},
    {ACCOUNT("name = \"a\"; provider = \"smtp\"; channel = \"email\"; base_url = \"http://a\";"),
     "expected smtp:// or smtps://"},
    {PLAIN("workspaces = [\"acme\"];"), "workspaces: expected uuids, found \"acme\""},
    {PLAIN("next = [\"b\"];"),
     "next: expected other accounts, template or park "
     "(or \"unreachable:\", \"window:\", \"opted-out:\" and one of them), found \"b\""},
    {PLAIN("next = [\"never:park\"];"), "found \"never:park\""},
    {PLAIN("next = [\"a\"];"), "next: expected other accounts"},
    {PLAIN("next = [\"park\",\"park\",\"park\",\"park\",\"park\"];"),
     "next: expected a list of 0..4 strings, found 5"},
    {PLAIN("options = 1;"), "options: expected a group { }, found 1"},
    {PLAIN("options = { a = { }; };"), "options.a: expected a string, number or boolean, found a group"},
    {PLAIN("options = { a=1;b=1;c=1;d=1;e=1;f=1;g=1;h=1;i=1;j=1;k=1;l=1;m=1;n=1;o=1;p=1;q=1; };"),
     "options.q: expected at most 16 options"},
    {"channels: { accounts = ( { name = \"a-b\"; provider = \"p\"; channel = \"sms\"; },\n"
     "{ name = \"A_B\"; provider = \"p\"; channel = \"sms\"; } ); };",
     "agwb.cfg:2: account A_B: expected another name than a-b"},
    {"channels: { accounts = ( { name = \"a\"; provider = \"p\"; channel = \"sms\"; default = true; },\n"
     "{ name = \"b\"; provider = \"p\"; channel = \"sms\"; default = true; } ); };",
     "agwb.cfg:2: account b: default: expected one default for sms, found also a"},
};

static void test_config_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        fixture_assert_fault(faults[i].content, NULL, NULL, faults[i].expected);
}

static void test_config_account_count(void **state)
{
    (void)state;
    char text[8192] = "channels: { accounts = (";
    size_t used = strlen(text);
    for (int i = 0; i <= CONFIG_MAX_ACCOUNTS; i++)
        used +=
            (size_t)snprintf(text + used, sizeof text - used,
                             "%s{ name = \"a%d\"; provider = \"p\"; channel = \"sms\"; }", i ? "," : "", i);
    (void)snprintf(text + used, sizeof text - used, "); };");
    fixture_assert_fault(text, NULL, NULL, "expected at most 32 accounts");
}

static void test_config_unusable_files(void **state)
{
    (void)state;
    struct err e = {0};
    struct config_source s = {.file = fixture_path("none.cfg")};
    assert_null(config_load(&s, &e));
    assert_non_null(strstr(e.text, "none.cfg: cannot read: No such file or directory"));
    s.file_optional = true;
    struct config *c = config_load(&s, &e);
    assert_non_null(c);
    config_free(&c);

    s.file_optional = false;
    s.file = fixture_path("directory");
    assert_int_equal(mkdir(s.file, 0700), 0);
    assert_null(config_load(&s, &e));
    assert_non_null(strstr(e.text, "directory: expected a regular file"));
    assert_null(config_load(&s, NULL));

    s.file = fixture_path("agwb.cfg");
    int fd = open(s.file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "log: { };\0 more", 15), 15);
    assert_null(config_load(&s, &e));
    assert_non_null(strstr(e.text, "agwb.cfg: expected text, found a NUL byte"));
    assert_int_equal(ftruncate(fd, (1 << 20) + 1), 0);
    assert_null(config_load(&s, &e));
    assert_non_null(strstr(e.text, "agwb.cfg: expected a regular file of at most 1048576 bytes"));
    close(fd);
}

/* One file is the configuration: an include is refused even where the other file exists. */
static void test_config_include(void **state)
{
    (void)state;
    char content[PATH_MAX];
    (void)snprintf(content, sizeof content, "log: { };\n@include \"%s\"\n",
                   fixture_write("secret", "agent: { };"));
    fixture_assert_fault(content, NULL, NULL, "agwb.cfg:2: @include is not supported");
}

/* A value that is refused must not be repeated when it is a secret. */
static void test_config_faults_hide_secrets(void **state)
{
    (void)state;
    static const char *const contents[] = {
        "rabbitmq: { password = \"hush\\thush\"; };", "database: { url = \"hush\"; };",
        "alerts: { webhook_url = \"hush\"; };",       PLAIN("token = \"hush\\n\";"),
        PLAIN("password = \"hush\\x01\";"),           "rabbitmq: { password = 424242; };",
        PLAIN("token = [\"hush\", \"hush\"];"),
    };
    struct err e;
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
        assert_null(fixture_load_all(contents[i], NULL, NULL, &e));
        assert_null(strstr(e.text, "hush"));
        assert_null(strstr(e.text, "424242"));
    }
}

static void test_config_reload(void **state)
{
    (void)state;
    char restart[256];
    struct config *running = fixture_load("rabbitmq: { user = \"one\"; }; limits: { window_ms = 5; };");
    const char *old_user = running->rabbitmq.user;
    struct config *fresh =
        fixture_load("rabbitmq: { user = \"two\"; hosts = [\"b.example.com\"]; };\n"
                     "limits: { window_ms = 7; };\n"
                     "consumer: { fallback_text = \"later\"; uncertain = \"resend\"; prefetch = 20; };\n"
                     "retry: { delivery: { tries = 2; multiplier = 2.5; }; };\n"
                     "log: { level = \"debug\"; };\n"
                     "channels: { accounts = ( { name = \"a\"; provider = \"p\"; channel = \"sms\"; } ); };");
    config_reload(running, fresh, restart, sizeof restart);
    config_free(&fresh);
    assert_string_equal(restart, "rabbitmq.hosts, rabbitmq.user, consumer.prefetch, channels.accounts");
    assert_ptr_equal(running->rabbitmq.user, old_user);
    assert_string_equal(running->rabbitmq.user, "one");
    assert_int_equal(running->consumer.prefetch, 10);
    assert_int_equal(running->limits.window_ms, 7);
    assert_string_equal(running->consumer.fallback_text, "later");
    assert_int_equal(running->consumer.uncertain, UNCERTAIN_RESEND);
    assert_int_equal(running->retry.delivery.tries, 2);
    assert_true(running->retry.delivery.backoff.multiplier == 2.5);
    assert_int_equal(running->log.level, LOG_LEVEL_DEBUG);
    assert_int_equal(running->channels.account_count, 0);
    config_free(&running);
}

static void test_config_reload_of_the_same(void **state)
{
    (void)state;
    char restart[8];
    struct config *running = fixture_load(accounts_text);
    struct config *fresh = fixture_load(accounts_text);
    config_reload(running, fresh, restart, sizeof restart);
    assert_string_equal(restart, "");
    config_free(&fresh);

    fresh = fixture_load("rabbitmq: { user = \"a\"; vhost = \"b\"; };");
    config_reload(running, fresh, restart, sizeof restart);
    assert_string_equal(restart, "rabbitm"); /* cut, terminated */
    config_free(&fresh);
    config_free(&running);
}

/* A change of any part of an account is seen. */
static void test_config_reload_sees_accounts(void **state)
{
    (void)state;
    static const char *const variants[] = {
        PLAIN("token = \"other\";"),        PLAIN("timeout_ms = 9000;"),
        PLAIN("next = [\"park\"];"),        PLAIN("options = { a = 1; };"),
        PLAIN("options = { b = \"x\"; };"), PLAIN("default = true;"),
        PLAIN("base_url = \"http://a\";"),  "",
    };
    char restart[64];
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        struct config *running = fixture_load(PLAIN("token = \"t\"; options = { a = \"x\"; };"));
        struct config *fresh = fixture_load(variants[i]);
        config_reload(running, fresh, restart, sizeof restart);
        assert_string_equal(restart, "channels.accounts");
        config_free(&fresh);
        config_free(&running);
    }
}

static char *printed(const struct config *c)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    config_print(c, &out);
    char *text = strdup(buf_str(&out));
    buf_fini(&out);
    return text;
}

static void test_config_print_can_be_read_back(void **state)
{
    (void)state;
    char text[4096];
    (void)snprintf(text, sizeof text, "%s%s", accounts_text,
                   "rabbitmq: { password = \"hush-1\"; hosts = [\"a.example.com:1\", \"b.example.com\"]; };"
                   "consumer: { fallback_text = \"a \\\"b\\\" \\\\ \\n c\"; };"
                   "retry: { job: { multiplier = 1.25; }; }; alerts: { secret = \"hush-2\"; };");
    struct config *c = fixture_load(text);
    char *first = printed(c);
    config_free(&c);
    assert_null(strstr(first, "hush"));
    assert_null(strstr(first, "t-1"));
    assert_non_null(strstr(first, "password = \"***\";"));
    assert_non_null(strstr(first, "token = \"***\";"));

    /* Secrets are then "***" for real, and print as themselves. */
    c = fixture_load(first);
    assert_string_equal(c->consumer.fallback_text, "a \"b\" \\ \n c");
    char *second = printed(c);
    config_free(&c);
    assert_string_equal(first, second);
    free(first);
    free(second);
}

static void test_config_print_hides_free_options(void **state)
{
    (void)state;
    struct config *c =
        fixture_load(PLAIN("options = { app_secret = \"hush\"; apiKey = \"hush\"; path = \"/x\"; };"));
    char *text = printed(c);
    assert_null(strstr(text, "hush"));
    assert_non_null(strstr(text, "path = \"/x\";"));
    free(text);
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_defaults),
        cmocka_unit_test(test_config_accounts),
        cmocka_unit_test(test_config_channel_words),
        cmocka_unit_test(test_config_file_forms),
        cmocka_unit_test(test_config_faults),
        cmocka_unit_test(test_config_account_count),
        cmocka_unit_test(test_config_unusable_files),
        cmocka_unit_test(test_config_include),
        cmocka_unit_test(test_config_faults_hide_secrets),
        cmocka_unit_test(test_config_reload),
        cmocka_unit_test(test_config_reload_of_the_same),
        cmocka_unit_test(test_config_reload_sees_accounts),
        cmocka_unit_test(test_config_print_can_be_read_back),
        cmocka_unit_test(test_config_print_hides_free_options),
    };
    return cmocka_run_group_tests(tests, fixture_begin, fixture_end);
}
