"""No private key outlives the contexts that it was loaded into."""

import base64
import gc
import os
import pathlib
import re
import subprocess
import sys

import pytest

import echkit.ssl as ssl
from echkit import _files, _settings
from peer import CERTS, HIDDEN, PUBLIC, ech_config
from pki import needs_openssl, openssl

KEY = "PRIVATE KEY"
PASSWORD = "a password of no other use"


def block(path, label):
    """The lines of a PEM block, and the bytes in it."""
    text = pathlib.Path(path).read_text()
    body = text.split(f"-----BEGIN {label}-----\n")[1].split(f"\n-----END {label}-----")[0]
    return body.encode().splitlines(), base64.b64decode(body)


def scalar_of(der):
    """The private number in a PKCS#8 key, of P-256 or X25519."""
    mark = b"\x02\x01\x01\x04\x20" if b"\x02\x01\x01\x04\x20" in der else b"\x04\x22\x04\x20"
    at = der.index(mark) + len(mark)
    return der[at : at + 32]


def forms(path):
    """Whatever would give the key in a PKCS#8 file away, by name."""
    lines, der = block(path, KEY)
    scalar = scalar_of(der)
    found = {"scalar": scalar, "little-endian scalar": scalar[::-1]}
    # Each line of the text that holds 16 bytes of it or more.
    at = der.index(scalar)
    for number, line in enumerate(lines):
        first, last = max(at, number * 48), min(at + 32, number * 48 + 48)
        if last - first >= 16:
            start = -(-(first - number * 48) // 3) * 4
            end = (last - number * 48) // 3 * 4
            found[f"PEM line {number}"] = line[start:end]
    return found


class Holder:
    """A process of `keyholder.py`."""

    def __init__(self, *arguments):
        script = pathlib.Path(__file__).with_name("keyholder.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "KEY_PASSWORD": PASSWORD},
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def does(self, what):
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def holds(self, needles):
        """Which of the needles are in its memory."""
        found = set()
        base = pathlib.Path(f"/proc/{self.process.pid}")
        with open(base / "mem", "rb") as memory:
            for line in (base / "maps").read_text().splitlines():
                start, end, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
                if not rights.startswith("rw"):
                    continue
                try:
                    memory.seek(int(start, 16))
                    contents = memory.read(int(end, 16) - int(start, 16))
                except (OSError, ValueError, OverflowError):
                    continue  # the kernel's own
                found.update(name for name, needle in needles.items() if needle in contents)
        return found


def check(ech, *keys, plain):
    """Keys, whose plain PKCS#8 is in the files `plain`, are in memory only as long as they are in use."""
    needles = {
        (pathlib.Path(path).name, name): needle
        for path in plain
        for name, needle in forms(path).items()
    }
    with Holder(ech_config(), ech, *keys) as holder:
        holder.does("use")
        # aws-lc-rs holds numbers in words of the processor; there must be something to find.
        assert holder.holds(needles)
        holder.does("drop")
        assert holder.holds(needles) == set()
        # The search finds what is there.
        holder.does("copy")
        copied = {pathlib.Path(path).name for path in (*keys, ech)}
        expected = {key for key in needles if key[0] in copied and key[1].startswith("PEM")}
        assert expected and holder.holds(needles) >= expected
        holder.does("drop")


def test_keys_that_were_loaded_by_path_are_not_in_memory_when_their_context_is_gone():
    ech, key = CERTS / "ech.pem", CERTS / f"{HIDDEN}.pem"
    check(ech, key, plain=[ech, key])


@needs_openssl
def test_neither_are_encrypted_keys_and_those_in_other_forms(tmp_path):
    plain = CERTS / f"{HIDDEN}.pem"
    encrypted, sec1 = tmp_path / "encrypted.pem", tmp_path / "sec1.pem"
    command = ["pkcs8", "-topk8", "-in", str(plain), "-passout", f"pass:{PASSWORD}"]
    openssl(*command, "-out", str(encrypted), cwd=tmp_path)
    openssl("ec", "-in", str(plain), "-out", str(sec1), cwd=tmp_path)
    assert "BEGIN EC PRIVATE KEY" in sec1.read_text()
    ech = CERTS / "ech.pem"
    check(ech, encrypted, sec1, plain=[plain, ech])


def test_equal_contexts_share_their_settings_and_leave_none_behind():
    def made():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTS / f"{HIDDEN}.pem")
        context.load_ech_keys(CERTS / "ech.pem")
        return context

    made()._connection_settings(True)
    gc.collect()
    before = len(_settings._shared._table)
    one, other = made(), made()
    settings = one._connection_settings(True)
    assert other._connection_settings(True) is settings
    # To load the same key again, as some libraries do for each connection, changes nothing.
    one.load_cert_chain(CERTS / f"{HIDDEN}.pem")
    assert one._connection_settings(True) is settings
    # Another key does, and the old one is let go.
    one.load_cert_chain(CERTS / f"{PUBLIC}.pem")
    assert one._connection_settings(True) is not settings
    del one, other, settings
    gc.collect()
    assert len(_settings._shared._table) == before


def test_nothing_that_is_kept_for_later_holds_a_key():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = CERTS / f"{HIDDEN}.pem"
    context.load_cert_chain(path)
    context.load_verify_locations(path)
    context.load_ech_keys(CERTS / "ech.pem")
    context._connection_settings(True)
    secrets = [needle for file in (path, CERTS / "ech.pem") for needle in forms(file).values()]
    secrets += [block(file, KEY)[1] for file in (path, CERTS / "ech.pem")]
    tables = [_settings._stores._table, _files._files._table, _files._folders._table, _settings._shared._table]
    kept = [value for table in tables for value in (*table.keys(), *table.values())]
    seen = 0
    while kept:
        value = kept.pop()
        if isinstance(value, (tuple, list)):
            kept.extend(value)
        elif isinstance(value, bytes):
            seen += 1
            assert not any(secret in value for secret in secrets)
    assert seen


# What the standard class would say, now that it is not asked.


def load(*arguments, **more):
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*arguments, **more)


