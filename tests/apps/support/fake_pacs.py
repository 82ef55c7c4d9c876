"""A PACS that answers with what it was asked."""

import http.server
import threading
import urllib.parse

import pytest


class FakePacs(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    asked: list

    def do_GET(self):
        self.asked.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length) or b'[{"a": 1}]'
        if self.path.startswith("/root/studies/1.9"):
            self.send_response(302)
            self.send_header("Location", "/system")
        else:
            # What it answers with, and with which status, may be asked for: ?type=text/html&status=500
            wanted = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            self.send_response(int(wanted.get("status", ["200"])[0]))
            self.send_header("Content-Type", wanted.get("type", ["application/dicom+json"])[0])
            self.send_header("Set-Cookie", "pacs=1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_args):
        pass


@pytest.fixture
def pacs():
    handler = type("Own", (FakePacs,), {"asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/root", handler.asked
    server.shutdown()
