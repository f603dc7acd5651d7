"""What leaves the machine, read by a relay between the client and a server of the testbed."""

import asyncio
import json
import socket
import threading

import pytest

import echkit
import echkit.ssl as ssl


class Relay:
    """Passes bytes on in both directions, and keeps what the clients said."""

    def __init__(self, port):
        self.target = ("127.0.0.1", port)
        self.said = []
        self.pumps = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            said = bytearray()
            self.said.append(said)
            for source, sink, kept in ((client, server, said), (server, client, None)):
                pump = threading.Thread(target=self.pump, args=(source, sink, kept), daemon=True)
                pump.start()
                self.pumps.append(pump)

    @staticmethod
    def pump(source, sink, kept):
        try:
            while data := source.recv(65536):
                if kept is not None:
                    kept += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def everything(self):
        """What every client said, once all of them have left."""
        for pump in self.pumps:
            pump.join(60)
        return b"\n".join(self.said).lower()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # shutdown() is what wakes accept().
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def request(host):
    return f"GET /?format=json HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


def word(page):
    """The server's own word about ECH."""
    return json.loads(page.partition(b"\r\n\r\n")[2])["ech"]


def fetch(context, port, host):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
        with context.wrap_socket(plain, server_hostname=host) as sock:
            sock.sendall(request(host))
            page = b""
            while data := sock.recv(65536):
                page += data
            return word(page)


def context_for(testbed, case):
    context = ssl.create_default_context(cafile=testbed.ca_file)
    context.set_ech_config(echkit.lookup(case.host, case.port, dns=testbed.dns).ech)
    return context


def test_a_page_is_fetched_and_its_name_not_sent(ech_testbed):
    case = ech_testbed.case("nominal")
    with Relay(case.port) as relay:
        said = fetch(context_for(ech_testbed, case), relay.port, case.host)
        assert (said["status"], said["inner_sni"]) == ("accepted", case.host)
        assert said["outer_sni"] == case.public_name
        sent = relay.everything()
        assert case.host.encode() not in sent
        assert case.public_name.encode() in sent


def test_the_wire_shows_the_outer_name_that_was_asked_for(ech_testbed):
    case = ech_testbed.case("nominal")
    context = context_for(ech_testbed, case)
    context.set_outer_server_hostname("cover.example")
    with Relay(case.port) as relay:
        said = fetch(context, relay.port, case.host)
        assert (said["status"], said["outer_sni"]) == ("accepted", "cover.example")
        sent = relay.everything()
        assert b"cover.example" in sent
        assert case.host.encode() not in sent and case.public_name.encode() not in sent


def test_neither_the_rejected_connection_nor_the_next_shows_the_name(ech_testbed):
    case = ech_testbed.case("stale")
    context = context_for(ech_testbed, case)
    with Relay(case.port) as relay:
        with pytest.raises(ssl.ECHRejectedError) as caught:
            fetch(context, relay.port, case.host)
        # The same context, which was rejected, continues with what it was given.
        context.set_ech_config(caught.value.retry_configs)
        assert fetch(context, relay.port, case.host)["status"] == "accepted"
        assert len(relay.said) == 2
        assert case.host.encode() not in relay.everything()


def test_asyncio_hides_the_name_too(ech_testbed):
    case = ech_testbed.case("nominal")
    context = context_for(ech_testbed, case)

    async def main(port):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=case.host
        )
        writer.write(request(case.host))
        page = await reader.read()
        writer.close()
        return word(page)

    with Relay(case.port) as relay:
        assert asyncio.run(asyncio.wait_for(main(relay.port), 60))["status"] == "accepted"
        assert case.host.encode() not in relay.everything()


def test_without_an_offer_and_with_grease_the_relay_reads_the_name(ech_testbed):
    case = ech_testbed.case("nominal")
    context = ssl.create_default_context(cafile=ech_testbed.ca_file)
    for options in (0, ssl.OP_ECH_GREASE):
        context.options |= options
        with Relay(case.port) as relay:
            assert fetch(context, relay.port, case.host)["status"] != "accepted"
            assert case.host.encode() in relay.everything()
