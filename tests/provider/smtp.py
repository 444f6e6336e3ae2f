#!/usr/bin/python3
"""The stand-in for a mail provider's submission server: ESMTP as strict as a real one, with STARTTLS, AUTH, SIZE, and a journal of the
messages it took, one JSON line each.

    smtp.py [--port N] [--journal FILE] [--user NAME --password TEXT] [--cert FILE --key FILE] [--implicit-tls] [--plain] [--size BYTES]

Prints "listening PORT"; ends on SIGTERM. With a certificate, nothing but EHLO, STARTTLS and QUIT is allowed before TLS (--plain lifts that);
with a user, no mail without AUTH. A recipient may ask for a fault by its local part, STEP.WHAT, where STEP is rcpt, data or end (of the
message) and WHAT is a reply (550, 550.5-1-1), hang, or close."""
import argparse
import asyncio
import base64
import email
import email.policy
import json
import re
import signal
import ssl
import sys
import time

COMMAND_MAX, LINE_MAX = 512, 1000  # with CR LF (RFC 5321, 4.5.3.1)
FAULT = re.compile(r"(rcpt|data|end)\.(hang|close|[245]\d\d)(?:\.(\d-\d+-\d+))?@")
ONCE = ("Date", "From", "To", "Message-ID", "Subject", "MIME-Version", "Content-Type")


class Refused(Exception):
    """A reply that ends a command."""


class Gone(Exception):
    """The connection has ended, or is to end without a word."""


class Session:
    def __init__(self, server, reader, writer, has_tls):
        self.server, self.options, self.reader, self.writer = server, server.options, reader, writer
        self.has_tls, self.hello, self.user = has_tls, None, None
        self.forget()

    def forget(self):
        self.sender, self.recipients = None, []

    async def say(self, *lines):
        code, texts = lines[0][:3], (lines[0][4:], *lines[1:])
        for n, text in enumerate(texts):
            self.writer.write(f"{code}{'-' if n + 1 < len(texts) else ' '}{text}\r\n".encode())
        await self.writer.drain()

    async def line(self, limit):
        try:
            line = await self.reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as e:
            raise Gone from e
        if len(line) > limit:
            raise Refused("500 5.5.6 Line too long")
        if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
            raise Refused("500 5.5.2 Bare CR, bare LF or NUL")
        return line[:-2]

    async def fault(self, step):
        """Whatever the first recipient asks for at this step."""
        wish = FAULT.match(self.recipients[0]) if self.recipients else None
        if wish is None or wish[1] != step:
            return
        if wish[2] == "close":
            raise Gone
        if wish[2] == "hang":
            await self.reader.read()
            raise Gone
        enhanced = wish[3].replace("-", ".") + " " if wish[3] else ""
        raise Refused(f"{wish[2]} {enhanced}<{self.recipients[0]}>: as you wish")

    # --- commands ---

    async def ehlo(self, rest):
        if not re.fullmatch(r"[A-Za-z0-9.\-\[\]:]+", rest):
            raise Refused("501 5.5.4 Syntax: EHLO hostname")
        self.hello = rest
        self.forget()
        extensions = [f"SIZE {self.options.size}", "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"]
        if self.options.cert and not self.has_tls:
            extensions.append("STARTTLS")
        if self.options.user and (self.has_tls or self.options.plain or not self.options.cert):
            extensions.append("AUTH PLAIN LOGIN")
        await self.say("250 mail.example.test greets you", *extensions)

    async def starttls(self, rest):
        if rest or not self.options.cert or self.has_tls:
            raise Refused("503 5.5.1 TLS not available")
        await self.say("220 2.0.0 Ready to start TLS")
        await self.writer.start_tls(self.server.tls)
        self.has_tls, self.hello = True, None

    async def auth(self, rest):
        mechanism, _, initial = rest.partition(" ")
        if self.user or not self.options.user:
            raise Refused("503 5.5.1 AUTH not available")
        if mechanism.upper() != "PLAIN":
            raise Refused("504 5.5.4 Unrecognized authentication type")
        if not initial:
            await self.say("334 ")
            initial = (await self.line(12288)).decode()
        try:
            _, user, password = base64.b64decode(initial, validate=True).decode().split("\0")
        except ValueError as e:
            raise Refused("501 5.5.2 Cannot decode response") from e
        if (user, password) != (self.options.user, self.options.password):
            raise Refused("535 5.7.8 Authentication credentials invalid")
        self.user = user
        await self.say("235 2.7.0 Authentication successful")

    async def mail(self, rest):
        match = re.fullmatch(r"FROM:<([^<>\s]+@[^<>\s]+)>((?: [A-Z0-9]+(?:=\S+)?)*)", rest, re.IGNORECASE)
        if self.sender:
            raise Refused("503 5.5.1 Nested MAIL command")
        if not match:
            raise Refused("501 5.5.4 Syntax: MAIL FROM:<address>")
        size = re.search(r" SIZE=(\d+)", match[2], re.IGNORECASE)
        if size and int(size[1]) > self.options.size:
            raise Refused("552 5.3.4 Message size exceeds fixed limit")
        if not match[1].isascii():
            raise Refused("553 5.6.7 SMTPUTF8 is needed")
        self.sender = match[1]
        await self.say("250 2.1.0 Ok")

    async def rcpt(self, rest):
        match = re.fullmatch(r"TO:<([^<>\s]+@[^<>\s]+)>", rest, re.IGNORECASE)
        if not self.sender:
            raise Refused("503 5.5.1 Need MAIL command")
        if not match:
            raise Refused("501 5.1.3 Bad recipient address syntax")
        self.recipients.append(match[1])
        try:
            await self.fault("rcpt")
        except Refused:
            self.recipients.pop()
            raise
        await self.say("250 2.1.5 Ok")

    async def data(self, rest):
        if rest or not self.recipients:
            raise Refused("503 5.5.1 Need RCPT command")
        await self.fault("data")
        await self.say("354 End data with <CR><LF>.<CR><LF>")
        lines = []
        while (line := await self.line(LINE_MAX)) != b".":
            lines.append(line[1:] if line.startswith(b".") else line)
        message = b"\r\n".join(lines) + b"\r\n"
        if len(message) > self.options.size:
            raise Refused("552 5.3.4 Message too big")
        text = self.check(message)
        await self.fault("end")
        await self.say(f"250 2.0.0 Ok: queued as {self.server.take(self, message, text)}")
        self.forget()

    @staticmethod
    def check(message):
        if max(message, default=0) > 0x7e:
            raise Refused("554 5.6.1 8-bit data without BODY=8BITMIME")
        m = email.message_from_bytes(message, policy=email.policy.default)
        for name in ONCE:
            if len(m.get_all(name, [])) != 1:
                raise Refused(f"554 5.6.0 {name} must stand exactly once")
        if m.defects or any(getattr(value, "defects", ()) for value in m.values()):
            raise Refused("554 5.6.0 Malformed header")
        if not re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", m["Message-ID"]) or m["Date"].datetime is None:
            raise Refused("554 5.6.0 Bad Message-ID or Date")
        return m.get_content()

    async def command(self, line):
        verb, _, rest = line.decode("ascii", "replace").partition(" ")
        verb = verb.upper()
        if verb == "QUIT":
            await self.say("221 2.0.0 Bye")
            raise Gone
        if verb in ("NOOP", "RSET"):
            self.forget()
            await self.say("250 2.0.0 Ok")
            return
        if verb in ("MAIL", "RCPT", "DATA", "AUTH"):
            if not self.hello:
                raise Refused("503 5.5.1 Send EHLO first")
            if self.options.cert and not self.has_tls and not self.options.plain:
                raise Refused("530 5.7.0 Must issue a STARTTLS command first")
            if verb != "AUTH" and self.options.user and not self.user:
                raise Refused("530 5.7.0 Authentication required")
        known = {"EHLO": self.ehlo, "STARTTLS": self.starttls, "AUTH": self.auth, "MAIL": self.mail, "RCPT": self.rcpt, "DATA": self.data}
        if verb not in known:
            raise Refused("502 5.5.2 Command not recognized")
        await known[verb](rest)

    async def run(self):
        try:
            await self.say("220 mail.example.test ESMTP")
            while True:
                try:
                    await self.command(await self.line(12288))
                except Refused as e:
                    await self.say(str(e))
        except (Gone, ConnectionError, ssl.SSLError):
            pass
        finally:
            self.writer.close()


