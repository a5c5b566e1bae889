"""Proxies and sites between Scrape.do and a receiver of webhooks: they change, refuse or take calls."""

from __future__ import annotations

import http.client
import threading
from contextlib import AbstractContextManager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


class ServerThread(AbstractContextManager):
    """A server in a thread of its own."""

    def __init__(self, server):
        self._server, self.port = server, server.server_address[1]
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()


class _WsgiServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def serve_wsgi(app):
    """Serve a WSGI app on a free port of this machine."""
    return ServerThread(make_server("127.0.0.1", 0, app, _WsgiServer, _QuietHandler))


class Front(ServerThread):
    """A proxy before a receiver.

    Args:
        target: the port of the receiver.
        drops: headers that the proxy removes.
        adds: headers that the proxy sets.
        limit: bytes of the largest body; a larger one is answered with 413 before it is read, as by nginx.
        cut: bytes of a body that are passed on.
        answer: status, headers and text with which the proxy answers by itself. A function of the request may also
            return None to pass the request on, or raise `ConnectionError` to close the connection.
        resets: bytes of a body after which the proxy resets the connection.
        hides: status and text that the proxy answers in place of the receiver, after the receiver has answered.
    """

    def __init__(self, target=0, *, drops=(), adds=None, limit=None, cut=None, answer=None, resets=None, hides=None):
        handler = type(
            "Handler",
            (_FrontHandler,),
            {
                "target": target,
                "drops": {one.lower() for one in drops},
                "adds": adds or {},
                "limit": limit,
                "cut": cut,
                "answer": staticmethod(answer) if callable(answer) else answer,
                "resets": resets,
                "hides": hides,
            },
        )
        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), handler))


class _FrontHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        size = int(self.headers["Content-Length"])
        if self.resets is not None and size > self.resets:
            self.rfile.read(self.resets)
            self.connection.close()
            self.close_connection = True
            return
        if self.limit is not None and size > self.limit:
            self.close_connection = True
            self._send(413, {}, "<h1>413 Request Entity Too Large</h1>")
            with suppress(OSError):
                self.connection.settimeout(1)
                while self.rfile.read1(65_536):
                    pass
            return
        body = self.rfile.read(size)
        try:
            answer = self.answer(self) if callable(self.answer) else self.answer
        except ConnectionError:
            self.close_connection = True
            return
        if answer is None:
            self._pass_on(body)
        else:
            self._send(*answer)

    def _pass_on(self, body):
        kept = {name: value for name, value in self.headers.items() if name.lower() not in self.drops}
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=10)
        connection.request(
            "POST", self.path, body[: self.cut], {**kept, **self.adds, "Content-Length": str(len(body[: self.cut]))}
        )
        answer = connection.getresponse()
        text = answer.read().decode()
        self._send(
            *((self.hides[0], {}, self.hides[1]) if self.hides else (answer.status, dict(answer.getheaders()), text))
        )
        connection.close()

    def _send(self, status, headers, text):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass
