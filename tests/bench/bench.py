#!/usr/bin/python3
"""Measures the daemons beside what their servers do alone, in one run on private servers, and says whether the gates hold.

Runs inside the sandbox: tests/sandbox/sandbox tests/bench/bench.py [--rounds N] [--only PART,...]. Only ratios of one run and CPU
per message mean anything on a shared machine; a run whose own limits scatter says so and judges nothing."""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request

BUILD = os.environ.get("BUILD", "build")
DIR = os.path.join(os.environ["AGWB_TEST_DIR"], "bench")
SERVER_URL = os.environ["AGWB_TEST_DATABASE_URL"]
TEMPLATE, TEMPLATE_OLD = "bench_template", "bench_template_old"
ROWS, REPLIES = 20000, 8000
PATIENCE_S = 300

CONFIG = """
rabbitmq: {{ hosts = ["{amqp}"]; }};
database: {{ url = "{url}"; }};
publisher: {{ metrics_listen = "127.0.0.1:0"; }};
consumer: {{ prefetch = {prefetch}; max_in_flight = {prefetch}; metrics_listen = "127.0.0.1:0"; }};
limits: {{ jobs_in_flight = 0; jobs_per_minute = 0; contact_per_minute = 0; }};
log: {{ format = "json"; }};
channels: {{ accounts = (
  {{ name = "main"; provider = "wasender"; channel = "whatsapp"; base_url = "http://127.0.0.1:{sink}"; token = "t"; default = true; }},
  {{ name = "sms"; provider = "sms_gateway"; channel = "sms"; base_url = "http://127.0.0.1:{sink}"; default = true; }}
); }};
"""

PEOPLE = """
insert into workspaces (id, name) values ('00000000-0000-4000-8000-000000000001', 'Bench');
insert into customer_profiles (workspace_id, name, phone_number, remote_jid, country_code)
    select '00000000-0000-4000-8000-000000000001', 'Customer ' || i, '+1202' || (5000000 + i), '1202' || (5000000 + i) || '@s.whatsapp.net', '1'
    from generate_series(1, 1000) i;
insert into conversations (workspace_id, customer_id, channel_type, session_data)
    select workspace_id, id, 'whatsapp', '{"locale": "en"}' from customer_profiles;
insert into messages (conversation_id, sender_type, content, created_at)
    select v.id, case when g % 2 = 0 then 'user' else 'ai' end, repeat('A line of a talk, ', 8), now() - (20 - g) * interval '1 minute'
    from conversations v, generate_series(1, 10) g;
"""

JOBS = """
insert into ai_response_queue (workspace_id, contact_id, conversation_id, user_message)
    select v.workspace_id, v.customer_id, v.id, 'Do you have it in blue? Number ' || g
    from (select *, row_number() over (order by id) as n from conversations) v, generate_series(1, {each}) g order by g, v.n;
"""

FINISHED = """
insert into ai_response_queue (workspace_id, contact_id, conversation_id, user_message, status, attempts, created_at, published_at, processed_at)
    select v.workspace_id, v.customer_id, v.id, 'An old question ' || g, 'complete', 1, now() - interval '1 day', now() - interval '1 day',
           now() - interval '1 day'
    from conversations v, generate_series(1, 1000) g;
"""


# --- servers ---------------------------------------------------------------------------------------------------------------


def sql(statements, database="postgres"):
    """The first column of the last statement's rows, as text."""
    done = subprocess.run(["psql", url_of(database), "-qAtX", "-v", "ON_ERROR_STOP=1"], input=statements, text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"bench: {done.stderr.strip()}\n{statements[:300]}")
    return done.stdout.strip()


def url_of(database):
    return SERVER_URL.rsplit("/", 1)[0] + "/" + database


def rabbit(expression):
    subprocess.run([os.environ["AGWB_TEST_RABBITMQCTL"], "eval", expression], check=True, capture_output=True)


def empty_queues():
    rabbit('[rabbit_amqqueue:purge(Q) || Q <- rabbit_amqqueue:list(<<"/">>)].')


def fresh_database(name, template=TEMPLATE):
    sql(f"drop database if exists {name} with (force);\ncreate database {name} template {template};\ncheckpoint;")
    return name


# --- CPU and memory --------------------------------------------------------------------------------------------------------


def tree_cpu_ms(root):
    """Of a process and all below it, ended children included."""
    parents, used = {}, {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(entry)] = int(fields[1])
        used[int(entry)] = sum(int(x) for x in fields[11:15])
    total, todo = 0, [root]
    while todo:
        pid = todo.pop()
        total += used.get(pid, 0)
        todo += [p for p, parent in parents.items() if parent == pid]
    return total * 1000 / os.sysconf("SC_CLK_TCK")


def process_cpu_ms(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total / 1e6


def peak_mb(pid):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0


def server_pids():
    postgres = int(subprocess.run([os.environ["AGWB_TEST_PG_CTL"], "pid"], check=True, capture_output=True, text=True).stdout)
    broker = int(subprocess.run([os.environ["AGWB_TEST_BROKER_CTL"], "pid"], check=True, capture_output=True, text=True).stdout)
    return postgres, broker


class Meter:
    """CPU of the daemons and of both servers between start() and stop(), in milliseconds per 1,000 messages."""

    def __init__(self, daemons):
        self.daemons, self.servers = daemons, server_pids()

    def read(self):
        own = sum(process_cpu_ms(d.pid) for d in self.daemons)
        return (own, tree_cpu_ms(self.servers[0]), tree_cpu_ms(self.servers[1]))

    def start(self):
        self.begun = self.read()

    def stop(self, count):
        own, pg, rmq = (after - before for after, before in zip(self.read(), self.begun))
        return {"own_ms": own * 1000 / count, "pg_ms": pg * 1000 / count, "broker_ms": rmq * 1000 / count}


# --- programs --------------------------------------------------------------------------------------------------------------


def tool(*args, database="postgres"):
    env = dict(os.environ, BENCH_DATABASE_URL=url_of(database))
    done = subprocess.run([f"{BUILD}/tests/bench", *map(str, args)], env=env, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, args))}: {done.stderr.strip()}")
    return json.loads(done.stdout)


