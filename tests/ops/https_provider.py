"""A provider behind TLS: takes every message as Wasender does. https_provider.py CERTIFICATE KEY JOURNAL; prints "listening PORT"."""
import http.server
import json
import ssl
import sys

certificate, key, journal = sys.argv[1:]


class Provider(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(journal, "ab") as file:
            file.write(body + b"\n")
        answer = json.dumps({"success": True, "data": {"msgId": 1, "jid": "x", "status": "in_progress"}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("listening", server.server_address[1], flush=True)
server.serve_forever()
