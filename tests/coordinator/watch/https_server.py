"""An HTTPS server with a certificate of its own, for one test. Prints its port, then serves until its input
ends. /file: some bytes; /moved: a redirect to /file; /endless: more than anybody wants; others: 404."""

import http.server
import ssl
import subprocess
import sys
import threading

folder = sys.argv[1]
subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                "-addext", "subjectAltName=DNS:localhost", "-keyout", folder + "/key.pem",
                "-out", folder + "/certificate.pem"], check=True, capture_output=True)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
        elif self.path == "/insecure":
            self.send_response(302)
            self.send_header("Location", "http://localhost/file")
            self.end_headers()
        elif self.path in ("/file", "/endless"):
            body = b"some bytes" * (1 if self.path == "/file" else 1_000_000)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                pass
        else:
            self.send_error(503 if self.path == "/busy" else 404)

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + "/certificate.pem", folder + "/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