class Server:
    def __init__(self, options):
        self.options, self.taken, self.tls = options, 0, None
        self.journal = open(options.journal, "a", encoding="utf-8") if options.journal else None
        if options.cert:
            self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.tls.load_cert_chain(options.cert, options.key)

    def take(self, session, message, text):
        self.taken += 1
        queued = f"4BGk{self.taken:07X}"
        if self.journal:
            line = {"seq": self.taken, "wall_ms": int(time.time() * 1000), "provider": "smtp", "from": session.sender,
                    "to": session.recipients[0], "text": text, "auth": session.user is not None, "tls": session.has_tls, "accepted": True,
                    "id": queued, "hello": session.hello, "message": message.decode("ascii")}
            self.journal.write(json.dumps(line) + "\n")
            self.journal.flush()
        return queued

    async def serve(self):
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
        implicit = self.options.implicit_tls

        async def on_connection(reader, writer):
            await Session(self, reader, writer, implicit).run()

        server = await asyncio.start_server(on_connection, "127.0.0.1", self.options.port, ssl=self.tls if implicit else None)
        print("listening", server.sockets[0].getsockname()[1], flush=True)
        await stop.wait()
        server.close()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--journal")
    p.add_argument("--user")
    p.add_argument("--password", default="")
    p.add_argument("--cert")
    p.add_argument("--key")
    p.add_argument("--implicit-tls", action="store_true")
    p.add_argument("--plain", action="store_true")
    p.add_argument("--size", type=int, default=10485760)
    asyncio.run(Server(p.parse_args()).serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
