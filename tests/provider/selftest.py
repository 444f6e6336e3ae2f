#!/usr/bin/python3
"""The stand-in provider, asked by Python's own HTTP client: selftest.py BUILD/tests/provider

Prints "N passed, N failed".
"""

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse

PROGRAM = sys.argv[1]
DEADLINE_S = 20
JSON = {"Content-Type": "application/json"}
KEY = {"Authorization": "Bearer key-1", **JSON}
MESSAGE = {"to": "+12025550143", "text": "hello"}
SMS = {
    "to": "+12025550143",
    "message": "hello",
    "workspaceId": "w",
    "contactId": "c",
    "metadata": {"contactId": "c", "isAiGenerated": True, "aiLogId": "l"},
}


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def wait_for(question, what):
    deadline = time.monotonic() + DEADLINE_S
    while not question():
        check(time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}")
        time.sleep(0.01)


class Provider:
    def __init__(self, folder, *options):
        self.journal_path = os.path.join(folder, "journal.ndjson")
        command = [PROGRAM, "--journal", self.journal_path, "--token", "key-1", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        errors = self.process.communicate(timeout=DEADLINE_S)[1]
        check(self.process.returncode == 0 and errors == "", f"status {self.process.returncode}: {errors}")

    def connect(self, timeout=5):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, connection=None, timeout=5):
        """Status, headers, body bytes."""
        connection = connection or self.connect(timeout)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    def send(self, body, headers=None, path="/api/send-message", **more):
        if not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        return self.request("POST", path, body, KEY if headers is None else headers, **more)

    def status(self, body, **more):
        return self.send(body, **more)[0]

    def script(self, *rules):
        status, _, body = self.request("POST", "/_control/script", json.dumps({"rules": rules}))
        check(status == 200, body)

    def stats(self):
        return json.loads(self.request("GET", "/_control/stats")[2])

    def journal(self, query=""):
        return json.loads(self.request("GET", "/_control/journal" + query)[2])

    def last(self):
        return self.journal(f"?after={self.stats()['seq'] - 1}")[0]

    def send_failing(self, wanted, action, timeout=1):
        """One request that meets the action and fails as wanted."""
        self.script({"action": action})
        try:
            self.send(MESSAGE, timeout=timeout)
        except wanted:
            return
        raise AssertionError(f"{action} does not fail")


# --- what the providers take and refuse -------------------------------------------------------------------------


def test_wasender_takes(p):
    status, headers, body = p.send(MESSAGE)
    wanted = {"success": True, "data": {"msgId": 100000, "jid": "+12025550143", "status": "in_progress"}}
    check(status == 200 and json.loads(body) == wanted, body)
    check(headers["X-RateLimit-Limit"] == "256" and headers["Content-Type"] == "application/json", headers)
    for good in (
        {"to": "123456789-987654321@g.us", "text": "x"},
        {"to": "120363000000000000@newsletter", "text": "x"},
        {"to": "@jane_doe", "text": "x"},
        {"to": "+12025550143", "imageUrl": "https://example.com/a.png", "text": "caption"},
        {"to": "+12025550143", "documentUrl": "https://example.com/a.pdf", "fileName": "a.pdf"},
        {"to": "+12025550143", "location": {"latitude": 1.5, "longitude": -2}},
        {"to": "+12025550143", "contact": {"name": "A", "phone": "+12025550144"}},
        {**MESSAGE, "imageUrl": None, "replyTo": 5, "viewOnce": False, "mentions": ["12025550144@s.whatsapp.net"]},
    ):
        check(p.status(good) == 200, good)


