#!/usr/bin/python3
"""The stand-in agents against a real broker: sandbox --no-database selftest.py BUILD/tests/agent

Prints "N passed, N failed".
"""

import copy
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import uuid

import pika

PROGRAM = sys.argv[1]
PIKA_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "agent_pika.py")
HOST, PORT = os.environ["AGWB_TEST_AMQP"].split(":")
DEADLINE_S = 20
SPEC_MEMBERS = {"messageId", "originalMessageId", "timestamp", "status", "contact", "response", "agentMetadata"}

REQUEST = {
    "messageId": "",
    "timestamp": 1795206460,
    "taskType": "conversation",
    "contact": {
        "remoteJid": "12025550143@s.whatsapp.net",
        "phoneNumber": "+12025550143",
        "name": 'Ann "Example"',
        "countryCode": "1",
    },
    "message": {"text": "", "messageId": "3EB0C767D26A", "timestamp": 1795206459},
    "context": {"conversationHistory": [], "userNotes": "", "sessionData": {}},
    "metadata": {"priority": "normal", "retryCount": 0, "maxRetries": 3, "deadline": 1795206760},
    "workspaceId": "8f14e45f-ceea-467f-a8f5-1a0f2d3c4b5a",
    "channel": "whatsapp",
}


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def wait_for(question, what):
    """Asks until the answer is true; a deadline, not a sleep, says when it is not."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        answer = question()
        if answer:
            return answer
        check(time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}")
        time.sleep(0.01)


class Broker:
    """The test's own connection."""

    def __init__(self):
        self.connection = pika.BlockingConnection(pika.ConnectionParameters(HOST, int(PORT)))
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()

    def declare(self):
        for name in ("dlx_agent", "dlx_webhook"):
            self.channel.exchange_declare(name, "fanout", durable=True)
            self.channel.queue_declare(name, durable=True)
            self.channel.queue_bind(name, name)
        for name, ttl, exchange in (("ag_queue", 300000, "dlx_agent"), ("wb_queue", 60000, "dlx_webhook")):
            arguments = {"x-message-ttl": ttl, "x-dead-letter-exchange": exchange}
            self.channel.queue_declare(name, durable=True, arguments=arguments)
        for name in ("ag_queue", "wb_queue", "dlx_agent", "dlx_webhook"):
            self.channel.queue_purge(name)

    def delete(self):
        for name in ("ag_queue", "wb_queue", "dlx_agent", "dlx_webhook"):
            self.channel.queue_delete(name)

    def publish(self, body):
        properties = pika.BasicProperties(delivery_mode=2)
        self.channel.basic_publish("", "ag_queue", body, properties)

    def ask(self, text):
        request = copy.deepcopy(REQUEST)
        request["messageId"] = str(uuid.uuid4())
        request["message"]["text"] = text
        self.publish(json.dumps(request).encode())
        return request["messageId"]

    def get(self, queue="wb_queue"):
        """The next message's properties and body."""

        def fetch():
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
            return (properties, body) if method else None

        return wait_for(fetch, f"a message in {queue}")

    def reply(self):
        properties, body = self.get()
        reply = json.loads(body)
        check(properties.message_id in (None, reply["messageId"]), "the property message_id is the reply's")
        return reply

    def count(self, queue):
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def wait_empty(self, queue="ag_queue"):
        """Nothing ready; what a consumer holds unacked comes back when it goes."""
        wait_for(lambda: self.count(queue) == 0, f"{queue} is empty")


