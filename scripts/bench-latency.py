#!/usr/bin/env python3
"""How close a fetch over ECH comes to the round trips that it needs.

Two network namespaces are joined by TUN; every packet waits in a queue here. The servers are the
testbed's. Needs root, unshare, nsenter, ip and /dev/net/tun; without them it says so and ends well.

    bench-latency.py --bin DIR [--runs N] [--check]

DIR holds `ech` and `examples/latency`. --check fails where a cold page takes more than 10 % beyond
its round trips.
"""

import argparse
import asyncio
import fcntl
import heapq
import json
import os
import select
import shutil
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import urlsplit

DNS_MS = 40  # one answer
WAY_MS = 40  # one way to the servers
RTT = 2 * WAY_MS
LATE_MS = 200  # how late the late HTTPS answer is
ATTEMPT_DELAY_MS = 250
PLAIN_CONNECT_TIMEOUT_S = 3

CLIENT4, CLIENT6 = "10.77.0.1", "fd77::1"
SERVER4, SERVER6 = "10.77.0.2", "fd77::2"
DNS4 = "10.77.0.53"
NOWHERE6 = "fd77::66"

A, AAAA, HTTPS = 1, 28, 65


def missing() -> str | None:
    """Why this cannot run here."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("unshare", "nsenter", "ip"):
        if not shutil.which(tool):
            return f"needs {tool}"
    if not os.path.exists("/dev/net/tun"):
        return "needs /dev/net/tun"
    probe = subprocess.run(
        ["unshare", "-n", "ip", "tuntap", "add", "probe", "mode", "tun"], capture_output=True
    )
    if probe.returncode:
        return "may not make a network namespace with a TUN device"
    return None


# The network


class Namespace:
    """A network namespace that lives as long as this process."""

    def __init__(self):
        self.holder = subprocess.Popen(
            ["unshare", "-n", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == own:
            time.sleep(0.01)

    def command(self, *words: str) -> list[str]:
        return ["nsenter", "-t", str(self.holder.pid), "-n", *words]

    def run(self, *words: str):
        subprocess.run(self.command(*words), check=True)

    def close(self):
        self.holder.stdin.close()
        self.holder.wait()


def tun(name: str) -> int:
    """A TUN device; its packets come and go without a header of its own."""
    tunsetiff, iff_tun, iff_no_pi = 0x400454CA, 0x0001, 0x1000
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, tunsetiff, struct.pack("16sH", name.encode(), iff_tun | iff_no_pi))
    return device


class Wire(threading.Thread):
    """Carries packets between two devices, late."""

    def __init__(self, one: int, other: int):
        super().__init__(daemon=True)
        self.peer = {one: other, other: one}

    def run(self):
        queue, serial = [], 0
        while True:
            wait = max(0.0, queue[0][0] - time.monotonic()) if queue else None
            ready, _, _ = select.select(list(self.peer), [], [], wait)
            now = time.monotonic()
            for device in ready:
                try:
                    packet = os.read(device, 65535)
                except BlockingIOError:
                    continue
                delay = self.delay_ms(packet)
                if delay is not None:
                    serial += 1
                    due = now + delay / 1000
                    heapq.heappush(queue, (due, serial, self.peer[device], packet))
            while queue and queue[0][0] <= time.monotonic():
                _, _, device, packet = heapq.heappop(queue)
                os.write(device, packet)

    @staticmethod
    def delay_ms(packet: bytes) -> float | None:
        """None loses it."""
        if packet[0] >> 4 == 6:
            ends = {socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24)}
            return None if NOWHERE6 in ends else WAY_MS
        ends = {socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16)}
        return DNS_MS / 2 if DNS4 in ends else WAY_MS


def join() -> tuple[Namespace, Namespace]:
    client, server = Namespace(), Namespace()
    devices = []
    for name, space, addresses in (
        ("wire0", client, [CLIENT4, CLIENT6]),
        ("wire1", server, [SERVER4, DNS4, SERVER6]),
    ):
        devices.append(tun(name))
        subprocess.run(["ip", "link", "set", name, "netns", str(space.holder.pid)], check=True)
        space.run("ip", "link", "set", "lo", "up")
        for address in addresses:
            length = "64" if ":" in address else "24"
            flags = ["nodad"] if ":" in address else []
            space.run("ip", "address", "add", f"{address}/{length}", "dev", name, *flags)
        space.run("ip", "link", "set", name, "up")
    Wire(*devices).start()
    return client, server


# In the server's namespace


async def serve(upstream_dns: str, ports: list[int], v6: str, late_ms: int):
    """The testbed listens on loopback; this stands in front of it."""

    async def relay(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def forward(port: int):
        async def accepted(reader, writer):
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(relay(reader, up_writer), relay(up_reader, writer))

        return accepted

    class Dns(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, query, peer):
            asyncio.get_running_loop().create_task(self.answer(query, peer))

        async def answer(self, query: bytes, peer):
            end = query.index(b"\0", 12) + 1
            (kind,) = struct.unpack("!H", query[end : end + 2])
            if kind == HTTPS:
                await asyncio.sleep(late_ms / 1000)
                answer = await asyncio.to_thread(ask, upstream_dns, query)
                # The hints too are to lead here.
                answer = answer.replace(socket.inet_aton("127.0.0.1"), socket.inet_aton(SERVER4))
                loopback6 = socket.inet_pton(socket.AF_INET6, "::1")
                answer = answer.replace(loopback6, socket.inet_pton(socket.AF_INET6, v6))
            else:
                address = {
                    A: socket.inet_aton(SERVER4),
                    AAAA: socket.inet_pton(socket.AF_INET6, v6),
                }[kind]
                head = query[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0)
                record = struct.pack("!HHHIH", 0xC00C, kind, 1, 300, len(address)) + address
                answer = head + query[12 : end + 4] + record
            self.transport.sendto(answer, peer)

    for port in ports:
        for address in (SERVER4, SERVER6):
            await asyncio.start_server(forward(port), address, port)
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Dns, local_addr=(DNS4, 53))
    print("ready", flush=True)
    await asyncio.Event().wait()


def ask(server: str, query: bytes) -> bytes:
    host, port = server.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(5)
        asking.connect((host, int(port)))
        asking.send(query)
        return asking.recv(65535)


# In the client's namespace


def plain(url: str, ca: str, runs: int):
    """A client that waits for one answer after another and connects to one address after another,
    without ECH, over HTTP/1.1."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    context = ssl.create_default_context(cafile=ca)

    def look_up(name: str, kind: int) -> list[bytes]:
        labels = b"".join(bytes([len(one)]) + one.encode() for one in name.split("."))
        query = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0)
        answer = ask(f"{DNS4}:53", query + labels + b"\0" + struct.pack("!HH", kind, 1))
        size = {A: 4, AAAA: 16}.get(kind)
        return [answer[-size:]] if size else []

    for _ in range(runs):
        begun = time.monotonic()
        look_up(f"_{port}._https.{host}", HTTPS)
        addresses = [socket.inet_ntop(socket.AF_INET6, raw) for raw in look_up(host, AAAA)]
        addresses += [socket.inet_ntoa(raw) for raw in look_up(host, A)]
        for address in addresses:
            try:
                tcp = socket.create_connection((address, port), PLAIN_CONNECT_TIMEOUT_S)
                break
            except OSError:
                continue
        with tcp, context.wrap_socket(tcp, server_hostname=host) as tls:
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            page = b""
            while part := tls.recv(65536):
                page += part
        assert page.startswith(b"HTTP/1.1 200"), page[:100]
        print(json.dumps({"ms": (time.monotonic() - begun) * 1000}), flush=True)