def test_wasender_refuses(p):
    to, url = {"to": "+12025550143"}, "https://example.com/a"
    for bad, member in (
        ({"text": "x"}, "to"),
        ({"to": 5, "text": "x"}, "to"),
        ({"to": "12025550143", "text": "x"}, "to"),
        ({"to": "12025550143@s.whatsapp.net", "text": "x"}, "to"),
        ({"to": "98711384416410@lid", "text": "x"}, "to"),
        ({"to": "+02025550143", "text": "x"}, "to"),
        ({"to": "+1202555014312345", "text": "x"}, "to"),
        (to, "text"),
        ({**to, "text": " "}, "text"),
        ({**to, "text": 7}, "text"),
        ({**to, "imageUrl": "ftp://example.com/a"}, "imageUrl"),
        ({**to, "imageUrl": url, "documentUrl": url}, "content"),
        ({**to, "location": {"latitude": 1}}, "location"),
        ({**MESSAGE, "replyTo": "5"}, "replyTo"),
        ({**MESSAGE, "viewOnce": 1}, "viewOnce"),
        ({**MESSAGE, "mentions": ["a", 1]}, "mentions"),
        ({**MESSAGE, "contact": {"name": "x"}}, "contact"),
        ({**MESSAGE, "stickerUrl": url}, "text"),
        ({**MESSAGE, "fileName": 3}, "fileName"),
    ):
        status, _, body = p.send(bad)
        answer = json.loads(body)
        check(status == 422 and answer["success"] is False and member in answer["errors"], (bad, body))


def test_wasender_authentication_and_form(p):
    for headers in (JSON, {**KEY, "Authorization": "Bearer key-2"}, {**KEY, "Authorization": "Basic key-1"}):
        status, _, body = p.send(MESSAGE, headers)
        check(status == 401 and json.loads(body) == {"success": False, "message": "Invalid API key"}, body)
        check(not p.last()["auth"] and not p.last()["accepted"], "journal")
    check(p.status(MESSAGE, headers={**KEY, "Content-Type": "text/plain"}) == 415, "content type")
    check(p.status(MESSAGE, headers={**KEY, "Content-Type": "application/json; charset=utf-8"}) == 200, "charset")
    check(p.status('{"to"') == 400 and p.status("[1]") == 400 and p.status("") == 400, "no JSON object")
    status, headers, _ = p.request("GET", "/api/send-message", headers=KEY)
    check(status == 405 and headers["Allow"] == "POST", "method")
    check(p.status(MESSAGE, path="/api/send") == 404, "path")
    check(p.status('{"text":"' + "x" * 300000 + '"}') == 413, "size")


def test_sms_gateway(p):
    status, _, body = p.send(SMS, JSON, "/send-sms")
    check(status == 200 and json.loads(body) == {"success": True, "messageId": "sms-000001"}, body)
    for member in SMS:
        without = {name: value for name, value in SMS.items() if name != member}
        for bad in (without, {**SMS, member: 5}, {**SMS, member: None}):
            status, _, body = p.send(bad, JSON, "/send-sms")
            answer = json.loads(body)
            check(status == 400 and answer["success"] is False and member in answer["error"], (bad, body))
    for bad in ({"contactId": "d", "isAiGenerated": True}, {"contactId": "c", "isAiGenerated": "yes"}, {"contactId": "c"}):
        check(p.status({**SMS, "metadata": bad}, headers=JSON, path="/send-sms") == 400, bad)
    check(p.status({**SMS, "to": "2025550143"}, headers=JSON, path="/send-sms") == 400, "to")
    check(p.status({**SMS, "message": ""}, headers=JSON, path="/send-sms") == 400, "message")


CLOUD = "/v25.0/106540352242922/messages"
CLOUD_TEXT = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": "12025550143", "type": "text"}


def cloud(**more):
    return {**CLOUD_TEXT, "text": {"body": "hello"}, **more}


def cloud_file(kind, **file):
    return {**CLOUD_TEXT, "type": kind, kind: file}


def test_cloud_takes(p):
    url = "https://example.com/a"
    status, _, body = p.send(cloud(), path=CLOUD)
    answer = json.loads(body)
    check(status == 200 and answer["messages"][0]["id"].startswith("wamid."), body)
    check(answer["contacts"] == [{"input": "12025550143", "wa_id": "12025550143"}], body)
    check(p.last()["provider"] == "cloud" and p.last()["id"] == answer["messages"][0]["id"], p.last())
    check(p.last()["to"] == "12025550143" and p.last()["text"] == "hello" and p.last()["accepted"], p.last())
    for good in (
        cloud(to="+12025550143"),
        cloud(text={"body": "x" * 4096, "preview_url": False}),
        cloud(context={"message_id": "wamid.x"}, biz_opaque_callback_data="x" * 512),
        cloud_file("image", link=url, caption="x" * 1024),
        cloud_file("document", id="4490709327384033", filename="a.pdf"),
    ):
        check(p.status(good, path=CLOUD) == 200, good)


