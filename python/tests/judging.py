"""What contexts of a module say about the certificates of their peers."""

import socket
import ssl as standard
import threading


class Once(threading.Thread):
    """A server for one connection, and what it thought of its client."""

    def __init__(self, context):
        super().__init__(daemon=True)
        self.context = context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.outcome = None
        self.start()

    def run(self):
        plain, _ = self.listener.accept()
        self.listener.close()
        try:
            with self.context.wrap_socket(plain, server_side=True) as sock:
                subject = (sock.getpeercert() or {}).get("subject")
                sock.sendall(b"x")
                sock.recv(1)
                self.outcome = subject
        except OSError as error:
            self.outcome = told(error)


def told(error):
    """What programs look at in an exception."""
    kind = "certificate" if isinstance(error, standard.SSLCertVerificationError) else "other"
    return (
        kind,
        getattr(error, "reason", None),
        getattr(error, "verify_code", None),
        getattr(error, "verify_message", None),
    )


def visit(module, certs, leaf, trusted, name="localhost", flags=0, check_hostname=True, more=None,
          ciphers=None):
    """What a client of a module says about a server with a certificate. ``more`` changes the
    client's context, ``ciphers`` are the server's."""
    serving = standard.SSLContext(standard.PROTOCOL_TLS_SERVER)
    if ciphers is not None:
        serving.set_ciphers(ciphers)
    serving.load_cert_chain(certs / f"{leaf}.crt", certs / f"{leaf}.key")
    server = Once(serving)
    context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_hostname
    context.verify_flags |= flags
    for ca in trusted:
        context.load_verify_locations(certs / f"{ca}.crt")
    if more is not None:
        more(context)
    try:
        with socket.create_connection(server.address, timeout=60) as plain:
            with context.wrap_socket(plain, server_hostname=name) as sock:
                assert sock.recv(1) == b"x"
                return ("trusted", sock.getpeercert()["subject"])
    except module.SSLError as error:
        return told(error)
    finally:
        server.join(60)


def show(module, certs, mode, shown, trusted=("root",), flags=0):
    """What a server of a module says about a client with a certificate."""
    serving = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certs / "good.crt", certs / "good.key")
    serving.verify_mode = mode
    serving.verify_flags |= flags
    for ca in trusted:
        serving.load_verify_locations(certs / f"{ca}.crt")
    server = Once(serving)
    context = standard.SSLContext(standard.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certs / "root.crt")
    if shown is not None:
        context.load_cert_chain(certs / f"{shown}.crt", certs / f"{shown}.key")
    with socket.create_connection(server.address, timeout=60) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as sock:
                sock.recv(1)
        except OSError:
            pass
    server.join(60)
    return server.outcome