# All of it

FETCH = 3 * RTT  # TCP, TLS, HTTP
SCENARIOS = [
    # name, case, what the network does, warm, ideal in ms, what the ideal is made of
    ("nominal, cold", "nominal", {}, False, DNS_MS + FETCH, "DNS + TCP + TLS + HTTP"),
    ("nominal, DNS cached", "nominal", {}, True, FETCH, "TCP + TLS + HTTP"),
    (
        "IPv6 broken",
        "nominal",
        {"v6": NOWHERE6},
        False,
        DNS_MS + ATTEMPT_DELAY_MS + FETCH,
        "DNS + attempt delay + TCP + TLS + HTTP",
    ),
    (
        "HTTPS answer late",
        "nominal",
        {"late_ms": LATE_MS},
        False,
        DNS_MS + LATE_MS + FETCH,
        "late DNS + TCP + TLS + HTTP",
    ),
    (
        "stale key, retry",
        "stale",
        {},
        False,
        DNS_MS + 2 * RTT + FETCH,
        "DNS + TCP + TLS, and again + HTTP",
    ),
]


def measure(arguments) -> bool:
    client, server = join()
    me = [sys.executable, os.path.abspath(__file__)]
    ech = os.path.join(arguments.bin, "ech")
    latency = os.path.join(arguments.bin, "examples", "latency")
    good = True
    with tempfile.TemporaryDirectory() as folder:
        ca = os.path.join(folder, "ca.pem")
        cases = sorted({case for _, case, *_ in SCENARIOS})
        only = [word for case in cases for word in ("--only", case)]
        testbed = subprocess.Popen(
            server.command(ech, "testbed", "--json", "--ca-file", ca, *only),
            stdout=subprocess.PIPE,
            text=True,
        )
        told, decoder = "", json.JSONDecoder()
        while True:
            told += testbed.stdout.readline()
            try:
                document, _ = decoder.raw_decode(told)
                break
            except json.JSONDecodeError:
                if testbed.poll() is not None:
                    raise SystemExit("the testbed did not start") from None
        urls = {case["name"]: case["url"] for case in document["cases"]}
        ports = [str(urlsplit(url).port) for url in urls.values()]
        upstream = document["dns"].removeprefix("udp://")

        print(
            f"DNS {DNS_MS} ms, network {WAY_MS} ms one way; median of {arguments.runs}, in ms\n\n"
            f"{'':20} {'ideal':>6} {'ours':>7} {'ratio':>6} {'min':>7} "
            f"{'plain':>8}  round trips in the ideal"
        )
        for name, case, network, warm, ideal, parts in SCENARIOS:
            front = subprocess.Popen(
                server.command(
                    *me,
                    "serve",
                    upstream,
                    ",".join(ports),
                    network.get("v6", SERVER6),
                    str(network.get("late_ms", 0)),
                ),
                stdout=subprocess.PIPE,
                text=True,
            )
            assert front.stdout.readline() == "ready\n"
            start = "warm" if warm else "cold"
            fetch = client.command(latency, f"udp://{DNS4}:53", ca, urls[case])
            # The first one finds servers that have only just started; it does not count.
            results([*fetch, "1", "cold"])
            ours = results([*fetch, str(arguments.runs), start])
            # It has no ECH to be rejected, and no cache.
            other = None
            if case == "nominal" and not warm:
                other = results(client.command(*me, "plain", urls[case], ca, "3"))
            front.terminate()
            front.wait()
            times = [one["ms"] for one in ours]
            assert all(one["report"]["ech"]["status"] == "accepted" for one in ours)
            assert all(one["http"] == "HTTP/2.0" for one in ours)
            median = statistics.median(times)
            good &= warm or median <= 1.1 * ideal
            beside = f"{statistics.median(o['ms'] for o in other):8.0f}" if other else " " * 7 + "-"
            print(
                f"{name:20} {ideal:6} {median:7.1f} {median / ideal:6.3f} {min(times):7.1f} "
                f"{beside}  {parts}",
                flush=True,
            )
        print(
            "\nplain: HTTPS, AAAA and A one after another, addresses one after another "
            f"({PLAIN_CONNECT_TIMEOUT_S} s each), no ECH, HTTP/1.1"
        )
        testbed.terminate()
        testbed.wait()
    for space in (client, server):
        space.close()
    return good


def results(command: list[str]) -> list[dict]:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    match sys.argv[1:]:
        case ["serve", upstream, ports, v6, late_ms]:
            asyncio.run(serve(upstream, [int(p) for p in ports.split(",")], v6, int(late_ms)))
            return
        case ["plain", url, ca, runs]:
            plain(url, ca, int(runs))
            return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True, help="folder with ech and examples/latency")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--check", action="store_true", help="fail beyond 10 %%")
    arguments = parser.parse_args()
    if why := missing():
        print(f"latency bench skipped: {why}")
        return
    # In a namespace of its own, so that nothing of this is seen outside.
    if os.environ.get("ECHKIT_LATENCY") != "inside":
        os.environ["ECHKIT_LATENCY"] = "inside"
        os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv])
    # Timers are the measure: what else runs here is to disturb them as little as possible.
    os.nice(-20)
    good = measure(arguments)
    if arguments.check and not good:
        raise SystemExit("more than 10 % beyond the round trips")


if __name__ == "__main__":
    main()
