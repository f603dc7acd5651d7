#!/usr/bin/env python3
"""What the largest answers of a hostile resolver cost `ech get -m 3`.

    bench-limits.py --ech PATH [--check]

A DNS server on loopback answers with 2000 addresses, with an ipv4hint of 16,000, and with 64 KB of
ECHConfigs under P-384; the servers at those addresses refuse, or accept and stay silent. Printed are
the time until the command ended, and the processor time that its process took. --check fails where it
took more than half a second of the processor, or did not end with its limit of 3 s.

The counts behind these figures are tests: see docs/decisions/076 and 073.
"""

import argparse
import base64
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

LIMIT_S = 3
CPU_S = 0.5
# The start of a process and the last answer, on a machine that is busy.
GRACE_S = 1.0
A, HTTPS = 1, 65
ALPN, PORT, IPV4HINT, ECH = 1, 3, 4, 5
UDP_MOST = 1232


def address(number: int) -> bytes:
    """The addresses are this machine's, each another."""
    return bytes([127, 1, number >> 8, number & 0xFF])


def https_record(parameters: dict[int, bytes]) -> bytes:
    rdata = struct.pack("!HB", 1, 0)
    for key, value in sorted(parameters.items()):
        rdata += struct.pack("!HH", key, len(value)) + value
    return rdata


class Resolver:
    """A resolver that has the same records for every name."""

    def __init__(self, records: dict[int, list[bytes]]):
        self.records = records
        self.tcp = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        for serve in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def answer(self, query: bytes, most: int) -> bytes:
        end = query.index(b"\0", 12) + 5
        (kind,) = struct.unpack_from("!H", query, end - 4)
        rdata = self.records.get(kind, [])
        body = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data for data in rdata
        )
        head = struct.pack("!HHHHH", 0x8180, 1, len(rdata), 0, 0)
        whole = query[:2] + head + query[12:end] + body
        if len(whole) <= most:
            return whole
        return query[:2] + struct.pack("!HHHHH", 0x8380, 1, 0, 0, 0) + query[12:end]

    def serve_udp(self) -> None:
        while True:
            query, peer = self.udp.recvfrom(65535)
            self.udp.sendto(self.answer(query, UDP_MOST), peer)

    def serve_tcp(self) -> None:
        while True:
            connection, _ = self.tcp.accept()
            threading.Thread(target=self.serve_connection, args=(connection,), daemon=True).start()

    def serve_connection(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as queries:
            while len(head := queries.read(2)) == 2:
                query = queries.read(struct.unpack("!H", head)[0])
                answer = self.answer(query, 65535)
                try:
                    connection.sendall(struct.pack("!H", len(answer)) + answer)
                except OSError:
                    return


def silent_server() -> int:
    """The port of a server that accepts at every address of this machine and says nothing."""
    listener = socket.create_server(("0.0.0.0", 0), backlog=1024)
    kept: list[socket.socket] = []

    def serve() -> None:
        while True:
            kept.append(listener.accept()[0])

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def closed_port() -> int:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        return listener.getsockname()[1]


def p384_configs(ech: str) -> bytes:
    """As many ECHConfigs under P-384 as fit into a DNS answer."""
    made = subprocess.run(
        [ech, "keygen", "a.example", "--kem", "p384", "--json"],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    config = base64.b64decode(json.loads(made.stdout)["ech"])[2:]
    configs = config * ((65535 - 200) // len(config))
    return struct.pack("!H", len(configs)) + configs


def measure(ech: str, records: dict[int, list[bytes]], port: int) -> dict:
    resolver = Resolver(records)
    environment = {**os.environ, "no_proxy": "*"}
    command = [ech, "get", "--json", "-m", str(LIMIT_S), "--dns", f"udp://127.0.0.1:{resolver.port}"]
    with tempfile.TemporaryFile() as out:
        begun = time.monotonic()
        child = subprocess.Popen(
            [*command, f"https://evil.test:{port}/"],
            stdout=out,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        _, status, usage = os.wait4(child.pid, 0)
        took = time.monotonic() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        document = json.load(out)
    return {
        "took": took,
        "user": usage.ru_utime,
        "system": usage.ru_stime,
        "attempts": len(document["report"]["attempts"]),
        "exit": child.returncode,
    }


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--ech", required=True, help="the command to measure")
    arguments.add_argument("--check", action="store_true", help="fail past the limits")
    arguments = arguments.parse_args()
    many = [address(number) for number in range(2000)]
    hints = b"".join(address(number) for number in range(16_000))
    configs = p384_configs(arguments.ech)
    places = {"refuses": closed_port(), "is silent": silent_server()}
    print(f"{'answer':<34}{'server':<11}{'ended':>8}{'user':>8}{'system':>8}{'attempts':>10}{'exit':>6}")
    wrong = 0
    for server, port in places.items():
        target = {ALPN: b"\x02h2", PORT: struct.pack("!H", port)}
        for name, records in {
            "2000 A records": {A: many},
            "an ipv4hint of 16,000": {HTTPS: [https_record(target | {IPV4HINT: hints})]},
            f"{len(configs):,} bytes of P-384 configs": {
                HTTPS: [https_record(target | {ECH: configs})],
                A: many[:1],
            },
        }.items():
            cost = measure(arguments.ech, records, port)
            cpu = cost["user"] + cost["system"]
            good = cpu < CPU_S and cost["took"] < LIMIT_S + GRACE_S
            wrong += not good
            print(
                f"{name:<34}{server:<11}{cost['took']:>6.2f} s{cost['user']:>6.2f} s"
                f"{cost['system']:>6.2f} s{cost['attempts']:>10}{cost['exit']:>6}"
                f"{'' if good else '  over the limit'}"
            )
    return 1 if wrong and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
