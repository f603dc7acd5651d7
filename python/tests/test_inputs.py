"""Files and texts as people have them: ECHConfigLists, ECH keys and CA files."""

import base64
import pathlib
import ssl as std

import pytest

import echkit.ssl as ssl
from peer import server_context, shake_hands_in_memory

CERTS = pathlib.Path(__file__).with_name("certs")
LIST = (
    "AEX+DQBBFQAgACA/EHh3GXREvy6G2AMi15EnVVYAqqjWHCfGlPIUT4dpCAAEAAEAAQASY2xvdWRmbGFyZS1lY2guY29t"
    "AAA="
)
RAW = base64.b64decode(LIST)


def client():
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.mark.parametrize(
    "form",
    [
        LIST,
        LIST.rstrip("="),
        LIST.replace("+", "-").replace("/", "_"),
        f'"{LIST}"\n',
        f"ecl:{LIST}",
        f'ech="{LIST}"',
        f"example.com. 300 IN HTTPS 1 . alpn=h2 ech={LIST}",
        RAW.hex(":"),
        "0x" + RAW.hex(),
        RAW,
        RAW[2:],
        "-----BEGIN ECHCONFIG-----\n" + "\n".join(LIST[i : i + 60] for i in range(0, 96, 60))
        + "\n-----END ECHCONFIG-----\n",
    ],
)
def test_a_list_is_taken_in_every_form(form):
    client().set_ech_config(form)


@pytest.mark.parametrize(
    ("form", "part"),
    [
        ("garbage!", "'!', character 8"),
        (LIST[:40], "ECHConfigList in base64"),
        (RAW.hex()[:40], "ECHConfigList in hexadecimal"),
        ("1 . alpn=h2", "without an `ech` parameter"),
        (RAW[2:-1], "without the length of a list, in binary"),
        ("", "empty"),
    ],
)
def test_an_error_says_what_the_input_was_taken_for(form, part):
    with pytest.raises(ssl.SSLError, match="BAD_ECHCONFIG") as caught:
        client().set_ech_config(form)
    assert part in str(caught.value)


def test_a_key_file_that_is_not_pem_is_told_what_keys_are_read_from(tmp_path):
    (tmp_path / "config.bin").write_bytes(RAW[2:])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ssl.SSLError, match="ECHCONFIG block"):
        context.load_ech_keys(tmp_path / "config.bin")


@pytest.mark.parametrize("label", ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_ca_files_are_read_as_the_standard_module_reads_them(tmp_path, label, mark):
    file = tmp_path / "ca.pem"
    text = (CERTS / "ca.pem").read_text()
    file.write_text(mark + text.replace("CERTIFICATE", label), encoding="utf-8")
    stats = []
    for module in (std, ssl):
        context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(file)
        stats.append(context.cert_store_stats()["x509"])
    assert stats == [1, 1]


@pytest.mark.parametrize("label", ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_ca_folders_are_read_as_ca_files_are(tmp_path, label, mark):
    text = (CERTS / "ca.pem").read_text()
    file = tmp_path / "0a0a0a0a.0"
    file.write_text(mark + text.replace("CERTIFICATE", label), encoding="utf-8")
    (tmp_path / "0a0a0a0a.1").write_text("nothing\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(capath=tmp_path)
    shake_hands_in_memory(ssl, context, server_context(ssl))


def test_a_ca_file_without_a_certificate_raises(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text("\ufeffnothing\n", encoding="utf-8")
    for module in (std, ssl):
        context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
        with pytest.raises(module.SSLError) as caught:
            context.load_verify_locations(file)
        assert caught.value.reason == "NO_CERTIFICATE_OR_CRL_FOUND"
