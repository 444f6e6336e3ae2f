#!/usr/bin/python3
"""Measures the daemons beside what their servers do alone, in one run on private servers, and says whether the gates hold.

Runs inside the sandbox: tests/sandbox/sandbox tests/bench/bench.py [--rounds N] [--only PART,...]. Only ratios of one run and CPU
per message mean anything on a shared machine; what others disturbed is not judged. Exit status: 0 all gates hold, 1 one is missed,
3 nothing is missed but something could not be judged."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

sys.dont_write_bytecode = True
import plot  # noqa: E402
import verdict  # noqa: E402
from meter import Meter, Neighbours, peak_mb, process_ms  # noqa: E402

BUILD = os.environ.get("BUILD", "build")
DIR = os.path.join(os.environ["AGWB_TEST_DIR"], "bench")
SERVER_URL = os.environ["AGWB_TEST_DATABASE_URL"]
HOSTS = os.environ.get("AGWB_TEST_CLUSTER_HOSTS") or f'"{os.environ["AGWB_TEST_AMQP"]}"'
TEMPLATE, TEMPLATE_OLD, TEMPLATE_ASKED = "bench_template", "bench_template_old", "bench_template_asked"
ROWS, REPLIES, WARM = 20000, 8000, 2000
MILLION = 1000000
PATIENCE_S = 300

CONFIG = """
rabbitmq: {{ hosts = [{hosts}]; }};
database: {{ url = "{url}"; }};
publisher: {{ metrics_listen = "127.0.0.1:{port}"; }};
consumer: {{ prefetch = {prefetch}; max_in_flight = {prefetch}; metrics_listen = "127.0.0.1:{port}"; }};
limits: {{ {limits} }};
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

NO_LIMITS = "jobs_in_flight = 0; jobs_per_minute = 0; contact_per_minute = 0;"

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

# Jobs that an agent has been asked, each of a contact of its own: what `bench replies 1 N jobs` answers.
ASKED = """
insert into customer_profiles (id, workspace_id, name, phone_number, remote_jid, country_code)
    select ('00000000-0000-4000-8001-' || lpad(i::text, 12, '0'))::uuid, '00000000-0000-4000-8000-000000000001', 'Asked ' || i,
           '+1202' || (5000000 + i), '1202' || (5000000 + i) || '@s.whatsapp.net', '1' from generate_series(10001, 10000 + {count}) i;
insert into conversations (workspace_id, customer_id, channel_type) select workspace_id, id, 'whatsapp' from customer_profiles where name like 'Asked %';
insert into ai_response_queue (id, workspace_id, contact_id, conversation_id, user_message, status, attempts, published_at)
    select replace(v.customer_id::text, '-8001-', '-8000-')::uuid, v.workspace_id, v.customer_id, v.id, 'Do you have it in blue?', 'processing', 1, now()
    from conversations v join customer_profiles c on c.id = v.customer_id where c.name like 'Asked %';
"""

