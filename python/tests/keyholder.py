"""A process that loads keys by path, uses them and lets them go; its memory is read from outside.

Its arguments are an ECHConfigList, the file with the key of it, and the files with the others; the
environment's ``KEY_PASSWORD`` is for those that are encrypted. It does what its standard input says, one word a line, and answers each with a line: ``use`` loads
all files and makes a connection with each, ``drop`` lets everything go,
``copy`` reads the files into ``bytes`` and holds them.
"""

import gc
import os
import pathlib
import sys

import echkit.ssl as ssl
from peer import CERTS, HIDDEN, client_context, shake_hands_in_memory


def used(key, config, ech):
    """A server's context with the keys, after a connection with it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTS / f"{HIDDEN}.pem", key, os.environ.get("KEY_PASSWORD"))
    server.load_ech_keys(ech)
    client = client_context(ssl)
    client.set_ech_config(config)
    made = shake_hands_in_memory(ssl, client, server)
    assert made.get_ech_status() == ssl.ECH_STATUS_SUCCESS
    return server


def main():
    _, config, ech, *files = sys.argv
    held = []
    for line in sys.stdin:
        match line.strip():
            case "use":
                held.extend(used(key, config, ech) for key in files)
            case "copy":
                held.extend(pathlib.Path(file).read_bytes() for file in (*files, ech))
            case "drop":
                held.clear()
                gc.collect()
        print("done", flush=True)


if __name__ == "__main__":
    main()
