"""Certificates, ECH keys and servers made with OpenSSL 4, which is built for the interop matrix."""

import os
import pathlib
import subprocess

import pytest

_CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
OPENSSL = _CACHE / "echkit-interop/openssl-4.0.3/bin/openssl"
HIDDEN, PUBLIC = "secret.example", "public.example"

EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")

needs_openssl = pytest.mark.skipif(
    not OPENSSL.exists(), reason="`make peers` has not built OpenSSL 4"
)


def openssl(*args, cwd):
    subprocess.run([str(OPENSSL), *args], cwd=cwd, check=True, capture_output=True)


def certificate(
    home, name, subject, *extensions, issuer=None, ca=False, dates=("-days", "2"), key=EC_KEY
):
    """Makes ``name.crt`` and ``name.key``: signed by ``issuer``, or by itself. Without basic
    constraints where ``ca`` is ``None``."""
    (home / "empty.cnf").write_text("[req]\ndistinguished_name=dn\n[dn]\n")
    command = ["req", "-config", "empty.cnf", *key, "-nodes", "-x509", *dates, "-subj", subject]
    given = any(extension.startswith("basicConstraints=") for extension in extensions)
    if ca is not None and not given:
        constraints = "critical,CA:TRUE" if ca else "critical,CA:FALSE"
        extensions = (f"basicConstraints={constraints}", *extensions)
    for extension in extensions:
        command += ["-addext", extension]
    if issuer is not None:
        command += ["-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key"]
    openssl(*command, "-keyout", f"{name}.key", "-out", f"{name}.crt", cwd=home)


def ech_folder(home):
    """A CA, a certificate for each of the two names, and the ECH keys `good` and `stale`."""
    certificate(home, "ca", "/CN=Test CA", ca=True)
    for name in (HIDDEN, PUBLIC):
        certificate(home, name, f"/CN={name}", f"subjectAltName=DNS:{name}", issuer="ca")
    for name in ("good", "stale"):
        openssl("ech", "-public_name", PUBLIC, "-out", f"{name}.ech", cwd=home)
    return home


def ech_config(path):
    """The ECHConfigList of a key file, as base64."""
    text = path.read_text()
    body = text.split("-----BEGIN ECHCONFIG-----")[1].split("-----END ECHCONFIG-----")[0]
    return "".join(body.split())
