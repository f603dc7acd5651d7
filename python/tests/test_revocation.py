"""Revocation lists count as in the standard module: the newest that is valid."""

import itertools
import ssl as standard

import pytest

import echkit.ssl as ssl
from judging import visit
from pki import certificate, needs_openssl, openssl

pytestmark = needs_openssl

SAN = "subjectAltName=DNS:localhost"
LEAF, CHAIN = standard.VERIFY_CRL_CHECK_LEAF, standard.VERIFY_CRL_CHECK_CHAIN

_CONFIG = """
[ca]
default_ca=one
[one]
database=NAME.txt
default_md=sha256
unique_subject=no
crlnumber=NAME.number
crl_extensions=extensions
[extensions]
EXTENSIONS
[unnumbered]
authorityKeyIdentifier=keyid
"""

AGES = {
    "old": ("20240101000000Z", "21200101000000Z"),
    "new": ("20250101000000Z", "21200101000000Z"),
    "over": ("20250601000000Z", "20250701000000Z"),
    "future": ("21000101000000Z", "21200101000000Z"),
}


class Authority:
    """An authority that makes revocation lists."""

    def __init__(self, home, name, *extensions, issuer=None):
        self.home, self.name = home, name
        certificate(home, name, f"/CN={name}", *extensions, issuer=issuer, ca=True)
        (home / f"{name}.txt").write_text("")
        (home / f"{name}.number").write_text("01\n")

    def leaf(self, name):
        certificate(self.home, name, "/CN=localhost", SAN, issuer=self.name)

    def crl(self, out, revoked=(), age="new", extensions="", number=True, version_1=False):
        config = _CONFIG.replace("NAME", self.name).replace("EXTENSIONS", extensions)
        if version_1:
            config = config.replace("crl_extensions=extensions\n", "")
            config = config.replace(f"crlnumber={self.name}.number\n", "")
        (self.home / "ca.cnf").write_text(config)
        (self.home / f"{self.name}.txt").write_text("")
        command = ["ca", "-config", "ca.cnf", "-cert", f"{self.name}.crt"]
        command += ["-keyfile", f"{self.name}.key"]
        for leaf in revoked:
            openssl(*command, "-revoke", f"{leaf}.crt", cwd=self.home)
        start, end = AGES[age]
        command += ["-gencrl", "-crl_lastupdate", start, "-crl_nextupdate", end]
        openssl(*command, "-out", f"{out}.crl", cwd=self.home)


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    home = tmp_path_factory.mktemp("crls")
    root = Authority(home, "root")
    root.leaf("good")
    root.leaf("bad")
    middle = Authority(home, "middle", issuer="root")
    middle.leaf("deep")
    text = (home / "deep.crt").read_text() + (home / "middle.crt").read_text()
    (home / "deep+middle.crt").write_text(text)
    (home / "deep+middle.key").write_text((home / "deep.key").read_text())
    for age in AGES:
        root.crl(f"{age}-empty", age=age)
        root.crl(f"{age}-bad", ["bad"], age=age)
    root.crl("middle-revoked", ["middle"])
    middle.crl("of-middle")
    silent = Authority(home, "silent", "keyUsage=critical,keyCertSign")
    silent.leaf("of-silent")
    silent.crl("by-silent")
    other = Authority(home, "other")
    other.crl("of-other")
    root.crl("version-1", ["bad"], version_1=True)
    root.crl("delta", extensions="2.5.29.27=critical,DER:020101")
    root.crl("reasons", extensions="issuingDistributionPoint=critical,@idp\n[idp]\nonlysomereasons=keyCompromise")
    root.crl("indirect", extensions="issuingDistributionPoint=critical,@idp\n[idp]\nindirectCRL=TRUE")
    root.crl("critical", extensions="1.2.3.4=critical,ASN1:NULL")
    return home


