"""Real receivers of notifications for tests: an HTTP(S) server and, with aiosmtpd, a mail server with STARTTLS
and AUTH. As a program: receivers.py http|https|mail FOLDER [PORT]; prints its port, keeps what comes in as a line of
JSON each in FOLDER/received, and serves until its input ends. FOLDER/certificate.pem vouches for it."""

import asyncio
import http.server
import json
import logging
import os
import ssl
import subprocess
import sys
import threading
import time

USER = "trainyard"
PASSWORD = "mail-Pa55-word"


def make_certificate(folder):
    certificate, key = os.path.join(folder, "certificate.pem"), os.path.join(folder, "server-key.pem")
    if not os.path.exists(certificate):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key,
                        "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


class Received:
    """What has come in, in order; also in a file, for those who are no part of this process."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "received")
        self.items = []
        self.lock = threading.Lock()

    def add(self, item):
        with self.lock:
            self.items.append(item)
            with open(self.path, "a") as file:
                file.write(json.dumps(item) + "\n")

    def all(self):
        with self.lock:
            return list(self.items)


class HttpReceiver:
    """The path says how requests are answered: /answer/500,429r1,200/... with 500, then with 429 and
    Retry-After: 1, then always with 200; /hang/... never; anything else with 200."""

    def __init__(self, folder, tls=False, port=0):
        received = self.received = Received(folder)
        counts = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                received.add({"path": self.path, "headers": dict(self.headers), "body": body.decode(),
                              "ms": time.monotonic() * 1000})
                parts = self.path.split("/")
                if parts[1] == "hang":
                    self.rfile.read(1)  # until the other side has enough
                    return
                answers = parts[2].split(",") if parts[1] == "answer" else ["200"]
                count = counts[self.path] = counts.get(self.path, 0) + 1
                code, _, retry_after = answers[min(count, len(answers)) - 1].partition("r")
                self.send_response(int(code))
                if retry_after:
                    self.send_header("Retry-After", retry_after)
                if code == "302":
                    self.send_header("Location", "/followed")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = make_certificate(folder).wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class MailReceiver:
    """Takes mail after STARTTLS and AUTH only; refuses recipients whose address starts with "gone"."""

    def __init__(self, folder):
        from aiosmtpd.smtp import SMTP, AuthResult
        logging.getLogger("mail.log").setLevel(logging.CRITICAL + 1)  # clients that turn away are meant to
        received = self.received = Received(folder)

        class Handler:
            async def handle_RCPT(self, server, session, envelope, address, options):
                if address.startswith("gone"):
                    return "550 no such mailbox"
                envelope.rcpt_tos.append(address)
                return "250 OK"

            async def handle_DATA(self, server, session, envelope):
                received.add({"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None,
                              "login": session.auth_data, "message": envelope.content.decode()})
                return "250 OK"

        def authenticate(server, session, envelope, mechanism, data):
            good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
            return AuthResult(success=good, handled=False, auth_data=data.login.decode())

        def session():
            return SMTP(Handler(), hostname="localhost", tls_context=context, require_starttls=True,
                        auth_required=True, authenticator=authenticate, loop=self.loop)

        context = make_certificate(folder)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        start = self.loop.create_server(session, host="127.0.0.1", port=0)
        self.server = asyncio.run_coroutine_threadsafe(start, self.loop).result()
        self.port = self.server.sockets[0].getsockname()[1]

    def stop(self):
        self.loop.call_soon_threadsafe(self.server.close)


def decoded(message):
    """Headers and text of a mail, as Python's own parser reads them."""
    import email
    import email.policy
    parsed = email.message_from_string(message, policy=email.policy.default)
    return {"headers": {name: str(value) for name, value in parsed.items()}, "text": parsed.get_content()}


def main():
    kind, folder = sys.argv[1:3]
    port = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    receiver = MailReceiver(folder) if kind == "mail" else HttpReceiver(folder, tls=kind == "https", port=port)
    print(receiver.port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
