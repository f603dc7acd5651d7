"""``echkit.AsyncClient``: what ``Client`` does, in asyncio's event loops."""

import asyncio
import gc
import json
import os
import ssl

import pytest

import echkit
from web import Site, digest, pattern

FIFTY_MB = 50 * 1024 * 1024
LOCAL = {"ech": "off", "trust_env": False, "verify": False}


@pytest.fixture(scope="module")
def site():
    with Site() as made:
        yield made


@pytest.fixture
def bed(ech_testbed):
    ech_testbed.quiet()
    ech_testbed.clear_captures()
    return ech_testbed


def shown(bed, name):
    bed.quiet()
    return any(bed.case(name).host in capture for capture in bed.captures())


def run(main, loop):
    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main)
    return asyncio.run(main)


loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@loops
def test_fifty_requests_at_once_share_a_connection_and_hide_the_name(bed, loop):
    case = bed.case("stale")

    async def main():
        async with echkit.AsyncClient(dns=bed.dns, verify=bed.ca_file, ech="require") as client:

            async def one(number):
                response = await client.post(
                    case.url, params={"format": "json"}, content=b"x" * number
                )
                said = response.raise_for_status().json()
                assert said["ech"]["status"] == "accepted" and response.ech.accepted
                assert said["http"]["version"] == "HTTP/2.0"
                return said["http"]["body_bytes"]

            return await asyncio.gather(*map(one, range(50)))

    assert run(main(), loop) == list(range(50))
    assert not shown(bed, "stale")
    # The stale one, and the one with the server's own configs.
    assert len(bed.captures()) == 2


def test_errors_are_those_of_the_client(bed):
    async def main():
        async with echkit.AsyncClient(dns=bed.dns, verify=bed.ca_file, ech="require") as client:
            with pytest.raises(echkit.ECHRequiredError) as caught:
                await client.get(bed.url("no-record"))
            assert isinstance(caught.value, ssl.SSLError)
            assert caught.value.request.url == bed.url("no-record")
            with pytest.raises(echkit.CertificateError):
                await client.get(bed.url("stale-untrusted"))

    asyncio.run(main())
    assert not shown(bed, "stale-untrusted") and not shown(bed, "no-record")


@loops
def test_fifty_megabytes_go_each_way_in_parts(loop, tmp_path):
    expected = digest(pattern(FIFTY_MB))
    path = tmp_path / "large"
    path.write_bytes(b"".join(pattern(FIFTY_MB)))

    async def parts():
        for part in pattern(FIFTY_MB):
            yield part
            await asyncio.sleep(0)

    async def main(site):
        async with echkit.AsyncClient(**LOCAL) as client:
            with path.open("rb") as file:
                for content in (parts(), file):
                    said = (await client.post(f"{site.url}/echo", content=content)).json()
                    assert (said["size"], said["sha256"]) == (FIFTY_MB, expected)
            url = f"{site.url}/down?size={FIFTY_MB}"
            async with client.stream("GET", url) as response:
                return digest([part async for part in response.aiter_bytes()])

    with Site(tls=True) as site:
        assert run(main(site), loop) == expected
        assert site.connections == 1


@loops
def test_a_task_that_is_cancelled_closes_its_connection(site, loop):
    async def main():
        async with echkit.AsyncClient(**LOCAL) as client:

            async def streamed():
                async with client.stream("GET", f"{site.url}/stalls") as response:
                    await response.aread()

            async def uploaded():
                async def endless():
                    yield b"a part"
                    await asyncio.sleep(3600)

                # The page that is never answered has to have the whole body first.
                await client.post(f"{site.url}/stalls", content=endless())

            for work in (client.get(f"{site.url}/never"), streamed(), uploaded()):
                task = asyncio.create_task(work)
                assert await asyncio.to_thread(site.reached.acquire, timeout=60)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await asyncio.to_thread(site.left.acquire, timeout=60)
            async with asyncio.timeout(60):
                assert (await client.get(f"{site.url}/echo")).is_success
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.get(f"{site.url}/never")
            assert await asyncio.to_thread(site.left.acquire, timeout=60)
            assert await asyncio.to_thread(site.reached.acquire, timeout=60)

    run(main(), loop)


def test_lines_text_and_json_arrive(site):
    async def main():
        async with echkit.AsyncClient(base_url=site.url, **LOCAL) as client:
            async with client.stream("GET", "/lines") as response:
                lines = [line async for line in response.aiter_lines()]
                assert response.is_closed
            async with client.stream("GET", "/latin") as response:
                text = "".join([part async for part in response.aiter_text()])
            said = (await client.put("/echo", json={"a": 1})).json()
            assert json.loads(said["body"]) == {"a": 1}
            async with client.stream("GET", "/stalls") as response:
                parts = response.aiter_bytes()
                assert await anext(parts) == b"a part"
            assert await asyncio.to_thread(site.left.acquire, timeout=60)
            assert await asyncio.to_thread(site.reached.acquire, timeout=60)
            return lines, text

    assert asyncio.run(main()) == (["one", "two", "", "three", "four"], "wärmer")


def test_one_client_serves_one_loop_after_another_and_leaves_no_descriptors(site):
    client = echkit.AsyncClient(**LOCAL)

    async def main():
        return (await client.get(f"{site.url}/echo")).status_code

    def descriptors():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    assert asyncio.run(main()) == 200
    before = descriptors()
    for _ in range(20):
        assert asyncio.run(main()) == 200
    assert descriptors() <= before + 2
    asyncio.run(client.aclose())
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(main())


def test_the_event_loop_goes_on_while_a_request_waits(site):
    async def main():
        async with echkit.AsyncClient(**LOCAL) as client:
            waits = asyncio.create_task(client.get(f"{site.url}/never"))
            assert await asyncio.to_thread(site.reached.acquire, timeout=60)
            for _ in range(100):
                await asyncio.sleep(0)
            assert (await client.get(f"{site.url}/echo")).is_success
            assert not waits.done()
            waits.cancel()
            await asyncio.wait([waits])
            assert await asyncio.to_thread(site.left.acquire, timeout=60)

    asyncio.run(main())