class Agent:
    def __init__(self, *options, program=PROGRAM):
        self.journal_path = tempfile.mktemp(prefix="journal-", dir=os.environ["AGWB_TEST_DIR"])
        command = [program, *options]
        if program == PROGRAM:
            command += ["--journal", self.journal_path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        check(self.process.stdout.readline() == "ready\n", "the agent says ready")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        errors = self.process.communicate()[1]
        check("Sanitizer" not in errors and "runtime error" not in errors, errors)

    def journal(self):
        with open(self.journal_path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def end(self, wanted=0):
        self.process.send_signal(signal.SIGTERM)
        self.wait(wanted)

    def wait(self, wanted):
        status = self.process.wait(DEADLINE_S)
        check(status == wanted, f"exit status {status}, wanted {wanted}")


# --- the C program ----------------------------------------------------------------------------------------------


def test_echo(broker):
    with Agent() as agent:
        asked = broker.ask("hello")
        properties, body = broker.get()
        reply = json.loads(body)
        check(set(reply) == SPEC_MEMBERS, "only the specification's members")
        check(reply["originalMessageId"] == asked and reply["status"] == "success", "original id and status")
        check(reply["response"] == {"text": f"Re: hello #{asked}", "type": "text", "attachments": []}, "response")
        wanted = {"remoteJid": "12025550143@s.whatsapp.net", "phoneNumber": "+12025550143", "name": 'Ann "Example"'}
        check(reply["contact"] == wanted, "contact")
        check(uuid.UUID(reply["messageId"]).version == 4, "a random id")
        check(properties.delivery_mode == 2 and properties.content_type == "application/json", "properties")
        check(properties.message_id == reply["messageId"], "message_id")
        agent.end()
        check(broker.count("ag_queue") == 0, "the request was acked")
        line = agent.journal()[0]
        check(line["request"] == asked and line["reply"] == reply["messageId"], "journal ids")
        check(line["event"] == "confirmed" and line["received_us"] <= line["published_us"] <= line["mono_us"], "times")


def test_echo_ids(broker):
    with Agent("--echo-ids"):
        broker.ask("hello")
        reply = broker.reply()
        check(reply["workspaceId"] == REQUEST["workspaceId"] and reply["channel"] == "whatsapp", "ids")
        check(reply["metadata"] == {"deadline": 1795206760}, "deadline")


def test_long_text(broker):
    with Agent():
        asked = broker.ask("\u00e9" * 40000)
        text = broker.reply()["response"]["text"]
        check(text == "Re: " + "\u00e9" * 30000 + f" #{asked}", "cut between characters")


def test_invalid_requests_are_rejected(broker):
    bad = [b"{", b"{}", b"\xff", b"", b"x" * 300000, json.dumps({**REQUEST, "messageId": ""}).encode()]
    with Agent() as agent:
        for body in bad:
            broker.publish(body)
            check(broker.get("dlx_agent")[1] == body, "in the dead-letter queue, byte for byte")
        broker.ask("still alive")
        broker.reply()
        check([line["event"] for line in agent.journal()].count("invalid") == len(bad), "journal")


def test_statuses(broker):
    with Agent():
        broker.ask("please [error NO_MODEL]")
        reply = broker.reply()
        check(reply["status"] == "error" and reply["error"]["code"] == "NO_MODEL", "error")
        check("text" not in reply["response"], "an error without text")
        broker.ask("[error-text X]")
        reply = broker.reply()
        check(reply["error"]["code"] == "X" and reply["response"]["text"].startswith("Re: "), "an error with text")
        broker.ask("[partial]")
        check(broker.reply()["status"] == "partial", "partial")
        broker.ask("[image https://example.com/a.png] [no marker of ours]")
        response = broker.reply()["response"]
        check(response["type"] == "image", "image")
        check(response["attachments"] == [{"url": "https://example.com/a.png"}], "attachment")
        broker.ask("[document https://example.com/a.pdf]")
        check(broker.reply()["response"]["attachments"][0]["fileName"] == "document.pdf", "document")


def test_several_replies(broker):
    with Agent():
        broker.ask("[replies 3]")
        replies = [broker.reply() for _ in range(3)]
        check(len({reply["messageId"] for reply in replies}) == 3, "three ids")
        check(len({reply["response"]["text"] for reply in replies}) == 3, "three texts")
        check(len({reply["originalMessageId"] for reply in replies}) == 1, "one request")
        broker.ask("[duplicate]")
        first, second = broker.get()[1], broker.get()[1]
        check(first == second, "the same bytes twice")
        broker.ask("[conflict]")
        first, second = broker.reply(), broker.reply()
        check(first["messageId"] == second["messageId"], "the same id")
        check(first["response"]["text"] != second["response"]["text"], "another text")
        broker.wait_empty("wb_queue")


def test_bad_output(broker):
    with Agent() as agent:
        broker.ask("[malformed]")
        body = broker.get()[1]
        try:
            json.loads(body)
            raise AssertionError("malformed output is JSON")
        except ValueError:
            pass
        broker.ask("[incomplete]")
        check("status" not in json.loads(broker.get()[1]), "incomplete")
        broker.ask("[silent]")
        broker.ask("[reject]")
        broker.get("dlx_agent")
        agent.end()
        check(broker.count("wb_queue") == 0 and broker.count("ag_queue") == 0, "no reply, and both settled")


def test_prefetch_is_the_number_at_work(broker):
    for prefetch, least, most in (("1", 0.9, 5), ("3", 0.3, 0.8)):
        with Agent("--prefetch", prefetch, "--delay-ms", "300"):
            started = time.monotonic()
            for _ in range(3):
                broker.ask("hello")
            for _ in range(3):
                broker.reply()
            took = time.monotonic() - started
            check(least <= took < most, f"prefetch {prefetch} took {took}")


def test_deterministic_ids(broker):
    namespace = uuid.UUID("6c1f7a52-0d0e-5b7c-9a43-2f4d1b8e7a90")
    with Agent("--reply-id", "v5"):
        asked = broker.ask("[replies 2]")
        ids = [broker.reply()["messageId"] for _ in range(2)]
        check(ids == [str(uuid.uuid5(namespace, f"{asked}/{n}")) for n in (1, 2)], "uuid v5")


def test_repeatable_replies(broker):
    bodies = []
    request = json.dumps({**REQUEST, "messageId": str(uuid.uuid4())}).encode()
    for _ in range(2):
        with Agent("--repeatable"):
            broker.publish(request)
            bodies.append(broker.get()[1])
    check(bodies[0] == bodies[1], "the same bytes from another process")


def test_crash_after_the_reply(broker):
    asked = None
    with Agent("--reply-id", "v5") as agent:
        asked = broker.ask("[crash-after]")
        first = broker.reply()
        agent.wait(70)
    with tempfile.NamedTemporaryFile("w", dir=os.environ["AGWB_TEST_DIR"]) as script:
        json.dump({"rules": [{"times": -1, "markers": ""}]}, script)
        script.flush()
        with Agent("--reply-id", "v5", "--script", script.name) as agent:
            second = broker.reply()
            check(first["originalMessageId"] == second["originalMessageId"] == asked, "the same request again")
            check(first["messageId"] == second["messageId"], "the same reply id")
            agent.end()
            check(agent.journal()[0]["redelivered"], "redelivered")


def test_crash_before_the_reply(broker):
    with Agent() as agent:
        broker.ask("[crash]")
        agent.wait(70)
    wait_for(lambda: broker.count("ag_queue") == 1, "the request is back")
    check(broker.count("wb_queue") == 0, "no reply")


def test_script(broker):
    with tempfile.NamedTemporaryFile("w", dir=os.environ["AGWB_TEST_DIR"]) as script:
        rules = [{"text": "order", "times": 2, "markers": "[error BUSY]"}, {"text": "never", "markers": "[silent]"}]
        json.dump({"rules": rules}, script)
        script.flush()
        with Agent("--script", script.name):
            statuses = []
            for text in ("order 1", "hello", "order 2", "order 3"):
                broker.ask(text)
                statuses.append(broker.reply()["status"])
            check(statuses == ["error", "success", "error", "success"], statuses)
    for bad in ("[]", '{"rules":[{"markers":"[nonsense]"}]}', '{"rules":[{"marker":"[silent]"}]}', '{"rules":[{}]}'):
        with tempfile.NamedTemporaryFile("w", dir=os.environ["AGWB_TEST_DIR"]) as script:
            script.write(bad)
            script.flush()
            run = subprocess.run([PROGRAM, "--script", script.name], capture_output=True, timeout=DEADLINE_S, check=False)
            check(run.returncode == 1 and b"script" in run.stderr, f"{bad} is refused: {run}")


def test_stop_gives_back_what_is_not_answered(broker):
    with Agent("--prefetch", "5", "--delay-ms", "60000") as agent:
        for _ in range(4):
            broker.ask("hello")
        broker.wait_empty()
        started = time.monotonic()
        agent.end()
        check(time.monotonic() - started < 4, "at once")
    wait_for(lambda: broker.count("ag_queue") == 4, "all four are back")
    check(broker.count("wb_queue") == 0, "no reply")


def test_count(broker):
    with Agent("--count", "2") as agent:
        for _ in range(3):
            broker.ask("hello")
        agent.wait(0)
    check(broker.count("wb_queue") == 2, "two replies")
    wait_for(lambda: broker.count("ag_queue") == 1, "the third request is back")


def test_reply_queue_missing_for_a_while(broker):
    broker.channel.queue_delete("wb_queue")
    with Agent() as agent:
        broker.ask("hello")
        returned = lambda: [line for line in agent.journal() if line["event"] == "returned"]
        wait_for(lambda: os.path.exists(agent.journal_path) and len(returned()) >= 2, "the reply is returned")
        broker.declare()
        broker.reply()
        agent.end()
        check(agent.journal()[-1]["event"] == "confirmed" and len({line["reply"] for line in agent.journal()}) == 1, "one id")


def test_usage(broker):
    for options in (["--prefetch", "0"], ["--reply-id", "v1"], ["--nonsense"], ["stray"], ["--count", "x"]):
        run = subprocess.run([PROGRAM, *options], capture_output=True, timeout=DEADLINE_S, check=False)
        check(run.returncode == 64 and b"usage" in run.stderr, options)
    check(broker.count("ag_queue") == 0, "nothing happened")


def test_throughput(broker):
    with Agent("--prefetch", "200") as agent:
        started = time.monotonic()
        for _ in range(2000):
            broker.ask("hello")
        wait_for(lambda: broker.count("wb_queue") == 2000, "2000 replies")
        print(f"    2000 requests in {time.monotonic() - started:.1f} s, with publishing them one by one")
        agent.end()


# --- the Python program -----------------------------------------------------------------------------------------


def pika_agent(*options):
    return Agent(*options, program=PIKA_PROGRAM)


def test_pika_declares_the_specification(broker):
    broker.delete()
    with pika_agent("--declare", "classic"):
        broker.declare()  # a 406 if the arguments differed
        asked = broker.ask("hello")
        reply = broker.reply()
        check(set(reply) == SPEC_MEMBERS, "only the specification's members")
        check(reply["response"]["text"] == f"Re: hello #{asked}", "text")


def test_pika_passive(broker):
    with pika_agent("--declare", "passive", "--count", "2") as agent:
        broker.publish(b"no JSON")
        broker.get("dlx_agent")
        broker.ask("hello")
        broker.reply()
        agent.wait(0)
    broker.delete()
    run = subprocess.run([PIKA_PROGRAM], capture_output=True, timeout=DEADLINE_S, check=False)
    check(run.returncode != 0 and b"404" in run.stderr, "a missing queue ends it")


def test_pika_ends_on_sigterm(broker):
    with pika_agent() as agent:
        agent.end()
    check(broker.count("ag_queue") == 0, "nothing happened")


# --- the last one, since it ends the test's own connection --------------------------------------------------------


def test_broker_restart(broker):
    with Agent() as agent:
        broker.ask("before")
        broker.reply()
        subprocess.run([os.environ["AGWB_TEST_BROKER_CTL"], "kill"], check=True)
        subprocess.run([os.environ["AGWB_TEST_BROKER_CTL"], "start"], check=True)
        again = Broker()
        asked = again.ask("after")
        # What was acked just before the crash may come again.
        wait_for(lambda: again.reply()["originalMessageId"] == asked, "answered after the restart")
        agent.end()


def main():
    passed = failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        broker = Broker()
        broker.declare()
        try:
            test(broker)
            passed += 1
        except Exception:  # pylint: disable=broad-except
            print(f"FAILED {name}")
            traceback.print_exc(file=sys.stdout)
            failed += 1
        if broker.connection.is_open:
            try:
                broker.connection.close()
            except pika.exceptions.AMQPError:
                pass
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
