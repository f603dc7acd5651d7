"""What certificates say about their use limits it as it does in the standard module.

Each limit is set in a root, in an intermediate, in the certificate itself and in one that is
trusted as it is, and the peer is a server or a client.
"""

import ssl as standard

import pytest

import echkit.ssl as ssl
from judging import show, visit
from pki import certificate, needs_openssl

pytestmark = needs_openssl

SAN = "subjectAltName=DNS:localhost"
CA = "basicConstraints=critical,CA:TRUE"
PARTIAL = standard.VERIFY_X509_PARTIAL_CHAIN

AUTHORITIES = {
    "nothing": (CA,),
    "path length 0": (f"{CA},pathlen:0",),
    "path length 1": (f"{CA},pathlen:1",),
    "no keyCertSign": (CA, "keyUsage=critical,digitalSignature,cRLSign"),
    "keyCertSign": (CA, "keyUsage=critical,keyCertSign"),
    "for servers": (CA, "extendedKeyUsage=serverAuth"),
    "for clients": (CA, "extendedKeyUsage=clientAuth"),
    "for both": (CA, "extendedKeyUsage=serverAuth,clientAuth"),
    "for mail": (CA, "extendedKeyUsage=emailProtection"),
    "for anything": (CA, "extendedKeyUsage=anyExtendedKeyUsage"),
    "unknown and critical": (CA, "1.2.3.4=critical,ASN1:NULL"),
    "unknown": (CA, "1.2.3.4=ASN1:NULL"),
    "not an authority": ("basicConstraints=critical,CA:FALSE",),
    "no constraints": (),
    "no constraints and keyCertSign": ("keyUsage=critical,keyCertSign",),
    "Netscape's authority": (CA, "nsCertType=sslCA"),
    "Netscape's server": (CA, "nsCertType=server"),
    "names permitted": (CA, "nameConstraints=critical,permitted;DNS:localhost"),
    "other names permitted": (CA, "nameConstraints=critical,permitted;DNS:example.org"),
    "names excluded": (CA, "nameConstraints=critical,excluded;DNS:localhost"),
}

LEAVES = {
    "nothing": (),
    "digitalSignature": ("keyUsage=critical,digitalSignature",),
    "keyEncipherment": ("keyUsage=critical,keyEncipherment",),
    "keyAgreement": ("keyUsage=critical,keyAgreement",),
    "keyCertSign": ("keyUsage=critical,keyCertSign",),
    "dataEncipherment": ("keyUsage=critical,dataEncipherment",),
    "for servers": ("extendedKeyUsage=serverAuth",),
    "for clients": ("extendedKeyUsage=clientAuth",),
    "for both": ("extendedKeyUsage=serverAuth,clientAuth",),
    "for mail": ("extendedKeyUsage=emailProtection",),
    "for anything": ("extendedKeyUsage=anyExtendedKeyUsage",),
    "Netscape's server": ("nsCertType=server",),
    "Netscape's client": ("nsCertType=client",),
    "unknown and critical": ("1.2.3.4=critical,ASN1:NULL",),
    "an authority": (CA,),
}


def slug(name):
    return name.replace(" ", "-").replace("'", "")


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    home = tmp_path_factory.mktemp("certs")
    certificate(home, "root", "/CN=Root", ca=True)
    certificate(home, "good", "/CN=localhost", SAN, issuer="root")

    def chain(name, *parts):
        (home / f"{name}.crt").write_text("".join((home / f"{p}.crt").read_text() for p in parts))
        (home / f"{name}.key").write_text((home / f"{parts[0]}.key").read_text())

    for name, extensions in AUTHORITIES.items():
        name = slug(name)
        certificate(home, f"root-{name}", f"/CN=Root {name}", *extensions, ca=None)
        certificate(home, f"of-root-{name}", "/CN=localhost", SAN, issuer=f"root-{name}")
        certificate(home, f"below-{name}", "/CN=Below", CA, issuer=f"root-{name}")
        certificate(home, f"leaf-below-{name}", "/CN=localhost", SAN, issuer=f"below-{name}")
        chain(f"deep-{name}", f"leaf-below-{name}", f"below-{name}")
        certificate(home, f"middle-{name}", f"/CN=M {name}", *extensions, issuer="root", ca=None)
        certificate(home, f"of-middle-{name}", "/CN=localhost", SAN, issuer=f"middle-{name}")
        chain(f"through-{name}", f"of-middle-{name}", f"middle-{name}")
    for name, extensions in LEAVES.items():
        name = slug(name)
        certificate(home, f"leaf-{name}", "/CN=localhost", SAN, *extensions, issuer="root")
        certificate(home, f"self-{name}", "/CN=localhost", SAN, *extensions)
    return home


