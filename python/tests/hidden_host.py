"""A host that ECH hides, for servers of the tests' own: a DNS server that knows it, and the wire in front of it."""

import base64
import contextlib
import socket
import struct
import subprocess
import sys
import threading

from peer import CERTS, HIDDEN, ech_config
from proxying import Proxy

A, HTTPS = 1, 65


class HiddenHost:
    """``secret.example``, whose server listens at a port of 127.0.0.1.

    Its DNS publishes the ECHConfigList of ``certs/ech.pem``, another one (``stale``), or none
    (``no-record``). Clients come to :attr:`port`, where what they send is kept in :attr:`sent`.
    """

    def __init__(self, server_port, kind="nominal", tmp_path=None):
        self.server_port, self.sent = server_port, []
        configs = {"nominal": ech_config, "no-record": lambda: ""}.get(kind, lambda: other_config(tmp_path))
        self.configs = base64.b64decode(configs())
        self._wire = socket.create_server(("127.0.0.1", 0))
        self.port = self._wire.getsockname()[1]
        self._dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._dns.bind(("127.0.0.1", 0))
        self.dns = f"udp://127.0.0.1:{self._dns.getsockname()[1]}"
        for work in (self._answer, self._accept):
            threading.Thread(target=work, daemon=True).start()

    @property
    def shown(self):
        """Whether an eavesdropper has read the name."""
        return any(HIDDEN.encode() in bytes(sent) for sent in self.sent)

    def environment(self):
        """What a program needs to reach it."""
        ca = str(CERTS / "ca.pem")
        return {"ECHKIT_DNS": self.dns, "SSL_CERT_FILE": ca, "SSL_CERT_DIR": str(CERTS / "none")}

    def close(self):
        for each in (self._dns, self._wire):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _answer(self):
        with contextlib.suppress(OSError):
            while True:
                query, client = self._dns.recvfrom(4096)
                if not query:
                    return  # the socket was shut down
                self._dns.sendto(self._response(query), client)

    def _response(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        kind = struct.unpack_from("!H", query, at + 1)[0]
        name, data = ".".join(labels), None
        if kind == A and name == HIDDEN:
            data = socket.inet_aton("127.0.0.1")
        elif kind == HTTPS and name == f"_{self.port}._https.{HIDDEN}" and self.configs:
            target = b"".join(bytes([len(part)]) + part.encode() for part in HIDDEN.split(".")) + b"\0"
            data = struct.pack("!H", 1) + target
            for key, value in ((3, struct.pack("!H", self.port)), (5, self.configs)):
                data += struct.pack("!HH", key, len(value)) + value
        head = query[:2] + struct.pack("!HHHHH", 0x8580, 1, int(data is not None), 0, 0)
        answer = b"" if data is None else b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
        return head + query[12 : at + 5] + answer

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._wire.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client):
        kept = bytearray()
        self.sent.append(kept)
        with contextlib.suppress(OSError), client:
            with socket.create_connection(("127.0.0.1", self.server_port)) as server:
                back = threading.Thread(target=Proxy.pump, args=(server, client), daemon=True)
                back.start()
                Proxy.pump(client, server, kept)
                back.join()


def other_config(home):
    """An ECHConfigList whose key no server has, as base64."""
    key = home / "other.pem"
    command = [sys.executable, "-m", "echkit_tools", "keygen", "public.example", "-o", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    body = key.read_text().split("-----BEGIN ECHCONFIG-----")[1].split("-----END ECHCONFIG-----")[0]
    return "".join(body.split())
