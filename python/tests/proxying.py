"""A proxy for tests: HTTP CONNECT and SOCKS5 at one port, which keeps what clients say to it."""

import contextlib
import socket
import struct
import threading


class Proxy:
    """Connects to addresses, and takes every name for 127.0.0.1."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.asked = []
        self.said = []
        self.refuses = False
        threading.Thread(target=self.run, daemon=True).start()

    def url(self, scheme):
        return f"{scheme}://127.0.0.1:{self.port}"

    def shows(self, name):
        """Whether a client has said a name, to the proxy or through it."""
        return any(name.lower().encode() in bytes(said).lower() for said in self.said)

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        said = bytearray()
        self.said.append(said)
        with contextlib.suppress(OSError), client:
            first = client.recv(1)
            said += first
            host, port = (self.socks if first == b"\x05" else self.connect)(client, said)
            if host is None:
                return
            target = host if host[:1].isdigit() or ":" in host else "127.0.0.1"
            with socket.create_connection((target, port)) as server:
                back = threading.Thread(target=self.pump, args=(server, client), daemon=True)
                back.start()
                self.pump(client, server, said)
                back.join()

    @staticmethod
    def pump(source, sink, kept=None):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if kept is not None:
                    kept += data
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def connect(self, client, said):
        while b"\r\n\r\n" not in said:
            data = client.recv(1)
            if not data:
                return None, None
            said += data
        where = said.split(b" ")[1].decode()
        self.asked.append(where)
        if self.refuses:
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return None, None
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        host, _, port = where.rpartition(":")
        return host.strip("[]"), int(port)

    def socks(self, client, said):
        def read(count):
            data = b""
            while len(data) < count:
                data += client.recv(count - len(data)) or b"\0" * count
            said.extend(data)
            return data

        read(read(1)[0])
        client.sendall(b"\x05\x00")
        kind = read(4)[3]
        if kind == 1:
            host = socket.inet_ntop(socket.AF_INET, read(4))
        elif kind == 4:
            host = socket.inet_ntop(socket.AF_INET6, read(16))
        else:
            host = read(read(1)[0]).decode()
        (port,) = struct.unpack(">H", read(2))
        self.asked.append(f"{host}:{port}")
        refusal = 2 if self.refuses else 0
        client.sendall(b"\x05" + bytes([refusal]) + b"\x00\x01\x00\x00\x00\x00\x00\x00")
        return (None, None) if self.refuses else (host, port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # shutdown() is what wakes accept().
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
