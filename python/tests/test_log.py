"""Events of the Rust side as records of Python's ``logging``."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time

import pytest

import echkit

JSON = {"format": "json"}


@pytest.fixture
def bed(ech_testbed):
    ech_testbed.quiet()
    ech_testbed.clear_captures()
    return ech_testbed


@pytest.fixture
def debug(caplog):
    caplog.set_level(logging.DEBUG, logger="echkit")
    return caplog


def ours(caplog):
    return [record for record in caplog.records if record.name.startswith("echkit.")]


def test_a_request_tells_its_steps_and_names_no_host(bed, debug):
    case = bed.case("stale")
    begun = time.time()
    with echkit.Client(dns=bed.dns, verify=bed.ca_file, ech="require") as client:
        client.get(case.url, params=JSON).raise_for_status()
    ended = time.time()
    records = ours(debug)
    told = "\n".join(record.getMessage() for record in records)
    for step in ("DNS query", "HTTPS records", "attempt started", "connecting again", "connected"):
        assert step in told, told
    for name in (case.host, case.public_name, "ech.test"):
        assert name not in told, told
    assert "connection " in told
    # Each is of the time at which it happened, and they are in order.
    times = [record.created for record in records]
    assert times == sorted(times) and begun <= times[0] and times[-1] <= ended
    assert {record.levelno for record in records} == {logging.DEBUG}
    assert all(record.threadName == threading.current_thread().name for record in records)


def test_no_event_is_told_twice(bed, debug):
    case = bed.case("nominal")
    with echkit.Client(dns=bed.dns, verify=bed.ca_file) as client:
        for _ in range(3):
            client.get(case.url, params=JSON)
    told = [record.getMessage() for record in ours(debug)]
    assert sum("response head received" in line for line in told) == 3
    assert sum(line.endswith("connected ech=accepted") for line in told) == 1, told


def test_a_level_that_is_set_later_is_followed(bed, caplog):
    case = bed.case("nominal")
    with echkit.Client(dns=bed.dns, verify=bed.ca_file) as client:
        client.get(case.url, params=JSON)
        assert not ours(caplog)
        with caplog.at_level(logging.DEBUG, logger="echkit"):
            client.get(case.url, params=JSON)
        count = len(ours(caplog))
        assert count
        client.get(case.url, params=JSON)
        assert len(ours(caplog)) == count


def test_a_module_can_be_left_out(bed, debug):
    dns = logging.getLogger("echkit.dns")
    dns.setLevel(logging.WARNING)
    try:
        with echkit.Client(dns=bed.dns, verify=bed.ca_file) as client:
            client.get(bed.case("nominal").url, params=JSON)
    finally:
        dns.setLevel(logging.NOTSET)
    names = {record.name for record in ours(debug)}
    assert names and not any(name.startswith("echkit.dns") for name in names), names


def test_event_loops_tell_in_their_own_thread(bed, debug):
    case = bed.case("nominal")

    async def main():
        async with echkit.AsyncClient(dns=bed.dns, verify=bed.ca_file) as client:
            pages = [client.get(case.url, params=JSON) for _ in range(20)]
            await asyncio.gather(*pages)

    asyncio.run(main())
    records = ours(debug)
    told = [record.getMessage() for record in records]
    assert sum("response head received" in line for line in told) == 20
    assert {record.threadName for record in records} == {threading.current_thread().name}


def test_a_handler_may_make_requests(bed, debug):
    case = bed.case("nominal")

    class Nosy(logging.Handler):
        asked = 0

        def emit(self, record):
            if not self.asked:
                self.asked += 1
                echkit.get(case.url, dns=bed.dns, verify=bed.ca_file)

    nosy = Nosy()
    logging.getLogger("echkit").addHandler(nosy)
    try:
        got = echkit.get(case.url, dns=bed.dns, verify=bed.ca_file, params=JSON)
    finally:
        logging.getLogger("echkit").removeHandler(nosy)
    assert got.status_code == 200 and nosy.asked == 1
    ends = [record for record in ours(debug) if "response head" in record.getMessage()]
    assert len(ends) == 2


def test_failures_checks_and_traces_tell_too(bed, debug):
    stale = bed.case("stale-wrong-name")
    with pytest.raises(echkit.CertificateError):
        echkit.get(stale.url, dns=bed.dns, verify=bed.ca_file)
    assert any("connection failed" in record.getMessage() for record in ours(debug))
    debug.clear()
    case = bed.case("nominal")
    echkit.trace(case.url, dns=bed.dns, verify=bed.ca_file)
    assert any("connected" in record.getMessage() for record in ours(debug))
    debug.clear()
    echkit.check(case.url, dns=bed.dns, cafile=bed.ca_file, private=True, only=["records"])
    told = "\n".join(record.getMessage() for record in ours(debug))
    assert "DNS query" in told and case.host not in told, told


def test_a_discovering_context_tells_of_its_look_ups(bed, debug):
    case = bed.case("nominal")
    context = echkit.create_default_context(cafile=bed.ca_file, dns=bed.dns)
    context.discover(case.host, case.port)
    told = "\n".join(record.getMessage() for record in ours(debug))
    assert "DNS query" in told and case.host not in told, told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_tells_its_own_events(bed):
    program = f"""
import logging, os, sys
import echkit
logging.basicConfig(level=logging.DEBUG, format="%(process)d %(name)s %(message)s", stream=sys.stdout)
options = dict(dns={bed.dns!r}, verify={bed.ca_file!r})
echkit.get({bed.case("nominal").url!r}, **options)
sys.stdout.flush()
child = os.fork()
if child == 0:
    echkit.get({bed.case("hrr").url!r}, **options)
    sys.stdout.flush()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("child", child)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    *lines, last = ran.stdout.splitlines()
    child = last.removeprefix("child ")
    ends = [line.split()[0] for line in lines if "response head received" in line]
    assert len(ends) == 2 and ends[1] == child and ends[0] != child, ran.stdout