def both(certs, leaf, trusted, flags=0):
    """What both modules say about a server and about a client."""
    seen = []
    for module in (standard, ssl):
        server = visit(module, certs, leaf, trusted, flags=flags)
        client = show(module, certs, standard.CERT_REQUIRED, leaf, trusted, flags)
        seen.append((server, client))
    return seen


@pytest.mark.parametrize("limit", AUTHORITIES)
def test_in_a_root(certs, limit):
    name = slug(limit)
    for leaf in (f"of-root-{name}", f"deep-{name}"):
        expected, ours = both(certs, leaf, [f"root-{name}"])
        assert ours == expected


@pytest.mark.parametrize("limit", AUTHORITIES)
def test_in_an_intermediate(certs, limit):
    expected, ours = both(certs, f"through-{slug(limit)}", ["root"])
    assert ours == expected


@pytest.mark.parametrize("limit", AUTHORITIES)
def test_in_an_intermediate_that_is_trusted_as_it_is(certs, limit):
    name = slug(limit)
    expected, ours = both(certs, f"of-middle-{name}", [f"middle-{name}"], PARTIAL)
    assert ours == expected


@pytest.mark.parametrize("limit", LEAVES)
def test_in_the_certificate(certs, limit):
    expected, ours = both(certs, f"leaf-{slug(limit)}", ["root"])
    if limit == "an authority":
        # webpki tells hosts and authorities apart.
        assert expected[0][0] == "trusted" and ours[0][:3] == (
            "certificate", "CERTIFICATE_VERIFY_FAILED", 1,
        )
    else:
        assert ours == expected


@pytest.mark.parametrize("flags", [0, PARTIAL])
@pytest.mark.parametrize("limit", LEAVES)
def test_in_a_certificate_that_is_trusted_as_it_is(certs, limit, flags):
    names = [f"self-{slug(limit)}"] + ([f"leaf-{slug(limit)}"] if flags else [])
    for name in names:
        expected, ours = both(certs, name, [name], flags)
        assert ours == expected


@pytest.mark.parametrize("limit", LEAVES)
def test_in_a_self_signed_certificate_that_is_not_trusted(certs, limit):
    expected, ours = both(certs, f"self-{slug(limit)}", ["root"])
    assert ours == expected


def test_a_host_that_is_trusted_as_it_is_is_no_authority(certs):
    certificate(certs, "of-host", "/CN=localhost", SAN, issuer="leaf-nothing")
    expected, ours = both(certs, "of-host", ["leaf-nothing"], PARTIAL)
    assert ours == expected
    assert ours[0][0] == ours[1][0] == "certificate"


def test_which_authorities_are_listed(certs):
    for name in AUTHORITIES:
        listed = []
        for module in (standard, ssl):
            context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
            for part in ("root", "middle"):
                context.load_verify_locations(certs / f"{part}-{slug(name)}.crt")
            listed.append((context.cert_store_stats(), sorted(context.get_ca_certs(True))))
        assert listed[0] == listed[1], name


def test_a_weak_key(certs):
    weak = ("-newkey", "rsa:1024")
    certificate(certs, "weak", "/CN=localhost", SAN, issuer="root", key=weak)
    certificate(certs, "weak-root", "/CN=Weak root", CA, key=weak)
    certificate(certs, "of-weak", "/CN=localhost", SAN, issuer="weak-root")

    ours = visit(ssl, certs, "of-weak", ["weak-root"])
    assert ours == visit(standard, certs, "of-weak", ["weak-root"])
    assert ours[2] == 67
    # OpenSSL shows no weak certificate of its own at its default level.
    ours = visit(ssl, certs, "weak", ["root"], ciphers="ALL:@SECLEVEL=0")
    assert ours == visit(standard, certs, "weak", ["root"], ciphers="ALL:@SECLEVEL=0")
    assert ours[2] == 66


@pytest.mark.parametrize("version", [standard.TLSVersion.TLSv1_2, standard.TLSVersion.TLSv1_3])
def test_a_weak_key_that_nobody_asked_to_verify_is_refused_with_the_reason(certs, version):
    certificate(certs, "short", "/CN=localhost", SAN, issuer="root", key=("-newkey", "rsa:1024"))

    def load(context):
        context.check_hostname = False
        context.verify_mode = standard.CERT_NONE
        context.maximum_version = version

    told = visit(ssl, certs, "short", [], check_hostname=False, more=load, ciphers="ALL:@SECLEVEL=0")
    assert told[:3] == ("certificate", "CERTIFICATE_VERIFY_FAILED", 66)
    assert told[3].startswith("EE certificate key too weak: ")
    assert "2048 bits" in told[3] and "CERT_NONE" in told[3]
