"""A web site on loopback for tests of clients: it says what it was sent, and misbehaves on demand."""

import contextlib
import gzip
import hashlib
import http.server
import json
import pathlib
import socket
import ssl
import threading
import urllib.parse

CERTS = pathlib.Path(__file__).resolve().parent / "certs"
BLOCK = bytes(range(256)) * 256


def pattern(size):
    """So many bytes, in parts."""
    while size > 0:
        yield BLOCK[:size]
        size -= len(BLOCK)


def digest(parts):
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


class Site(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, tls=False):
        super().__init__(("127.0.0.1", 0), Handler)
        self.connections = 0
        self.seen = []
        self.reached = threading.Semaphore(0)
        """Released when a request has come to a page that does not answer."""
        self.left = threading.Semaphore(0)
        """Released when the client of such a page has closed its connection."""
        self.tls = None
        if tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(CERTS / "secret.example.pem")
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def finish_request(self, request, address):
        self.connections += 1
        if self.tls is not None:
            request = self.tls.wrap_socket(request, server_side=True)
        with contextlib.suppress(OSError):
            super().finish_request(request, address)

    def handle_error(self, request, address):
        pass

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        """The request's body, in parts."""
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("content-length", 0))
        while left > 0:
            part = self.rfile.read(min(left, 65536))
            if not part:
                return
            left -= len(part)
            yield part

    def say(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            for each in value if isinstance(value, list) else [value]:
                self.send_header(name.replace("_", "-"), each)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def wait_for_the_end(self):
        """Until the client closes."""
        self.server.reached.release()
        with contextlib.suppress(OSError):
            while self.connection.recv(65536):
                pass
        self.server.left.release()
        self.close_connection = True

    def answer(self):
        path, _, query = self.path.partition("?")
        query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.server.seen.append((self.command, self.path, dict(self.headers.items())))
        match path:
            case "/down":
                self.send_response(200)
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for part in pattern(int(query["size"])):
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                self.wfile.write(b"0\r\n\r\n")
            case "/to":
                body = list(self.body())
                del body
                self.say(int(query.get("status", 302)), location=query["url"])
            case "/circle":
                self.say(302, location="/circle")
            case "/cookies":
                self.say(200, set_cookie=[f"{name}={value}" for name, value in query.items()])
            case "/gzip":
                self.say(200, gzip.compress(b"squeezed" * 1000), content_encoding="gzip")
            case "/latin":
                self.say(200, "wärmer".encode("latin-1"), content_type="text/plain; charset=latin-1")
            case "/lines":
                self.say(200, b"one\r\ntwo\n\nthree\rfour")
            case "/status":
                self.say(int(query["code"]), b"what was wrong")
            case "/never":
                list(self.body())
                self.wait_for_the_end()
            case "/stalls":
                self.send_response(200)
                self.send_header("content-length", "1000")
                self.end_headers()
                self.wfile.write(b"a part")
                self.wait_for_the_end()
            case "/cut":
                self.send_response(200)
                self.send_header("content-length", "1000")
                self.end_headers()
                self.wfile.write(b"a part")
                self.close_connection = True
            case "/refuses":
                self.say(413, b"too much")
                # A server closes in two steps (RFC 9112 §9.6): with data unread, the kernel would reset
                # the connection, and the answer could be lost.
                self.connection.shutdown(socket.SHUT_WR)
                with contextlib.suppress(OSError):
                    while self.rfile.read1(65536):
                        pass
                self.close_connection = True
            case "/closes":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            case _:
                hasher, size, kept = hashlib.sha256(), 0, b""
                for part in self.body():
                    hasher.update(part)
                    size += len(part)
                    kept = (kept + part)[:10000]
                said = {
                    "method": self.command,
                    "path": self.path,
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "size": size,
                    "sha256": hasher.hexdigest(),
                    "body": kept.decode("latin-1"),
                }
                self.say(200, json.dumps(said).encode(), content_type="application/json")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = answer
