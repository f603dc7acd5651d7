"""Encrypted Client Hello step by step, with ``echkit.ssl`` in the place of ``ssl``.

    ech testbed --port 20000 --ca-file ca.pem --detach
    python by_hand.py https://nominal.ech.test:20010/ --dns udp://127.0.0.1:20000 --cafile ca.pem

and the URL of the case ``stale``, which the testbed prints, for a server with other keys.

The steps: the name to ask in DNS, the record there, the configs in it, a connection that offers
them, what became of the offer and which names were sent; and where the server has other keys by
now, a second connection with those that it sent.
"""

import argparse
import socket
import urllib.parse

import echkit
import echkit.ssl as ssl


def client_context(cafile: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    if cafile is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile)
    return context


def connect(addresses: list[tuple[str, int]]) -> socket.socket:
    """The first address that answers."""
    problem: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection(address, timeout=30)
        except OSError as error:
            problem = error
    raise problem or OSError("there is no address to connect to")


def fetch(
    host: str,
    path: str,
    addresses: list[tuple[str, int]],
    configs: bytes | None,
    cafile: str | None,
) -> bytes | None:
    """Fetches a page. Returns the server's own configs instead when it rejects those offered."""
    context = client_context(cafile)
    if configs is None:
        # Nothing to offer: look like those who have something.
        context.options |= ssl.OP_ECH_GREASE
    else:
        context.set_ech_config(configs)
    plain = connect(addresses)
    with context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False) as sock:
        try:
            sock.do_handshake()
        except echkit.ECHRejectedError as rejected:
            print("status:", sock.get_ech_status().name)
            print("outer name:", sock.outer_server_hostname)
            if not rejected.retry_configs:
                raise  # the server has switched ECH off, and a new connection would show the name
            return rejected.retry_configs
        print("status:", sock.get_ech_status().name)
        print("inner name:", sock.server_hostname)
        print("outer name:", sock.outer_server_hostname)
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        sock.sendall(request.encode())
        page = b""
        while data := sock.recv(65536):
            page += data
    print(page.decode(errors="replace"))
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch a page over Encrypted Client Hello")
    parser.add_argument("url")
    parser.add_argument("--dns", help="the resolver; see `ech get --help`")
    parser.add_argument("--cafile", help="trust these certificates instead of the system's")
    args = parser.parse_args()
    url = urllib.parse.urlsplit(args.url)
    host, port = url.hostname or "", url.port or 443
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")

    found = echkit.lookup(host, port, dns=args.dns)
    print("asked for:", found.query_name)
    for record in found.records:
        print("record:", record.priority, record.target, record.alpn, record.why_not or "usable")
    if found.error is not None:
        raise SystemExit(found.error)

    # The endpoints are in the order in which to try them, those with usable configs first.
    endpoint = found.endpoints[0]
    addresses = [(str(address), endpoint.port) for address in endpoint.addresses]
    configs = endpoint.ech if endpoint.ech_usable else None
    retry = fetch(host, path, addresses, configs, args.cafile)
    if retry is not None:
        # Once, and with these configs; a server that rejects its own is misconfigured.
        print("again, with the server's own configs")
        if fetch(host, path, addresses, retry, args.cafile) is not None:
            raise SystemExit("the server rejects its own configs")


if __name__ == "__main__":
    main()