def test_cloud_refuses(p):
    url = "https://example.com/a"
    without_type = cloud()
    del without_type["type"]
    for bad, code in (
        ({"to": "12025550143"}, 100),
        (cloud(recipient_type="person"), 131009),
        (cloud(to="12025550143@s.whatsapp.net"), 131009),
        (cloud(to=12025550143), 131009),
        (without_type, 131008),
        ({**CLOUD_TEXT}, 131008),
        (cloud(text={}), 131008),
        (cloud(text={"body": ""}), 100),
        (cloud(text={"body": "x" * 4097}), 100),
        (cloud(text={"body": "\U0001f600" * 2049}), 100),
        (cloud(text={"body": "x", "preview_url": "no"}), 100),
        (cloud(text={"body": "x", "bold": True}), 100),
        (cloud(extra=1), 100),
        (cloud(context={}), 131009),
        (cloud(biz_opaque_callback_data="x" * 513), 100),
        (cloud_file("image", link=url, id="5"), 131009),
        (cloud_file("image"), 131009),
        (cloud_file("image", link=url, filename="a"), 100),
        (cloud_file("document", link="ftp://x"), 131009),
        (cloud_file("document", link=url, caption="x" * 1025), 100),
        (cloud_file("sticker", link=url), 131051),
    ):
        status, _, body = p.send(bad, path=CLOUD)
        check(status == 400 and json.loads(body)["error"]["code"] == code, (bad, body))
    status, _, body = p.send(cloud(), JSON, CLOUD)
    check(status == 401 and json.loads(body)["error"]["code"] == 190 and not p.last()["auth"], body)
    for path in ("/v25/1/messages", "/v25.0/+1/messages", "/v25.0//messages", "/v25.0/1/media", "/25.0/1/messages"):
        check(p.status(cloud(), path=path) == 404, path)


TWILIO_SID = "AC" + "0" * 32
TWILIO = f"/2010-04-01/Accounts/{TWILIO_SID}/Messages.json"
FORM = {"To": "+12025550143", "From": "+15005550006", "Body": "a & b = \u00e9\n+1"}


def twilio(p, form, user=TWILIO_SID, password="key-1", kind="application/x-www-form-urlencoded"):
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Authorization": "Basic " + token, "Content-Type": kind}
    body = form if isinstance(form, str) else urllib.parse.urlencode(form)
    status, _, answer = p.send(body.encode(), headers, TWILIO)
    return status, json.loads(answer)


def test_twilio_takes(p):
    status, answer = twilio(p, FORM)
    check(status == 201 and answer["body"] == FORM["Body"] and answer["status"] == "queued", answer)
    check(len(answer["sid"]) == 34 and answer["sid"] == p.last()["id"] and answer["to"] == FORM["To"], answer)
    check(p.last()["to"] == FORM["To"] and p.last()["text"] == FORM["Body"] and p.last()["auth"], p.last())
    service = {"To": "+12025550143", "MessagingServiceSid": "MG" + "a" * 32, "Body": "x" * 1600}
    check(twilio(p, service, "SK" + "1" * 32)[1]["status"] == "accepted", "a service, an API key")
    for good in (
        {**FORM, "From": "Shop 24"},
        {**FORM, "From": "12345"},
        {**FORM, "StatusCallback": "https://example.com/x?a=1", "ValidityPeriod": "600"},
        {"To": "whatsapp:+12025550143", "From": "whatsapp:+15005550006", "MediaUrl": "https://example.com/a"},
    ):
        check(twilio(p, good)[0] == 201, good)