def test_files_that_are_missing_broken_or_do_not_belong_together_are_refused(tmp_path):
    good = CERTS / f"{HIDDEN}.pem"
    with pytest.raises(FileNotFoundError) as missing:
        load(tmp_path / "missing.pem")
    assert missing.value.filename == str(tmp_path / "missing.pem")
    with pytest.raises(FileNotFoundError):
        load(good, tmp_path / "missing.pem")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)
    only = {}
    for label in ("CERTIFICATE", KEY):
        text = good.read_text()
        end = f"-----END {label}-----\n"
        only[label] = tmp_path / f"{label}.pem"
        only[label].write_text(text[text.index(f"-----BEGIN {label}") : text.index(end)] + end)
    load(only["CERTIFICATE"], only[KEY])
    load(str(only["CERTIFICATE"]).encode(), str(only[KEY]).encode())
    for files in (only["CERTIFICATE"],), (only[KEY],), (only[KEY], only["CERTIFICATE"]):
        with pytest.raises(ssl.SSLError, match="PEM lib"):
            load(*files)
    broken = tmp_path / "broken.pem"
    for text in ("", "-----BEGIN CERTIFICATE-----\n", good.read_text().replace("MII", "***")):
        broken.write_text(text)
        with pytest.raises(ssl.SSLError, match="broken.pem"):
            load(broken)
    with pytest.raises(ssl.SSLError, match="key values mismatch") as caught:
        load(CERTS / f"{PUBLIC}.pem", good)
    assert (caught.value.library, caught.value.reason) == ("X509", "KEY_VALUES_MISMATCH")


@needs_openssl
def test_passwords_are_asked_for_when_they_are_needed(tmp_path):
    plain, encrypted = CERTS / f"{HIDDEN}.pem", tmp_path / "encrypted.pem"
    command = ["pkcs8", "-topk8", "-in", str(plain), "-passout", "pass:word"]
    openssl(*command, "-out", str(encrypted), cwd=tmp_path)

    def never():
        raise AssertionError("asked for nothing")

    load(plain, password=never)
    for right in ("word", b"word", bytearray(b"word")):
        load(plain, encrypted, right)
        load(plain, encrypted, lambda answer=right: answer)
    for wrong in (None, "other", lambda: "other"):
        with pytest.raises(ssl.SSLError, match="encrypted.pem"):
            load(plain, encrypted, wrong)
    for wrong, message in ((True, "should be a string"), (lambda: 1, "must return a string")):
        with pytest.raises(TypeError, match=message):
            load(plain, encrypted, wrong)
    with pytest.raises(ValueError, match="cannot be longer"):
        load(plain, encrypted, "a" * 1025)
    with pytest.raises(AssertionError, match="asked"):
        load(plain, encrypted, never)
    legacy = tmp_path / "legacy.pem"
    openssl(
        "ec", "-in", str(plain), "-aes128", "-passout", "pass:word", "-out", str(legacy),
        cwd=tmp_path,
    )
    with pytest.raises(ssl.SSLError, match="legacy form"):
        load(plain, legacy, "word")
