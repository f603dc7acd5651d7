"""``echkit.check`` and ``echkit.check_many``, against the testbed."""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import threading

import pytest

import echkit

ECH = str(pathlib.Path(sys.executable).with_name("ech"))


@pytest.fixture
def bed(ech_testbed, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    ech_testbed.quiet()
    ech_testbed.clear_captures()
    return ech_testbed


def settings(bed):
    # No authoritative server of the machine is asked.
    return {"dns": bed.dns, "cafile": bed.ca_file, "skip": ["authoritative"]}


def command(bed, *arguments):
    ran = subprocess.run(
        [ECH, *arguments, "--json", "--skip", "authoritative"]
        + ["--dns", bed.dns, "--cacert", bed.ca_file],
        capture_output=True, text=True, timeout=300,
    )
    return json.loads(ran.stdout)


def timeless(host):
    """A host of the document without what differs from run to run: times, and the length of the first
    flight, since signatures of ECDSA differ by a byte or two."""
    flight = host["first_flight"] and {**host["first_flight"], "bytes": None}
    return {**host, "elapsed_ms": None, "dns": None, "first_flight": flight}


def test_a_report_says_what_is_wrong_where_and_what_to_do(bed):
    case = bed.case("stale-wrong-name")
    report = echkit.check(case.host, case.port, **settings(bed))
    assert (report.verdict, report.worst, report.accepted) == ("broken", "error", False)
    (finding,) = [f for f in report.findings if f.id == "ECH-KEY-REJECTED"]
    assert finding.severity == "error"
    assert finding.rfc.startswith("RFC 9849") and finding.seen and finding.mend and finding.title
    assert finding.places == (echkit.Place(case.host, f"127.0.0.1:{case.port}"),)
    assert report.error is None and report.public_names == (case.public_name,)
    assert report.elapsed > 0 and json.loads(report.to_json()) == report.document
    with pytest.raises(AttributeError):
        finding.id = "other"


def test_a_deployment_that_works_has_a_note_alone(bed):
    report = echkit.check(bed.url("nominal"), **settings(bed))
    assert (report.verdict, report.accepted) == ("works", True)
    assert [finding.id for finding in report.findings] == ["ECH-DNS-IN-THE-CLEAR"]
    assert report.passed and "authoritative" in {skipped.probe for skipped in report.skipped}


def test_the_findings_are_those_of_the_command(bed):
    urls = [bed.url(name) for name in ("nominal", "stale", "no-record", "alpn-bogus", "servfail")]
    of_command = command(bed, "check", *urls)["hosts"]
    reports = echkit.check_many(urls, jobs=2, **settings(bed))
    assert [timeless(r.document) for r in reports] == [timeless(host) for host in of_command]
    assert [r.origin for r in reports] == [url.removesuffix("/") for url in urls]


def test_a_private_check_over_an_encrypted_resolver_shows_the_host_nowhere(bed):
    case = bed.case("stale")
    report = echkit.check(
        case.url, dns=bed.doh, dns_cafile=bed.ca_file, cafile=bed.ca_file, private=True
    )
    assert [finding.id for finding in report.findings] == ["ECH-KEY-REJECTED"]
    assert report.shown_by == ()
    bed.quiet()
    captures = bed.captures()
    assert len(captures) >= 3 and not any(case.host in capture for capture in captures)


def test_probes_that_show_the_host_are_named(bed):
    case = bed.case("nominal")
    report = echkit.check(case.url, **settings(bed))
    assert report.shown_by == ("grease", "plain", "tls12")
    bed.quiet()
    assert any(case.host in capture for capture in bed.captures())


def test_probes_and_findings_are_chosen(bed):
    case = bed.case("stale")
    found = echkit.check(case.url, **{**settings(bed), "skip": [], "only": ["records"]})
    assert found.verdict == "undecided" and "key" in {skipped.probe for skipped in found.skipped}
    found = echkit.check(case.url, **{**settings(bed), "skip": ["ech-key-rejected", "authoritative"]})
    assert "ECH-KEY-REJECTED" not in {finding.id for finding in found.findings}
    for name in ("only", "skip"):
        with pytest.raises(ValueError, match=f"{name}: keys"):
            echkit.check(case.url, **{name: ["keys"]})
        with pytest.raises(TypeError, match=name):
            echkit.check(case.url, **{name: "key"})


def test_what_is_no_host_or_no_setting_raises_before_anything_is_sent(bed):
    for wrong in ("", "a..b", "a.example:x"):
        with pytest.raises(ValueError):
            echkit.check(wrong, **settings(bed))
    nominal = bed.url("nominal")
    for setting in ({"timeout": -1.0}, {"connect_timeout": float("nan")}, {"dns": "gopher://a"}):
        with pytest.raises(ValueError, match=next(iter(setting))):
            echkit.check(nominal, **{**settings(bed), **setting})
    with pytest.raises(ValueError, match="jobs"):
        echkit.check_many([nominal], jobs=0, **settings(bed))
    with pytest.raises(TypeError, match="hosts"):
        echkit.check_many(nominal, **settings(bed))
    with pytest.raises(OSError, match="absent"):
        echkit.check(nominal, **{**settings(bed), "cafile": "/absent.pem"})
    assert bed.captures() == []


def test_a_host_that_cannot_be_checked_is_told_and_not_raised(bed):
    failing = echkit.check(bed.url("servfail"), **settings(bed))
    assert (failing.verdict, failing.error_kind) == ("not_checked", "name")
    assert failing.error.startswith("https://servfail.ech.test")
    address = echkit.check("127.0.0.1", **settings(bed))
    assert (address.error_kind, address.findings) == ("usage", ())


def test_a_check_ends_at_its_time_out(bed, silent):
    report = echkit.check("a.example", dns=silent[1], timeout=0.2)
    assert (report.verdict, report.error_kind) == ("not_checked", "timeout")


def test_a_proxy_of_the_environment_is_refused_until_the_host_is_exempt(bed, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    nominal = bed.url("nominal")
    with pytest.raises(ValueError, match=r"nominal.*proxy\.test.*NO_PROXY"):
        echkit.check(nominal, **settings(bed))
    assert bed.captures() == []
    assert echkit.check(nominal, **settings(bed), trust_env=False).verdict == "works"
    monkeypatch.setenv("NO_PROXY", "ech.test")
    assert echkit.check(nominal, **settings(bed)).verdict == "works"


def test_hosts_of_one_run_are_compared(bed):
    def alone(*names):
        reports = echkit.check_many(map(bed.url, names), **settings(bed))
        ids = [{finding.id for finding in report.findings} for report in reports]
        return ["ECH-ANONYMITY-SET-OF-ONE" in found for found in ids]

    assert alone("nominal", "no-record") == [True, False]
    assert alone("nominal", "minimal") == [False, False]
    # A host that is named twice is one, and compared with none.
    assert alone("nominal", "nominal") == [False]


def test_reports_come_as_they_are_finished_and_an_exception_ends_the_rest(bed):
    urls = [bed.url(name) for name in ("nominal", "stale", "no-record")]
    seen = []
    reports = echkit.check_many(urls, jobs=3, finished=seen.append, **settings(bed))
    assert sorted(report.origin for report in seen) == sorted(report.origin for report in reports)

    class Enough(Exception):
        pass

    def enough(report):
        raise Enough

    with pytest.raises(Enough):
        echkit.check_many(urls, jobs=1, finished=enough, **settings(bed))


@pytest.fixture
def silent():
    """The socket and the URI of a resolver that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        mute.settimeout(60)
        yield mute, f"udp://127.0.0.1:{mute.getsockname()[1]}"


def test_other_threads_run_during_a_check(bed, silent):
    mute, dns = silent
    asked = threading.Event()
    reports = []
    options = {"dns": dns, "timeout": 1.0}
    thread = threading.Thread(target=lambda: reports.append(echkit.check("a.example", **options)))
    thread.start()
    mute.recv(4096)  # it waits for an answer; this thread has the interpreter
    asked.set()
    thread.join(60)
    assert reports[0].error_kind == "timeout" and asked.is_set()


def test_ctrl_c_ends_checks(silent):
    mute, dns = silent
    script = (
        "import echkit\n"
        f"echkit.check_many(['a.example', 'b.example'], dns={dns!r}, timeout=600, trust_env=False)\n"
    )
    running = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    mute.recv(4096)  # it is at work
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