def test_twilio_refuses(p):
    whatsapp = {"To": "whatsapp:+12025550143", "From": "whatsapp:+15005550006", "Body": "x"}
    for bad, code in (
        ({"From": "+15005550006", "Body": "x"}, 21604),
        ({**FORM, "To": "2025550143"}, 21211),
        ({**FORM, "To": "whatsapp:12025550143"}, 21211),
        ({"To": "+12025550143", "Body": "x"}, 21603),
        ({**FORM, "From": "a name too long"}, 21212),
        ({**FORM, "MessagingServiceSid": "MG1"}, 21701),
        ({**whatsapp, "From": "+15005550006"}, 63007),
        ({**FORM, "From": "whatsapp:+15005550006"}, 63007),
        ({**FORM, "Body": ""}, 21619),
        ({**FORM, "Body": "x" * 1601}, 21617),
        ({**FORM, "MediaUrl": "file:///a"}, 21620),
        ({**FORM, "StatusCallback": "example.com"}, 21609),
        ({**FORM, "ValidityPeriod": "0"}, 20001),
        ({**FORM, "Text": "x"}, 20001),
        ("To=%2B12025550143&To=%2B12025550143", 20001),
        ("To=%2", 20001),
        ("To=%zz", 20001),
        ("To=a b", 20001),
        ("To", 20001),
    ):
        status, answer = twilio(p, bad)
        check(status == 400 and answer["code"] == code and answer["status"] == 400, (bad, answer))
    for password, user in (("key-2", TWILIO_SID), ("key-1", "AC" + "1" * 32), ("", TWILIO_SID)):
        check(twilio(p, FORM, user, password)[1]["code"] == 20003, (user, password))
    check(twilio(p, FORM, kind="application/json")[1]["code"] == 20001, "content type")


def test_evolution(p):
    key = {"apikey": "key-1", **JSON}
    text = {"number": "12025550143", "text": "hello"}
    media = {"number": "12025550143", "mediatype": "document", "media": "https://example.com/a.pdf", "fileName": "a.pdf"}
    status, _, body = p.send(text, key, "/message/sendText/my%20shop")
    check(status == 201 and json.loads(body)["key"]["id"] == p.last()["id"] and p.last()["accepted"], body)
    check(p.last()["path"] == "/message/sendText/my shop" and p.last()["text"] == "hello", p.last())
    check(p.status({**text, "number": "98711384416410@lid"}, headers=key, path="/message/sendText/a") == 201, "lid")
    check(p.status(media, headers=key, path="/message/sendMedia/a") == 201, "media")
    for path, bad, wanted, words in (
        ("/message/sendText/a", {"number": "12025550143", "textMessage": {"text": "v1"}}, 400, 'property \\"text'),
        ("/message/sendText/a", {"text": "x"}, 400, 'property \\"number'),
        ("/message/sendText/a", {**text, "number": "10000000000"}, 400, '"exists":false'),
        ("/message/sendText/missing", text, 404, "does not exist"),
        ("/message/sendText/closed", text, 500, "Connection Closed"),
        ("/message/sendMedia/a", {**media, "mediatype": "file"}, 400, 'property \\"mediatype'),
        ("/message/sendMedia/a", {**media, "fileName": ""}, 500, "null"),
    ):
        status, _, body = p.send(bad, key, path)
        check(status == wanted == json.loads(body)["status"] and words in body.decode(), (bad, body))
    check(p.status(text, headers={**key, "apikey": "x"}, path="/message/sendText/a") == 401, "key")
    check(p.status(text, path="/message/sendText/a") == 401, "a bearer token is no key")
    check(p.status(text, headers=key, path="/message/sendText/a/b") == 404, "path")