PROMISES = "select string_agg(name || '=' || setting, ' ' order by name) from pg_settings where name in " \
    "('autovacuum', 'fsync', 'full_page_writes', 'synchronous_commit')"


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
            return json.load(answer)

    def took(self):
        return self.count()["count"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Daemon:
    """Started with a configuration of its own; ready when its /readyz would say so, which the log tells too."""

    number = 0

    def __init__(self, program, database, sink_port=9, prefetch=100, limits=NO_LIMITS):
        Daemon.number += 1
        self.port = free_port()
        self.log = f"{DIR}/{program}-{Daemon.number}.log"
        config = f"{DIR}/{Daemon.number}.cfg"
        with open(os.open(config, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write(CONFIG.format(hosts=HOSTS, url=url_of(database), sink=sink_port, prefetch=prefetch, limits=limits, port=self.port))
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

    def published(self):
        """As its metrics have it: to ask the database would be a part of what is measured."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            found = re.search(rb'^agwb_intake_rows_total{[^}]*"published"[^}]*} (\d+)', answer.read(), re.M)
        return int(found.group(1)) if found else 0

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


def stand_still(daemons):
    for d in daemons:
        d.send(signal.SIGSTOP)


def go_on(daemons):
    for d in daemons:
        d.send(signal.SIGCONT)


def checkpoints():
    return int(sql("select checkpoints_timed + checkpoints_req from pg_stat_bgwriter"))


def add_jobs(database, rows):
    """Alike for every number of rows: what they wrote is on the disk before the clock starts, so each page is logged in full once."""
    sql(JOBS.format(each=rows // 1000), database)
    sql("checkpoint", database)


def hold_snapshot(database):
    """Somebody's transaction, open since before the rows came, keeps every dead index entry alive."""
    holder = subprocess.Popen(["psql", url_of(database), "-qX"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    holder.stdin.write("begin isolation level repeatable read; select count(*) from workspaces;\n")
    holder.stdin.flush()
    wait_for(lambda: int(sql("select count(*) from pg_stat_activity where state = 'idle in transaction'")) > 0, "the snapshot")
    return holder


def publish(rows=ROWS, instances=1, template=TEMPLATE, database="bench_publish", held=False, counted=False):
    """The daemons are warm and stand still while the rows come; the end is the last one's published_at. counted: with the ids in ag_queue."""
    fresh_database(database, template)
    empty_queues()
    daemons = [Daemon("agwb-publisher", database) for _ in range(instances)]
    sql(JOBS.format(each=WARM // 1000), database)
    wait_for(lambda: sum(d.published() for d in daemons) >= WARM, "the first rows to be published", 0.1)
    stand_still(daemons)
    holder = hold_snapshot(database) if held else None
    add_jobs(database, rows)
    meter, checked = Meter(daemons), checkpoints()
    meter.start()
    begun = time.time()
    go_on(daemons)
    wait_for(lambda: sum(d.published() for d in daemons) >= WARM + rows, "the rows to be published", 0.1)
    result = meter.stop(rows)
    if holder:
        holder.stdin.close()
        holder.wait()
    wait_for(lambda: int(sql("select count(*) from ai_response_queue where status = 'pending' or lease_owner is not null", database)) == 0, "the record")
    ended = float(sql("select extract(epoch from max(published_at)) from ai_response_queue", database))
    result.update(rate=rows / (ended - begun), peak_mb=max(peak_mb(d.pid) for d in daemons), checkpoints=checkpoints() - checked)
    for d in daemons:
        d.stop()
    if counted:
        came = tool("drain", "ag_queue", WARM + rows)
        result.update(duplicates=came["count"] - came["distinct"], lost=WARM + rows - came["distinct"])
    return result


def publish_latency(count=1000):
    fresh_database("bench_latency")
    empty_queues()
    daemon = Daemon("agwb-publisher", "bench_latency")
    result = tool("latency", count, database="bench_latency")
    daemon.stop()
    return result


def consume(replies=REPLIES, prefetch=100, delay_ms=0, instances=1, asked=False, limits=NO_LIMITS, database="bench_consume"):
    """The daemons stand still while wb_queue is filled; the end is the last one's settled_at. asked: the replies answer jobs."""
    fresh_database(database, TEMPLATE_ASKED if asked else TEMPLATE)
    empty_queues()
    with Sink(delay_ms) as sink:
        daemons = [Daemon("agwb-consumer", database, sink.port, prefetch, limits) for _ in range(instances)]
        stand_still(daemons)
        tool("replies", 10001, replies, *(["jobs"] if asked else []))
        sql("checkpoint", database)
        meter, checked = Meter(daemons), checkpoints()
        meter.start()
        begun = time.time()
        go_on(daemons)
        wait_for(lambda: sink.took() >= replies, "the replies to be sent", 0.05)
        wait_for(lambda: int(sql("select count(*) from agwb.deliveries where state = 'sent'", database)) >= replies, "the settles", 0.1)
        result = meter.stop(replies)
        ended = float(sql("select extract(epoch from max(settled_at)) from agwb.deliveries", database))
        result.update(rate=replies / (ended - begun), peak_mb=max(peak_mb(d.pid) for d in daemons), checkpoints=checkpoints() - checked)
        for d in daemons:
            d.stop()
        came = sink.count()
        result.update(duplicates=came["count"] - came["distinct"], lost=replies - came["distinct"])
    check_work(database, replies, asked, [d.log for d in daemons])
    return result


def check_work(database, replies, asked, logs):
    """Nothing was left out that makes the work what it is: the ledger, the attempts, the jobs' ends and history, a line of the log for each."""
    lines = sum(open(log).read().count('"outcome":"DELIVERED"') for log in logs)
    attempts, complete, history = (int(x) for x in sql(
        "select (select count(*) from agwb.delivery_attempts), (select count(*) from ai_response_queue where status = 'complete'), "
        "(select count(*) from messages where sender_type = 'ai' and delivery_status = 'SENT')", database).split("|"))
    wanted = replies if asked else 0
    if (lines, attempts) != (replies, replies) or (asked and (complete, history) != (wanted, wanted)):
        sys.exit(f"bench: {replies} replies: {lines} lines, {attempts} attempts, {complete} jobs complete, {history} in the history")


def http_alone(prefetch=100, count=REPLIES):
    with Sink() as sink:
        return tool("web", sink.port, count, prefetch)


def rows_alone(rows=ROWS):
    fresh_database("bench_rows")
    add_jobs("bench_rows", rows)
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
    begun = [process_ms(d.pid) for d in daemons]
    time.sleep(seconds)
    used = [(process_ms(d.pid) - b) * 60 / seconds / 1000 for d, b in zip(daemons, begun)]
    for d in daemons:
        d.stop()
    return {"publisher_s": used[0], "consumer_s": used[1]}


def plans(rows=MILLION):
    """EXPLAIN (ANALYZE, BUFFERS) of every statement, beside a million finished rows: tests/integration/test_plans.c does it."""
    done = subprocess.run([f"{BUILD}/tests/integration/test_plans"], env=dict(os.environ, AGWB_PLAN_ROWS=str(rows)), capture_output=True, text=True)
    steps = re.findall(r"^plan: (\w+): blocks (\d+) small, (\d+) grown, (\d+) custom, (\d+) fresh$", done.stdout, re.M)
    bad = re.findall(r"^plan: (?:grows|read from end to end): .*$", done.stdout, re.M)
    for line in bad:
        say(f"    {line}")
    if done.returncode != 0 and not bad:
        sys.exit(f"bench: test_plans: {(done.stdout + done.stderr)[-2000:]}")
    return {"rows": rows, "statements": len(steps), "bad": len(bad),
            "blocks": {name: [int(x) for x in blocks] for name, *blocks in steps}}


# --- three nodes -----------------------------------------------------------------------------------------------------------

CLUSTER_PARTS = {
    "publish, 3 nodes": lambda: publish(counted=True),
    "latency, 3 nodes": publish_latency,
    "consume, 3 nodes": consume,
}


def declare_queues():
    for program in ("agwb-publisher", "agwb-consumer"):
        Daemon(program, fresh_database("bench_warm")).stop()


def check_members():
    """Every queue has a copy on each of the three nodes, or it would be no cluster that is measured."""
    done = subprocess.run([os.environ["AGWB_TEST_RABBITMQCTL"], "list_queues", "--formatter", "json", "name", "type", "members"],
                          check=True, capture_output=True, text=True)
    copies = {q["name"]: len(q["members"]) for q in json.loads(done.stdout)}
    if not copies or set(copies.values()) != {3}:
        sys.exit(f"bench: the queues' copies: {copies}")


def run_in_cluster():
    """Inside tests/faults/cluster: all of its parts once, as JSON."""
    os.makedirs(DIR, exist_ok=True)
    declare_queues()
    check_members()
    print(json.dumps({name: measure_quietly(measure) for name, measure in CLUSTER_PARTS.items()}))


def with_cluster():
    here = os.path.dirname(os.path.abspath(__file__))
    env = {k: v for k, v in os.environ.items() if not k.startswith("AGWB_TEST_AMQP")}
    done = subprocess.run([f"{here}/../faults/cluster", sys.executable, __file__, "--in-cluster"], env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit("bench: the cluster's parts failed")
    return json.loads(done.stdout)


# --- the run ---------------------------------------------------------------------------------------------------------------


def prepare():
    os.makedirs(DIR, exist_ok=True)
    sql(f"create database {TEMPLATE};")
    env = dict(os.environ, DATABASE_URL=url_of(TEMPLATE))
    subprocess.run([f"{BUILD}/agwb-publisher", "migrate"], env=env, check=True, stdout=subprocess.DEVNULL)
    sql(PEOPLE + "vacuum analyze;", TEMPLATE)
    sql(f"create database {TEMPLATE_ASKED} template {TEMPLATE};")
    sql(ASKED.format(count=2 * REPLIES) + "vacuum analyze;", TEMPLATE_ASKED)
    declare_queues()


def say(text):
    print(text, file=sys.stderr, flush=True)


def measure_quietly(measure):
    """With the share of the machine that others had: of the measured time, or of the whole part."""
    neighbours = Neighbours()
    result = measure()
    result.setdefault("disturbed", neighbours.share())
    return result


def run(parts, rounds, results):
    """Adds to {part: [result of each round]}; a round runs each part once, so that a slow minute meets all of them."""
    for number in rounds:
        for name in parts:
            measure, once = PARTS[name]
            if once and number > 0:
                continue
            begun = time.monotonic()
            came = measure() if name == "cluster" else {name: measure_quietly(measure)}
            for part, result in came.items():
                results.setdefault(part, []).append(result)
            worst = max(r["disturbed"] for r in came.values())
            say(f"  round {number + 1}: {name} ({time.monotonic() - begun:.0f} s{f', others used {worst:.0%}' if worst > verdict.QUIET else ''})")


def with_a_million():
    if not int(sql(f"select count(*) from pg_database where datname = '{TEMPLATE_OLD}'")):
        sql(f"create database {TEMPLATE_OLD} template {TEMPLATE};")
        sql(FINISHED + "vacuum analyze;", TEMPLATE_OLD)
    return publish(template=TEMPLATE_OLD)


# name: (what, only in the first round). What is compared stands side by side.
PARTS = {
    "broker alone": (broker_alone, False),
    "rows alone": (rows_alone, False),
    "publish": (publish, False),
    "publish, 200k backlog": (lambda: publish(200000), False),
    "publish, 20k again": (publish, False),
    "publish, a million finished": (with_a_million, False),
    "publish, 60k backlog": (lambda: publish(60000), True),
    "publish, a snapshot held": (lambda: publish(60000, held=True), True),
    "publish, 1 instance": (lambda: publish(2 * ROWS, 1, counted=True), False),
    "publish, 4 instances": (lambda: publish(2 * ROWS, 4, counted=True), False),
    "publish, 2 instances": (lambda: publish(2 * ROWS, 2, counted=True), False),
    "latency": (publish_latency, False),
    "http alone": (http_alone, False),
    "consume": (consume, False),
    "consume, answers to jobs": (lambda: consume(asked=True), False),
    "consume, default limits": (lambda: consume(asked=True, limits=""), False),
    "consume, 1 instance": (lambda: consume(2 * REPLIES), False),
    "consume, 4 instances": (lambda: consume(2 * REPLIES, instances=4), False),
    "consume, 2 instances": (lambda: consume(2 * REPLIES, instances=2), False),
    "consume 50 ms, 10": (lambda: consume(800, 10, 50), False),
    "consume 50 ms, 100": (lambda: consume(6000, 100, 50), False),
    "consume 50 ms, 500": (lambda: consume(15000, 500, 50), False),
    "cluster": (with_cluster, True),
    "idle": (idle, True),
    "plans": (plans, True),
}


def describe_machine():
    def first_line(*command):
        return subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[0]

    return {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "cores": os.cpu_count(), "kernel": os.uname().release,
            "postgresql": sql("show server_version"), "rabbitmq": first_line("dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"),
            "agwb": first_line(f"{BUILD}/agwb-publisher", "--version"), "promises": sql(PROMISES)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="parts by the beginning of their names, comma-separated")
    parser.add_argument("--in-cluster", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_cluster:
        return run_in_cluster()
    wanted = [w for w in options.only.split(",") if w] if options.only else [""]
    parts = [p for p in PARTS if any(p.startswith(w) for w in wanted)]
    begun = time.monotonic()
    prepare()
    machine = describe_machine()
    results = {}
    run(parts, range(options.rounds), results)
    judged = verdict.judge(results)
    unjudged = verdict.unjudged_parts(judged)
    if unjudged and options.rounds > 1:
        say("  two rounds more of what cannot be judged")
        run([p for p in parts if p in unjudged], range(options.rounds, options.rounds + 2), results)
        judged = verdict.judge(results)
    verdict.print_results(results)
    verdict.print_gates(judged)
    status = verdict.conclude(judged, results, options.rounds)
    with open(f"{BUILD}/bench.json", "w") as f:
        json.dump({"machine": machine, "rounds": options.rounds, "seconds": round(time.monotonic() - begun), "status": status,
                   "gates": judged, "results": results}, f, indent=1)
    plot.draw(results, f"{BUILD}/bench.svg")
    print(f"{BUILD}/bench.json, {BUILD}/bench.svg; {machine['promises']}; {time.monotonic() - begun:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
