#!/usr/bin/python3
"""Runs the daemons with one allocation of theirs failing, for many different ones: each process must end orderly, and nothing may
be lost or sent twice over it.

sandbox alloc_daemons.py BUILD [RUNS [SEED]]   RUNS (default 40) for each of: consumer, publisher, check, dlq list

A run gets two messages of work, is let go on until they are done or it has ended by itself, and is then told to end. Orderly: status 0
(the failure was dealt with), or 75 (of a command that needs a server also 69) and a line that says why. In half of the runs all later allocations fail too. A crash inside
a library that does not look at what malloc gave it is counted apart; one that we took part in is a failure. At the end the daemons run
with memory, and every message is accounted for.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pika

BUILD = sys.argv[1]
RUNS = int(sys.argv[2]) if len(sys.argv) > 2 else 40
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else 1
DIR = os.path.join(os.environ["AGWB_TEST_DIR"], "alloc")
PATIENCE_S, SETTLE_S = 20, 60

FIXTURE = """
insert into workspaces (id, name) values ('00000000-0000-4000-8000-000000000001', 'Workspace');
insert into customer_profiles (id, workspace_id, name, phone_number, remote_jid, country_code)
  values ('00000000-0000-4000-8001-000000000001', '00000000-0000-4000-8000-000000000001', 'Contact', '+12025550143',
          '12025550143@s.whatsapp.net', '1');
insert into conversations (id, workspace_id, customer_id, channel_type, session_data)
  values ('00000000-0000-4000-8002-000000000001', '00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8001-000000000001',
          'whatsapp', '{}');
"""
JOB = """
with m as (insert into messages (conversation_id, sender_type, content)
           values ('00000000-0000-4000-8002-000000000001', 'user', 'question') returning id)
insert into ai_response_queue (workspace_id, contact_id, conversation_id, message_id)
  select '00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8001-000000000001', '00000000-0000-4000-8002-000000000001', m.id
  from m;
"""
CONFIG = """
rabbitmq: {{ hosts = ["{amqp}"]; }};
database: {{ url = "{database}"; poll_interval_ms = 200; }};
publisher: {{ metrics_listen = "127.0.0.1:0"; lease_ms = 2000; }};
consumer: {{ metrics_listen = "127.0.0.1:0"; lease_ms = 8000; uncertain_wait_ms = 100; }};
limits: {{ jobs_in_flight = 0; jobs_per_minute = 0; contact_per_minute = 0; }};
retry: {{ delivery: {{ tries = 20; delay_ms = 100; multiplier = 1.0; }}; job: {{ tries = 20; delay_ms = 100; multiplier = 1.0; }}; }};
daemon: {{ drain_timeout_ms = 3000; }};
log: {{ format = "json"; }};
channels: {{ accounts = (
  {{ name = "wa"; provider = "wasender"; channel = "whatsapp"; base_url = "http://127.0.0.1:{port}"; token = "t"; timeout_ms = 1000;
     default = true; }} ); }};