class Sink:
    def __init__(self, delay_ms=0):
        self.process = subprocess.Popen([f"{BUILD}/tests/bench", "sink", str(delay_ms)], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def count(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/count") as answer:
            return json.load(answer)["count"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


class Daemon:
    """Started with a configuration of its own; ready when its /readyz would say so, which the log tells too."""

    number = 0

    def __init__(self, program, database, sink_port=9, prefetch=100):
        Daemon.number += 1
        self.log = f"{DIR}/{program}-{Daemon.number}.log"
        config = f"{DIR}/{Daemon.number}.cfg"
        with open(os.open(config, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write(CONFIG.format(amqp=os.environ["AGWB_TEST_AMQP"], url=url_of(database), sink=sink_port, prefetch=prefetch))
        env = {k: v for k, v in os.environ.items() if not k.startswith("AGWB_") and k != "DATABASE_URL"}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([f"{BUILD}/{program}", "-c", config], stderr=log, env=env)
        self.pid = self.process.pid
        wait_for(self.is_ready, f"{program} to become ready")

    def is_ready(self):
        if self.process.poll() is not None:
            with open(self.log) as f:
                sys.exit(f"bench: the daemon ended: {f.read()[-2000:]}")
        with open(self.log) as f:
            return '"event":"ready"' in f.read()

    def send(self, signo):
        os.kill(self.pid, signo)

    def stop(self):
        self.process.terminate()
        return self.process.wait()


def wait_for(condition, what, pause_s=0.02):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"bench: waited in vain for {what}")
        time.sleep(pause_s)


# --- what is measured ------------------------------------------------------------------------------------------------------


def publish(rows=ROWS, instances=1, template=TEMPLATE, database="bench_publish"):
    """The daemons wait; the rows come in one transaction; the end is the last one's published_at."""
    fresh_database(database, template)
    empty_queues()
    daemons = [Daemon("agwb-publisher", database) for _ in range(instances)]
    meter = Meter(daemons)
    meter.start()
    begun = float(sql(JOBS.format(each=rows // 1000) + "select extract(epoch from clock_timestamp());", database))
    wait_for(lambda: int(sql("select count(*) from ai_response_queue where status = 'pending' or (status = 'processing' and published_at is null)",
                             database)) == 0, "the rows to be published", 0.1)
    result = meter.stop(rows)
    ended, published = sql("select extract(epoch from max(published_at)), count(*) from ai_response_queue where published_at > now() - interval '1 hour'",
                           database).split("|")
    result.update(rate=rows / (float(ended) - begun), peak_mb=max(peak_mb(d.pid) for d in daemons), rows=int(published))
    for d in daemons:
        d.stop()
    result["in_queue"] = tool_count("ag_queue")
    return result


def tool_count(queue):
    """The queue's own word; what list_queues says is some seconds old."""
    done = subprocess.run([os.environ["AGWB_TEST_RABBITMQCTL"], "eval",
                           f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue}">>)), rabbit_amqqueue:stat(Q).'],
                          capture_output=True, text=True, check=True)
    return int(done.stdout.split(",")[1])


def publish_latency(count=300):
    fresh_database("bench_latency")
    empty_queues()
    daemon = Daemon("agwb-publisher", "bench_latency")
    result = tool("latency", count, database="bench_latency")
    daemon.stop()
    return result


def consume(replies=REPLIES, prefetch=100, delay_ms=0, instances=1, database="bench_consume"):
    """The daemons stand still while wb_queue is filled, and go on at the begin; the end is the last one's settled_at."""
    fresh_database(database)
    empty_queues()
    with Sink(delay_ms) as sink:
        daemons = [Daemon("agwb-consumer", database, sink.port, prefetch) for _ in range(instances)]
        for d in daemons:
            d.send(signal.SIGSTOP)
        tool("replies", 1, replies)
        meter = Meter(daemons)
        meter.start()
        begun = time.time()
        for d in daemons:
            d.send(signal.SIGCONT)
        wait_for(lambda: sink.count() >= replies, "the replies to be sent")
        wait_for(lambda: int(sql("select count(*) from agwb.deliveries where state = 'sent'", database)) >= replies, "the settles", 0.1)
        result = meter.stop(replies)
        ended = float(sql("select extract(epoch from max(settled_at)) from agwb.deliveries", database))
        result.update(rate=replies / (ended - begun), peak_mb=max(peak_mb(d.pid) for d in daemons), sent=sink.count())
        for d in daemons:
            d.stop()
    return result


def http_alone(prefetch=100, count=REPLIES):
    with Sink() as sink:
        return tool("web", sink.port, count, prefetch)


def rows_alone(rows=ROWS):
    fresh_database("bench_rows")
    sql(JOBS.format(each=rows // 1000), "bench_rows")
    return tool("rows", rows, 100, database="bench_rows")


def broker_alone():
    rabbit('rabbit_amqqueue:declare({resource, <<"/">>, queue, <<"bench">>}, true, false, '
           '[{<<"x-queue-type">>, longstr, <<"quorum">>}], none, <<"bench">>).')
    result = tool("pump", "bench", ROWS, 1000, 2000)
    empty_queues()
    return result


def idle(seconds=60):
    fresh_database("bench_idle")
    empty_queues()
    daemons = [Daemon("agwb-publisher", "bench_idle"), Daemon("agwb-consumer", "bench_idle")]
    time.sleep(2)
    begun = [process_cpu_ms(d.pid) for d in daemons]
    time.sleep(seconds)
    used = [(process_cpu_ms(d.pid) - b) * 60 / seconds / 1000 for d, b in zip(daemons, begun)]
    for d in daemons:
        d.stop()
    return {"publisher_s": used[0], "consumer_s": used[1]}


def held_snapshot():
    """Somebody's transaction, open since before the rows came, keeps every dead index entry alive."""
    database = fresh_database("bench_held")
    holder = subprocess.Popen(["psql", url_of(database), "-qX"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    # the database must not be made anew while the snapshot is held: publish() is repeated here with its own
    empty_queues()
    daemon = Daemon("agwb-publisher", database)
    holder.stdin.write("begin isolation level repeatable read; select count(*) from workspaces;\n")
    holder.stdin.flush()
    wait_for(lambda: int(sql("select count(*) from pg_stat_activity where state = 'idle in transaction'")) > 0, "the snapshot")
    meter = Meter([daemon])
    meter.start()
    begun = float(sql(JOBS.format(each=60) + "select extract(epoch from clock_timestamp());", database))
    wait_for(lambda: int(sql("select count(*) from ai_response_queue where published_at is null", database)) == 0, "the rows", 0.2)
    result = meter.stop(60000)
    result["rate"] = 60000 / (float(sql("select extract(epoch from max(published_at)) from ai_response_queue", database)) - begun)
    holder.stdin.close()
    holder.wait()
    daemon.stop()
    return result


# --- the run ---------------------------------------------------------------------------------------------------------------


def prepare():
    os.makedirs(DIR, exist_ok=True)
    sql(f"create database {TEMPLATE};")
    env = dict(os.environ, DATABASE_URL=url_of(TEMPLATE))
    subprocess.run([f"{BUILD}/agwb-publisher", "migrate"], env=env, check=True, stdout=subprocess.DEVNULL)
    sql(PEOPLE + "vacuum analyze;", TEMPLATE)
    fresh_database("bench_warm")
    for program in ("agwb-publisher", "agwb-consumer"):  # declares the queues
        Daemon(program, "bench_warm").stop()


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(parts, rounds):
    """{part: [result of each round]}; a round runs each part once, so that a slow minute meets all of them."""
    results = {name: [] for name in parts}
    for number in range(rounds):
        for name in parts:
            measure, once = PARTS[name]
            if once and number > 0:
                continue
            begun = time.monotonic()
            results[name].append(measure())
            say(f"  round {number + 1}: {name} ({time.monotonic() - begun:.0f} s)")
    return results


def with_a_million():
    sql(f"create database {TEMPLATE_OLD} template {TEMPLATE};")
    sql(FINISHED + "vacuum analyze;", TEMPLATE_OLD)
    return publish(template=TEMPLATE_OLD)


# name: (what, only in the first round)
PARTS = {
    "broker alone": (broker_alone, False),
    "rows alone": (rows_alone, False),
    "http alone": (http_alone, False),
    "publish": (publish, False),
    "latency": (publish_latency, False),
    "consume": (consume, False),
    "consume 50 ms, 10": (lambda: consume(800, 10, 50), False),
    "consume 50 ms, 100": (lambda: consume(6000, 100, 50), False),
    "consume 50 ms, 500": (lambda: consume(15000, 500, 50), False),
    "publish, 2 instances": (lambda: publish(2 * ROWS, 2), False),
    "publish, 4 instances": (lambda: publish(2 * ROWS, 4), False),
    "publish, 1 instance": (lambda: publish(2 * ROWS, 1), False),
    "consume, 2 instances": (lambda: consume(instances=2), True),
    "consume, 4 instances": (lambda: consume(instances=4), True),
    "publish, 60k backlog": (lambda: publish(60000), True),
    "publish, 200k backlog": (lambda: publish(200000), True),
    "publish, a million finished": (with_a_million, True),
    "publish, a snapshot held": (held_snapshot, True),
    "idle": (idle, True),
}


def median(results, part, key):
    values = [r[key] for r in results.get(part, []) if key in r]
    return statistics.median(values) if values else None


def ratio(a, b):
    return None if a is None or not b else a / b


def gates(results):
    """[(what, value, gate, aim, unit, at least?)]; DESIGN's table, row by row."""

    def m(part, key):
        return median(results, part, key)

    def share(part, slots):
        return ratio(m(part, "rate"), slots / 0.05)

    duplicates = [r["in_queue"] - r["rows"] for r in results.get("publish, 4 instances", [])]
    return [
        ("publisher rows/s against PostgreSQL alone", ratio(m("publish", "rate"), m("rows alone", "rate")), 0.55, 0.8, "", True),
        ("publisher's own CPU", m("publish", "own_ms"), 15, 5, "ms/1k", False),
        ("row committed to ag_queue, p50", m("latency", "p50_ms"), 1.5, 0.8, "ms", False),
        ("row committed to ag_queue, p99", m("latency", "p99_ms"), 6, 2, "ms", False),
        ("consumer msgs/s against HTTP alone", ratio(m("consume", "rate"), m("http alone", "rate")), 0.17, 0.3, "", True),
        ("provider takes 50 ms, share at 10", share("consume 50 ms, 10", 10), 0.9, 0.95, "", True),
        ("provider takes 50 ms, share at 100", share("consume 50 ms, 100", 100), 0.88, 0.93, "", True),
        ("provider takes 50 ms, share at 500", share("consume 50 ms, 500", 500), 0.7, 0.85, "", True),
        ("consumer's own CPU at prefetch 100", m("consume", "own_ms"), 60, 30, "ms/1k", False),
        ("PostgreSQL CPU a row, 10x backlog", ratio(m("publish, 200k backlog", "pg_ms"), m("publish", "pg_ms")), 1.25, 1.1, "x", False),
        ("PostgreSQL CPU a row, a million finished", ratio(m("publish, a million finished", "pg_ms"), m("publish", "pg_ms")), 1.25, 1.1, "x", False),
        ("four instances against one, rate", ratio(m("publish, 4 instances", "rate"), m("publish, 1 instance", "rate")), 0.9, 1.0, "x", True),
        ("four instances, duplicates", max(duplicates) if duplicates else None, 0, 0, "", False),
        ("publisher's peak memory", m("publish", "peak_mb"), 16, 10, "MB", False),
        ("consumer's peak memory", m("consume", "peak_mb"), 20, 14, "MB", False),
        ("idle CPU, publisher", m("idle", "publisher_s"), 0.2, 0.05, "s/min", False),
        ("idle CPU, consumer", m("idle", "consumer_s"), 0.2, 0.05, "s/min", False),
    ]


def scatter(results):
    """The largest max/min of what has nothing to do with us."""
    worst = 1.0
    for part in ("broker alone", "rows alone", "http alone"):
        rates = [r["rate"] for r in results.get(part, [])]
        if len(rates) > 1:
            worst = max(worst, max(rates) / min(rates))
    return worst


def print_results(results):
    print(f"\n{'':32}{'per s':>10}{'min':>9}{'max':>9}{'own':>9}{'pg':>8}{'broker':>8}{'peak MB':>9}")
    for part, rounds in results.items():
        rates = [r["rate"] for r in rounds if "rate" in r]
        if not rates:
            continue
        cells = [median(results, part, k) for k in ("own_ms", "pg_ms", "broker_ms", "peak_mb")]
        text = "".join(f"{c:>{w}.1f}" if c is not None else " " * w for c, w in zip(cells, (9, 8, 8, 9)))
        print(f"{part:32}{statistics.median(rates):>10.0f}{min(rates):>9.0f}{max(rates):>9.0f}{text}")
    print("own, pg, broker: CPU milliseconds per 1,000 messages")


def judge(results):
    good = True
    print(f"\n{'':46}{'measured':>10}{'gate':>8}{'aim':>8}")
    for what, value, gate, aim, unit, at_least in gates(results):
        if value is None:
            continue
        holds = value >= gate if at_least else value <= gate
        reached = value >= aim if at_least else value <= aim
        good = good and holds
        verdict = "aim reached" if reached else "holds" if holds else "MISSED"
        print(f"{what:46}{value:>10.3f}{gate:>8}{aim:>8}  {unit:6}{verdict}")
    return good


# --- the plot --------------------------------------------------------------------------------------------------------------


def curve(x0, title, points, labels):
    """Bars of the rate with its cost above: one panel of the plot."""
    top = max(p[1] for p in points) or 1
    out = [f'<text x="{x0}" y="24" font-size="14">{title}</text>']
    for i, (label, rate, cost) in enumerate(points):
        height = 180 * rate / top
        x = x0 + i * 90
        out.append(f'<rect x="{x}" y="{230 - height:.0f}" width="60" height="{height:.0f}" fill="#4a7fb5"/>')
        out.append(f'<text x="{x}" y="{224 - height:.0f}" font-size="11">{rate:,.0f}/s</text>')
        out.append(f'<text x="{x}" y="246" font-size="11">{label}</text>')
        out.append(f'<text x="{x}" y="262" font-size="11">{cost:.0f} {labels}</text>')
    return "".join(out)


def plot(results, path):
    def points(pairs):
        return [(label, median(results, part, "rate"), sum(median(results, part, k) for k in ("own_ms", "pg_ms", "broker_ms")))
                for label, part in pairs if median(results, part, "rate")]

    panels = [("publisher, rows waiting", points([("20k", "publish"), ("60k", "publish, 60k backlog"), ("200k", "publish, 200k backlog"),
                                                  ("1M done", "publish, a million finished")])),
              ("publisher, instances", points([("1", "publish, 1 instance"), ("2", "publish, 2 instances"), ("4", "publish, 4 instances")])),
              ("consumer, instances", points([("1", "consume"), ("2", "consume, 2 instances"), ("4", "consume, 4 instances")]))]
    body = "".join(curve(20 + 390 * i, title, p, "ms/1k") for i, (title, p) in enumerate(panels) if p)
    with open(path, "w") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="1180" height="280" font-family="sans-serif">'
                f'<rect width="100%" height="100%" fill="white"/>{body}</svg>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="parts by the beginning of their names, comma-separated")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else [""]
    parts = [p for p in PARTS if any(p.startswith(w) for w in wanted)]
    prepare()
    results = run(parts, options.rounds)
    print_results(results)
    good = judge(results)
    noise = scatter(results)
    print(f"\nwhat the servers do alone varied by {noise:.2f}x between the rounds")
    if noise > 2:
        print("too noisy to judge: run it again")
    with open(f"{BUILD}/bench.json", "w") as f:
        json.dump({"results": results, "noise": noise, "gates": [g[:4] for g in gates(results)]}, f, indent=1)
    if not options.only:
        plot(results, f"{BUILD}/bench.svg")
        print(f"{BUILD}/bench.json, {BUILD}/bench.svg")
    return 0 if good or noise > 2 else 1


if __name__ == "__main__":
    sys.exit(main())
