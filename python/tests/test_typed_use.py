"""How programs use the package, with types: run as tests, and checked by ``mypy --strict``."""

import asyncio
import socket
import ssl as standard
from typing import assert_type

import pytest

import echkit
import echkit.ssl as ssl
from echkit.testing import Case, Testbed


def connect(context: ssl.SSLContext, case: Case) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", case.port), timeout=30)
    return context.wrap_socket(plain, server_hostname=case.host)


def test_the_names_of_the_standard_module_keep_their_types() -> None:
    context = ssl.create_default_context()
    assert_type(context, ssl.SSLContext)
    as_standard: standard.SSLContext = context
    assert as_standard is context
    mode: standard.VerifyMode = ssl.CERT_REQUIRED
    assert context.verify_mode == mode
    assert issubclass(ssl.SSLError, OSError)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_ECH_GREASE
    context.maximum_version = ssl.TLSVersion.TLSv1_3


def test_configs_by_hand(ech_testbed: Testbed) -> None:
    case = ech_testbed.case("stale")
    found = echkit.lookup(case.host, case.port, dns=ech_testbed.dns)
    assert_type(found, echkit.Discovery)
    assert_type(found.ech, bytes | None)
    assert found.ech is not None
    context = ssl.create_default_context(cafile=ech_testbed.ca_file)
    context.set_ech_config(found.ech)
    with pytest.raises(echkit.ECHRejectedError) as caught:
        connect(context, case)
    assert_type(caught.value.retry_configs, bytes)
    context = ssl.create_default_context(cafile=ech_testbed.ca_file)
    context.set_ech_config(caught.value.retry_configs)
    with connect(context, case) as sock:
        assert_type(sock.get_ech_status(), ssl.ECHStatus)
        assert_type(sock.outer_server_hostname, str | None)
        assert sock.get_ech_status() == ssl.ECH_STATUS_SUCCESS
        assert sock.get_ech_retry_config() is None


def test_discovery_in_the_context(ech_testbed: Testbed) -> None:
    case = ech_testbed.case("nominal")
    context = echkit.create_default_context(
        port=case.port, cafile=ech_testbed.ca_file, dns=ech_testbed.dns, ech="require"
    )
    assert_type(context, echkit.DiscoveringSSLContext)

    async def main() -> bytes:
        found = await context.prepare(case.host)
        assert_type(found, echkit.Discovery)
        endpoint = found.endpoints[0]
        assert_type(endpoint, echkit.Endpoint)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", endpoint.port, ssl=context, server_hostname=case.host
        )
        writer.write(f"GET / HTTP/1.0\r\nHost: {case.host}\r\n\r\n".encode())
        page = await reader.read()
        writer.close()
        return page

    assert b"200" in asyncio.run(main())


def test_the_client(ech_testbed: Testbed) -> None:
    url = ech_testbed.url("nominal")
    with echkit.Client(dns=ech_testbed.dns, verify=ech_testbed.ca_file, ech="require") as client:
        response = client.get(url, params={"format": "json"}, timeout=(30, 60))
        assert_type(response, echkit.Response)
        assert_type(response.ech, echkit.Report)
        assert_type(response.headers, echkit.Headers)
        assert_type(response.history, list[echkit.Response])
        assert response.raise_for_status().json()["ech"]["status"] == "accepted"
        with client.stream("POST", url, content=iter([b"part"])) as streamed:
            assert_type(streamed.read(), bytes)
        try:
            client.get(ech_testbed.url("no-record"))
        except echkit.ECHRequiredError as error:
            assert_type(error.ech, echkit.Report | None)
            as_standard: standard.SSLError = error
            assert as_standard is error

    async def main() -> str:
        async with echkit.AsyncClient(dns=ech_testbed.dns, verify=ech_testbed.ca_file) as client:
            async with client.stream("GET", url) as response:
                return "".join([text async for text in response.aiter_text()])

    assert "accepted" in asyncio.run(main())
    single = echkit.get(url, dns=ech_testbed.dns, verify=ech_testbed.ca_file, json={"a": [1]})
    assert_type(single.ech.accepted, bool)
    assert single.ech.accepted