"""


def sql(text):
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", text, os.environ["AGWB_TEST_DATABASE_URL"]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def wait_until(seconds, question):
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Broker:
    def __init__(self):
        host, port = os.environ["AGWB_TEST_AMQP"].split(":")
        self.parameters = pika.ConnectionParameters(host=host, port=int(port), heartbeat=0)
        self.connection = pika.BlockingConnection(self.parameters)
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.replies = []

    def publish_reply(self):
        name = f"reply-{len(self.replies)}"
        body = {"messageId": name, "status": "success", "contact": {"phoneNumber": f"+1202555{100 + len(self.replies) % 100:04}"},
                "response": {"text": name, "type": "text"}}
        self.channel.basic_publish("", "wb_queue", json.dumps(body).encode(), mandatory=True)
        self.replies.append(name)

    def requests(self):
        """The ids in ag_queue, which is emptied."""
        ids = []
        while (message := self.channel.basic_get("ag_queue", auto_ack=True))[0] is not None:
            ids.append(message[1].message_id)
        return ids


class Provider:
    def __init__(self):
        self.journal = os.path.join(DIR, "provider.journal")
        self.process = subprocess.Popen([f"{BUILD}/tests/provider", "--port", "0", "--journal", self.journal], stdout=subprocess.PIPE,
                                        text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def texts(self):
        with open(self.journal, encoding="utf-8") as f:
            entries = [json.loads(line) for line in f]
        return [entry["text"] for entry in entries if entry["accepted"]]


class Run:
    """One process with its allocation to fail (0 = none)."""

    def __init__(self, arguments, nth, all_after):
        self.log = os.path.join(DIR, "run.log")
        self.report = os.path.join(DIR, "run.count")
        if os.path.exists(self.report):
            os.unlink(self.report)
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "AGWB_TEST_DIR") if name in os.environ}
        environment.update(LD_PRELOAD=os.path.abspath(f"{BUILD}/tests/alloc_fail.so"), ALLOC_FAIL_REPORT=self.report,
                           ALLOC_FAIL_AT=str(nth))
        if all_after:
            environment["ALLOC_FAIL_ALL"] = "1"
        command = [f"{BUILD}/{arguments[0]}", "-c", os.path.join(DIR, "agwb.cfg"), *arguments[1:]]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def has_ended(self):
        return self.process.poll() is not None

    def finish(self):
        """The exit status; None when it had to be killed."""
        if not self.has_ended():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def count(self):
        with open(self.report, encoding="ascii") as f:
            return int(f.read())

    def words(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()


class Kind:
    """What is run, and how it may end."""

    def __init__(self, name, arguments, orderly, give_work, is_done):
        self.name, self.arguments, self.orderly, self.give_work, self.is_done = name, arguments, orderly, give_work, is_done
        self.ends, self.crashes = {}, {}
        self.failures = []

    def run(self, nth, all_after):
        self.give_work()
        run = Run(self.arguments, nth, all_after)
        wait_until(PATIENCE_S, lambda: run.has_ended() or self.is_done())
        return run, run.finish()

    def sample(self, chance):
        run, status = self.run(0, False)
        if status != 0:
            raise SystemExit(f"{self.name} does not even run with memory: {status}\n{run.words()}")
        total = run.count()
        for i in range(RUNS):
            # every part of the run, and within a part any allocation
            nth = 1 + (i * total + chance.randrange(total)) // RUNS
            self.judge(nth, i % 2 == 1)
        print(f"{'FAILED' if self.failures else 'ok':8} {self.name:10} {RUNS} of {total} allocations failed, exit status "
              + ", ".join(f"{status}: {n}" for status, n in sorted(self.ends.items(), key=str))
              + "".join(f"; {n} inside {library}" for library, n in sorted(self.crashes.items())), flush=True)

    def judge(self, nth, all_after):
        run, status = self.run(nth, all_after)
        self.ends[status] = self.ends.get(status, 0) + 1
        words = run.words()
        has_reason = re.search(r"memory|\"level\":\"error\"|^agwb-\w+: ", words, re.M) is not None
        if status in self.orderly and (status == 0 or has_reason):
            return
        crash = re.search(r"^crashed in \S*/(lib\S+)$", words, re.M)
        if crash:
            self.crashes[crash[1]] = self.crashes.get(crash[1], 0) + 1
            return
        self.failures.append(nth)
        print(f"  {self.name}: allocation {nth}{' and all later' if all_after else ''}: status {status}\n    | "
              + "\n    | ".join(words.splitlines()[-6:]), flush=True)


def settled():
    return sql("select count(*) from agwb.deliveries where state in ('ready', 'sending', 'uncertain')") == "0"


def account_for(broker, provider):
    """What is wrong in the end, as lines."""
    wrong = []
    rows = dict(line.split("|") for line in sql("select message_id, state from agwb.deliveries").splitlines())
    texts = provider.texts()
    for name in broker.replies:
        state, sent = rows.get(name, "lost"), texts.count(name)
        if (state, sent) not in {("sent", 1), ("parked", 0), ("parked", 1)}:
            wrong.append(f"{name}: {state} in the ledger, sent {sent} times")
    states = {state: list(rows.values()).count(state) for state in set(rows.values())}
    print(f"replies: {len(broker.replies)} published, {states}, {len(texts)} sent")
    jobs = set(sql("select id from ai_response_queue").split())
    requests = broker.requests()
    wrong += [f"job {job}: not in ag_queue" for job in jobs - set(requests)]
    print(f"requests: {len(jobs)} jobs, {len(requests)} in ag_queue, {len(requests) - len(set(requests))} twice with the same id")
    return wrong


def main():
    os.makedirs(DIR, exist_ok=True)
    provider = Provider()
    os.umask(0o077)
    with open(os.path.join(DIR, "agwb.cfg"), "w", encoding="utf-8") as f:
        f.write(CONFIG.format(amqp=os.environ["AGWB_TEST_AMQP"], database=os.environ["AGWB_TEST_DATABASE_URL"], port=provider.port))
    subprocess.run([f"{BUILD}/agwb-publisher", "-c", os.path.join(DIR, "agwb.cfg"), "migrate"], check=True, capture_output=True)
    sql(FIXTURE)
    broker = Broker()

    def idle():
        pass

    def publish_replies():
        for _ in range(2):
            broker.publish_reply()

    def replies_are_done():
        return sql("select count(*) from agwb.deliveries") == str(len(broker.replies)) and settled()

    def add_jobs():
        sql(JOB * 2)

    def jobs_are_done():
        return sql("select count(*) from ai_response_queue where status in ('pending', 'error')") == "0"

    consumer = Kind("consumer", ["agwb-consumer"], {0, 75}, publish_replies, replies_are_done)
    publisher = Kind("publisher", ["agwb-publisher"], {0, 75}, add_jobs, jobs_are_done)
    check = Kind("check", ["agwb-consumer", "check", "-v"], {0, 75}, idle, lambda: False)
    dlq = Kind("dlq list", ["agwb-consumer", "dlq", "list"], {0, 69, 75}, idle, lambda: False)
    publisher.give_work = idle
    publisher.run(0, False)  # declares the queues
    publisher.give_work = add_jobs
    chance = random.Random(SEED)
    kinds = [check, dlq, publisher, consumer]
    for kind in kinds:
        kind.sample(chance)

    last = [Run(kind.arguments, 0, False) for kind in (consumer, publisher)]
    in_time = wait_until(SETTLE_S, lambda: replies_are_done() and jobs_are_done())
    statuses = [run.finish() for run in last]
    wrong = account_for(broker, provider)
    if not in_time or statuses != [0, 0]:
        wrong.append(f"with memory again: settled {in_time}, statuses {statuses}")
    provider.process.terminate()
    for line in wrong:
        print(f"  {line}")
    failed = sum(len(kind.failures) for kind in kinds) + len(wrong)
    print(f"{RUNS * len(kinds) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