def judged(module, certs, leaf, lists, flags=LEAF, trusted=("root",)):
    def load(context):
        for name in lists:
            context.load_verify_locations(certs / f"{name}.crl")

    return visit(module, certs, leaf, trusted, flags=flags, more=load)


SETS = [(), *itertools.permutations(["old-empty", "new-bad"])]
SETS += [(one,) for age in AGES for one in (f"{age}-empty", f"{age}-bad")]
SETS += [*itertools.permutations(["old-bad", "new-empty"])]
SETS += [*itertools.permutations(["old-empty", "over-bad"])]
SETS += [*itertools.permutations(["old-bad", "over-empty"])]
SETS += [*itertools.permutations(["new-empty", "future-bad"])]
SETS += [*itertools.permutations(["new-bad", "future-empty"])]
SETS += [*itertools.permutations(["over-empty", "future-empty"])]
SETS += [*itertools.permutations(["old-empty", "new-bad", "of-other"])]


@pytest.mark.parametrize("lists", SETS)
@pytest.mark.parametrize("leaf", ["good", "bad"])
def test_the_newest_valid_list_counts(certs, leaf, lists):
    assert judged(ssl, certs, leaf, lists) == judged(standard, certs, leaf, lists)


CHAINS = {
    "both lists": (("new-empty", "of-middle"), CHAIN),
    "the list of the intermediate alone": (("of-middle",), CHAIN),
    "the list of the root alone": (("new-empty",), CHAIN),
    "a revoked intermediate": (("middle-revoked", "of-middle"), CHAIN),
    "a revoked intermediate, and only the host is checked": (("middle-revoked", "of-middle"), LEAF),
}


@pytest.mark.parametrize("case", CHAINS)
def test_chains(certs, case):
    lists, flags = CHAINS[case]
    ours = judged(ssl, certs, "deep+middle", lists, flags)
    assert ours == judged(standard, certs, "deep+middle", lists, flags)


def test_who_may_sign_lists(certs):
    for lists in (("by-silent",), ()):
        ours = judged(ssl, certs, "of-silent", lists, trusted=["silent"])
        assert ours == judged(standard, certs, "of-silent", lists, trusted=["silent"])
        assert ours[0] == "certificate"


PARTIAL = standard.VERIFY_X509_PARTIAL_CHAIN


def test_nobody_is_let_in_without_a_list_where_one_is_demanded(certs):
    """Certificates that are trusted as they are need a list too."""
    for leaf, trusted, flags in (
        ("good", ["good"], LEAF | PARTIAL),
        ("deep+middle", ["middle"], CHAIN | PARTIAL),
        ("deep+middle", ["middle"], LEAF | PARTIAL),
    ):
        ours = judged(ssl, certs, leaf, (), flags, trusted)
        assert ours[0] == judged(standard, certs, leaf, (), flags, trusted)[0] == "certificate"


UNUSABLE = {
    "version-1": "version 1",
    "delta": "delta",
    "reasons": "reasons",
    "indirect": "indirect",
    "critical": "critical extension",
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_list_that_cannot_be_used_raises_when_it_is_loaded(certs, name):
    file = certs / f"{name}.crl"
    standard.SSLContext(standard.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ssl.SSLError, match=UNUSABLE[name]) as caught:
        context.load_verify_locations(file)
    assert str(file) in str(caught.value) and "CN=root" in str(caught.value)
    assert context.cert_store_stats()["crl"] == 0


def test_a_list_in_a_folder_that_cannot_be_used_raises_where_lists_count(certs, tmp_path):
    (tmp_path / "0a0a0a0a.r0").write_text((certs / "version-1.crl").read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(capath=tmp_path)
    bios = ssl.MemoryBIO(), ssl.MemoryBIO()
    context.wrap_bio(*bios, server_hostname="localhost")
    context.verify_flags |= LEAF
    with pytest.raises(ssl.SSLError, match="version 1"):
        context.wrap_bio(*bios, server_hostname="localhost")