def test_waha(p):
    key = {"X-Api-Key": "key-1", **JSON}
    text = {"session": "default", "chatId": "12025550143@c.us", "text": "hello"}
    file = {"mimetype": "image/png", "url": "https://example.com/a.png"}
    status, _, body = p.send(text, key, "/api/sendText")
    check(status == 201 and json.loads(body)["id"] == p.last()["id"] and p.last()["to"] == "12025550143@c.us", body)
    check(p.status({**text, "file": file}, headers=key, path="/api/sendImage") == 201, "image")
    for path, bad, wanted in (
        ("/api/sendText", {**text, "chatId": "12025550143@s.whatsapp.net"}, 400),
        ("/api/sendText", {**text, "session": ""}, 400),
        ("/api/sendText", {**text, "text": ""}, 400),
        ("/api/sendText", {**text, "session": "starting"}, 422),
        ("/api/sendFile", text, 400),
        ("/api/sendFile", {**text, "file": {"url": "https://example.com/a"}}, 400),
        ("/api/sendFile", {**text, "file": {**file, "url": "x"}}, 400),
    ):
        check(p.status(bad, headers=key, path=path) == wanted, (path, bad))
    check(p.status(text, path="/api/sendText") == 401, "key")


def test_openwa(p):
    key = {"api_key": "key-1", **JSON}
    text = {"args": {"to": "12025550143@c.us", "content": "hello"}}
    file = {"args": {"to": "12025550143@c.us", "file": "https://example.com/a", "filename": "a", "caption": ""}}
    status, _, body = p.send(text, key, "/sendText")
    check(status == 200 and json.loads(body) == {"success": True, "response": p.last()["id"]}, body)
    check(p.last()["text"] == "hello" and p.last()["provider"] == "openwa", p.last())
    check(p.status(text, headers={"key": "key-1", **JSON}, path="/session/sendText") == 200, "session")
    check(p.status(file, headers=key, path="/sendFile") == 200, "file")
    for path, bad in (
        ("/sendText", {"to": "12025550143@c.us", "content": "x"}),
        ("/sendText", {"args": {"to": "12025550143", "content": "x"}}),
        ("/sendText", {"args": {"to": "12025550143@c.us"}}),
        ("/sendFile", {"args": {"to": "12025550143@c.us", "file": "https://example.com/a", "filename": "a"}}),
    ):
        check(p.status(bad, headers=key, path=path) == 500, (path, bad))
    status, _, body = p.send(text, JSON, "/sendText")
    check(status == 401 and json.loads(body) == {"error": "unauthorised"}, body)


def test_codes(p):
    p.script({"action": {"code": 131056}}, {"action": {"code": 131056, "status": 429, "retry_after_s": 4}})
    status, _, body = p.send(cloud(), path=CLOUD)
    check(status == 400 and json.loads(body)["error"]["code"] == 131056 and not p.last()["accepted"], body)
    status, headers, body = p.send(cloud(), path=CLOUD)
    check(status == 429 and headers["Retry-After"] == "4" and b"131056" in body, body)
    p.script({"action": {"code": 21610}}, {"action": {"status": 429}}, {"action": {"code": 5}})
    check(twilio(p, FORM)[1]["code"] == 21610, "code")
    status, answer = twilio(p, FORM)
    check(status == 429 and answer["code"] == 20429, answer)
    check(p.send(MESSAGE)[0] == 501, "a code that the provider does not have")


def test_chunked_body(p):
    connection = p.connect()
    pieces = (piece for piece in (b'{"to":"+12025550143",', b'"text":"chunked"}'))
    connection.request("POST", "/api/send-message", pieces, KEY, encode_chunked=True)
    check(connection.getresponse().status == 200 and p.last()["text"] == "chunked", "chunked")


# --- journal ------------------------------------------------------------------------------------------------------


