"""A webhook, as chat programs and programs of a lab's own offer it."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.support.tls import certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Webhook:
    """Takes what is posted to it, by TLS, and answers as it is asked to."""

    def __init__(self, place: Path, address: str = "127.0.0.1") -> None:
        self.certificate = certificate(place, address)
        self.got: list[dict[str, Any]] = []
        self.answer = 200
        webhook = self

        class Receiver(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if webhook.answer == 200:
                    webhook.got.append(json.loads(body))
                self.send_response(webhook.answer)
                self.send_header("Location", webhook.url + "elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing on the terminal."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://{address}:{self._server.server_port}/hook/s3cret/"

    @contextmanager
    def open(self) -> Iterator[Webhook]:
        """While it listens."""
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
