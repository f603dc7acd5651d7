"""Encrypted Client Hello without any step of it: the context asks DNS, in threads and in asyncio.

    ech testbed --port 20000 --ca-file ca.pem --detach
    python automatic.py nominal.ech.test 20010 --dns udp://127.0.0.1:20000 --cafile ca.pem
"""

import argparse
import asyncio
import socket

import echkit

REQUEST = "GET /?format=json HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n"


def in_a_thread(context: echkit.DiscoveringSSLContext, host: str, address: str, port: int) -> None:
    with socket.create_connection((address, port), timeout=30) as plain:
        with context.wrap_socket(plain, server_hostname=host) as sock:
            print(sock.get_ech_status().name, "outer name:", sock.outer_server_hostname)
            sock.sendall(REQUEST.format(host).encode())
            print(sock.recv(65536).decode())


async def in_an_event_loop(context: echkit.DiscoveringSSLContext, host: str) -> None:
    found = await context.prepare(host)
    endpoint = found.endpoints[0]
    reader, writer = await asyncio.open_connection(
        str(endpoint.addresses[-1]), endpoint.port, ssl=context, server_hostname=host
    )
    writer.write(REQUEST.format(host).encode())
    print((await reader.read()).decode())
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch a page over Encrypted Client Hello")
    parser.add_argument("host")
    parser.add_argument("port", type=int, nargs="?", default=443)
    parser.add_argument("--dns", help="the resolver; see `ech get --help`")
    parser.add_argument("--cafile", help="trust these certificates instead of the system's")
    args = parser.parse_args()
    context = echkit.create_default_context(
        port=args.port, cafile=args.cafile, dns=args.dns, ech="require"
    )
    context.set_alpn_protocols(["http/1.1"])
    endpoint = context.discover(args.host).endpoints[0]
    in_a_thread(context, args.host, str(endpoint.addresses[-1]), endpoint.port)
    asyncio.run(in_an_event_loop(context, args.host))


if __name__ == "__main__":
    main()