def test_journal(p):
    before = time.monotonic_ns() // 1000
    p.send(MESSAGE)
    p.send(MESSAGE, JSON)
    p.send(SMS, JSON, "/send-sms")
    p.send(b'\xff\x00"\\\n')
    p.send('{"to":"+12025550143",\n\r\n"text":"a\\nb"}')
    with open(p.journal_path, encoding="ascii") as file:
        lines = [json.loads(line) for line in file]
    check([line["seq"] for line in lines] == [1, 2, 3, 4, 5], "sequence")
    first = lines[0]
    check(first["to"] == "+12025550143" and first["text"] == "hello" and first["body"] == MESSAGE, first)
    check(first["method"] == "POST" and first["path"] == "/api/send-message" and first["provider"] == "wasender", first)
    check(first["status"] == 200 and first["auth"] and first["accepted"] and first["id"] == "100000", first)
    check(before < first["mono_us"] < time.monotonic_ns() // 1000, "monotonic time")
    check(abs(first["wall_ms"] / 1000 - time.time()) < 10, "wall time")
    check(lines[1]["status"] == 401 and not lines[1]["accepted"] and lines[1]["id"] is None, lines[1])
    check(lines[2]["provider"] == "sms_gateway" and lines[2]["text"] == "hello", lines[2])
    check(lines[3]["body"] == '\xff\x00"\\\n', "bytes that are no JSON")
    check(lines[4]["text"] == "a\nb", "line breaks in a body")
    check(p.journal() == lines and p.journal("?after=1&limit=2") == lines[1:3] and p.journal("?after=9") == [], "queries")
    check(p.request("GET", "/_control/journal?after=x")[0] == 400, "a bad query")


def test_journal_is_written_before_the_answer(p):
    p.script({"action": {"delay_ms": 60000}})
    connection = p.connect()
    connection.request("POST", "/api/send-message", json.dumps(MESSAGE), KEY)
    wait_for(lambda: p.stats()["seq"] == 1, "the journal's line")
    check(p.stats()["in_flight"] == 1 and p.last()["accepted"], "still waiting for the answer")


# --- scripts --------------------------------------------------------------------------------------------------------


def test_bad_scripts_are_refused(p):
    for bad in (
        "no JSON",
        "{}",
        '{"rules":{}}',
        '{"rules":[5]}',
        '{"rules":[{}]}',
        '{"rules":[{"action":{"fault":"nonsense"}}]}',
        '{"rules":[{"action":{"stauts":500}}]}',
        '{"rules":[{"action":{"status":99}}]}',
        '{"rules":[{"action":{"delay_ms":-1}}]}',
        '{"rules":[{"match":{"to":"x"},"action":{"fault":"reset_before"}}]}',
        '{"rules":[{"action":{"fault":"raw"}}]}',
        '{"rules":[{"action":{"headers":{"A":1}}}]}',
    ):
        status, _, body = p.request("POST", "/_control/script", bad)
        check(status == 400 and "error" in json.loads(body), (bad, body))
    check(p.request("GET", "/_control/script")[0] == 404, "method")


def test_rules(p):
    p.script({"match": {"to": "+12025550143"}, "times": 2, "action": {"status": 429, "retry_after_s": 7}})
    status, headers, body = p.send(MESSAGE)
    answer = json.loads(body)
    check(status == 429 and headers["Retry-After"] == "7", headers)
    check(answer["retry_after"] == 7 and "success" not in answer, answer)
    check(p.last()["status"] == 429 and not p.last()["accepted"], "journal")
    check(p.status(MESSAGE, headers=JSON) == 401, "a bad request gets its real answer")
    check(p.status({**MESSAGE, "to": "+12025550144"}) == 200, "another number")
    check(p.status(MESSAGE) == 429 and p.status(MESSAGE) == 200, "two times")
    check(p.stats()["rules"] == [{"left": 0, "hits": 2}], "state")
    p.script(
        {"match": {"path": "/api/send-message", "text": "ell"}, "times": -1, "action": {"status": 500, "accepted": True}},
        {"match": {"path": "/send-sms"}, "times": -1, "action": {"status": 503}},
    )
    check([p.status(MESSAGE) for _ in range(5)] == [500] * 5 and p.last()["accepted"], "part of the text, always")
    check(p.status(SMS, headers=JSON, path="/send-sms") == 503 and not p.last()["accepted"], "path")
    check(p.status({**MESSAGE, "text": "x"}) == 200, "no rule matches")


def test_answers(p):
    headers = {"Content-Type": "text/plain", "X-Own": "b"}
    p.script({"action": {"status": 503, "retry_after_date_s": 60, "body": "busy", "headers": headers}})
    status, headers, body = p.send(MESSAGE)
    check(status == 503 and body == b"busy" and headers["Content-Type"] == "text/plain" and headers["X-Own"] == "b", headers)
    when = time.strptime(headers["Retry-After"], "%a, %d %b %Y %H:%M:%S GMT")
    check(50 < time.mktime(when) - time.mktime(time.gmtime()) < 70, headers)
    p.script({"action": {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}})
    check(p.send(MESSAGE)[1]["Location"] == "http://127.0.0.1:1/", "redirect")
    p.script({"action": {"delay_ms": 300}})
    started = time.monotonic()
    check(p.status(MESSAGE) == 200 and 0.29 < time.monotonic() - started < 2, "delay")
    p.script({"action": {"fault": "malformed_json"}})
    check(p.send(MESSAGE)[2].endswith(b'"msgId":') and p.last()["accepted"], "half a JSON text")
    p.script({"action": {"fault": "success_false"}})
    status, _, body = p.send(MESSAGE)
    check(status == 200 and json.loads(body)["success"] is False and not p.last()["accepted"], body)
    p.script({"action": {"fault": "huge_body", "bytes": 20000000}})
    check(len(p.send(MESSAGE)[2]) == 20000000, "huge")
    p.script({"action": {"fault": "drip", "ms_per_byte": 2}})
    started = time.monotonic()
    check(json.loads(p.send(MESSAGE)[2])["success"] and time.monotonic() - started > 0.3, "drip")
    check(p.last()["status"] == 200 and p.last()["fault"] == "drip", "journal")


def test_broken_connections(p):
    p.send_failing(ConnectionResetError, {"fault": "reset_after_request"})
    check(p.last()["accepted"] and p.last()["status"] == 0 and p.last()["to"] == MESSAGE["to"], p.last())
    p.send_failing(ConnectionResetError, {"fault": "reset_after_request", "delay_ms": 100})
    p.send_failing((ConnectionResetError, BrokenPipeError), {"fault": "reset_before"})
    check(not p.last()["accepted"] and p.last()["to"] is None and p.last()["fault"] == "reset_before", p.last())
    p.send_failing(http.client.RemoteDisconnected, {"fault": "close_without_answer"})
    p.send_failing(http.client.BadStatusLine, {"fault": "garbage"})
    p.send_failing(http.client.IncompleteRead, {"fault": "raw", "raw": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"})
    p.send_failing(socket.timeout, {"fault": "drip", "ms_per_byte": 3000})
    p.send_failing(socket.timeout, {"fault": "hang"})
    check(p.last()["accepted"] and p.last()["status"] == 0, p.last())
    wait_for(lambda: p.stats()["in_flight"] == 0, "clients that gave up are forgotten")
    faults = p.stats()["by_fault"]
    check(faults["reset_after_request"] == 2 and faults["hang"] == 1 and len(faults) == 7, faults)


def test_kept_alive_connection(p):
    connection = p.connect()
    p.send(MESSAGE, connection=connection)
    first = p.last()
    p.send(MESSAGE, connection=connection)
    check(first["connection"] == p.last()["connection"], "the same connection")
    p.script({"action": {"fault": "reset_after_request"}})
    try:
        p.send(MESSAGE, connection=connection)
        raise AssertionError("no reset")
    except ConnectionResetError:
        pass
    check(first["connection"] == p.last()["connection"], "reset on the reused connection")


def send_in_background(p, count):
    failures = []

    def send():
        try:
            p.send(MESSAGE, timeout=DEADLINE_S)
        except (OSError, http.client.HTTPException) as error:
            failures.append(type(error).__name__)

    threads = [threading.Thread(target=send) for _ in range(count)]
    for thread in threads:
        thread.start()
    wait_for(lambda: p.stats()["in_flight"] == count, "all are waiting")
    return threads, failures


def test_reset(p):
    p.script({"times": -1, "action": {"fault": "hang"}})
    threads, failures = send_in_background(p, 20)
    check(p.stats()["max_in_flight"] == 20, "greatest number at a time")
    check(json.loads(p.request("POST", "/_control/reset")[2]) == {"seq": 20}, "sequence goes on")
    for thread in threads:
        thread.join(DEADLINE_S)
    check(failures == ["RemoteDisconnected"] * 20, failures)
    wait_for(lambda: p.stats()["in_flight"] == 0, "nobody waits")
    stats = p.stats()
    check(stats["requests"] == 0 and stats["rules"] == [] and stats["by_fault"] == {}, stats)
    check(p.status(MESSAGE) == 200 and p.last()["seq"] == 21, "goes on")


def test_ends_while_requests_wait(p):
    p.script({"times": -1, "action": {"fault": "hang"}})
    threads, failures = send_in_background(p, 5)
    p.process.send_signal(signal.SIGTERM)
    check(p.process.wait(DEADLINE_S) == 0, "ends cleanly")
    for thread in threads:
        thread.join(DEADLINE_S)
    check(len(failures) == 5, failures)


# --- the command line -----------------------------------------------------------------------------------------------


INSTAGRAM = "/v25.0/17841400000000000/messages"


def direct(message, **more):
    return {"recipient": {"id": "9876543210"}, "messaging_type": "RESPONSE", "message": message, **more}


def test_instagram(p):
    image = {"attachment": {"type": "image", "payload": {"url": "https://example.com/a.jpg"}}}
    status, _, body = p.send(direct({"text": "hello"}), path=INSTAGRAM)
    answer = json.loads(body)
    check(status == 200 and answer["recipient_id"] == "9876543210" and p.last()["id"] == answer["message_id"], body)
    check(p.last()["provider"] == "instagram" and p.last()["to"] == "9876543210" and p.last()["text"] == "hello", p.last())
    check(p.status(direct(image), path=INSTAGRAM) == 200, "an image")
    check(p.status(direct({"text": "\u00e9" * 500}), path=INSTAGRAM) == 200, "1000 bytes")
    for bad in (
        direct({}),
        direct({"text": ""}),
        direct({"text": "\u00e9" * 501}),
        direct({"text": "x", **image}),
        direct({"attachment": {"type": "sticker", "payload": {"url": "https://example.com/a"}}}),
        direct({"attachment": {"type": "image", "payload": {"url": "a.jpg"}}}),
        direct({"text": "x"}, recipient={"id": "+12025550143"}),
        direct({"text": "x"}, messaging_type="MESSAGE"),
        direct({"text": "x"}, messaging_product="whatsapp"),
    ):
        status, _, body = p.send(bad, path=INSTAGRAM)
        check(status == 400 and json.loads(body)["error"]["code"] == 100, (bad, body))
    check(p.send(direct({"text": "x"}), JSON, INSTAGRAM)[0] == 401, "no token")


def run(*options):
    return subprocess.run([PROGRAM, *options], capture_output=True, timeout=DEADLINE_S, check=False)


def test_command_line(p):
    for options in (["--port", "70000"], ["--nonsense"], ["stray"], ["--delay-ms", "x"]):
        check(run(*options).returncode == 64, options)
    check(run("--port", str(p.port)).returncode == 69, "a port in use")
    check(run("--journal", "/nonexistent/journal").returncode == 64, "a journal that cannot be written")
    with tempfile.NamedTemporaryFile("w") as script, tempfile.TemporaryDirectory() as folder:
        json.dump({"rules": [{"action": {"status": 500}}]}, script)
        script.flush()
        with Provider(folder, "--script", script.name, "--delay-ms", "100") as other:
            started = time.monotonic()
            check([other.status(MESSAGE) for _ in range(3)] == [500, 200, 200], "a script from a file")
            check(time.monotonic() - started >= 0.3, "a delay for all")
        script.write("x")
        script.flush()
        check(run("--script", script.name).returncode == 1, "a bad script")


def main():
    passed = failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        try:
            with tempfile.TemporaryDirectory() as folder, Provider(folder) as p:
                test(p)
            passed += 1
        except Exception:  # pylint: disable=broad-except
            print(f"FAILED {name}")
            traceback.print_exc(file=sys.stdout)
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
