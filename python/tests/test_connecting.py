"""The rules of an adapter's connection, without a connection."""

import socket
import ssl as standard

import pytest

import echkit
import echkit.ssl as ssl
from echkit._answers import Retries
from echkit._connecting import Connecting
from echkit._discovery import look_up, resolver


class Made:
    """A TLS connection, as an attempt knows it."""

    owner = None

    def __init__(self, *status):
        self.status = status

    def get_ech_status(self):
        return self.status


def connecting(bed, name, mode="prefer", retries=None, **options):
    case = bed.case(name)
    answer = look_up(resolver(bed.dns), case.host, case.port, "https", [b"http/1.1"], 60)
    return Connecting(answer, mode, Retries() if retries is None else retries, **options)


def rejected(configs):
    error = ssl.ECHRejectedError(1, "rejected")
    error.retry_configs = configs
    error.library, error.reason = "SSL", "ECH_REQUIRED"
    return error


def configs_of(bed, name):
    case = bed.case(name)
    return echkit.lookup(case.host, case.port, dns=bed.dns).ech


REFUSED = ConnectionRefusedError(111, "refused")


def test_endpoints_without_ech_follow_only_when_none_with_it_could_be_reached(ech_testbed):
    found = connecting(ech_testbed, "some-ech")
    assert all(place.endpoint.ech_usable for place in found.places())
    for place in found.places():
        found.unreachable(place, REFUSED)
    found.go_on(REFUSED)
    plain = found.places()
    assert plain and not any(place.endpoint.ech_usable for place in plain)
    attempt = found.attempt(plain[0])
    assert attempt.offer is None and attempt.grease
    attempt.made = Made(ssl.ECH_STATUS_GREASE, None, "some-ech.ech.test")
    report = found.succeeded(attempt)
    assert report.status == "grease"
    assert any("could be reached" in warning for warning in report.warnings)
    assert [tried.error is None for tried in report.attempts] == [False, True]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "reset"),
        standard.SSLEOFError(8, "the end"),
        standard.SSLError(1, "alert"),
        TimeoutError("too late"),
        rejected(b""),
    ],
)
def test_an_error_of_tls_is_never_a_reason_to_drop_ech(ech_testbed, error):
    found = connecting(ech_testbed, "some-ech")
    attempt = found.attempt(found.places()[0])
    attempt.made = Made(ssl.ECH_STATUS_FAILED, None, "public.ech.test")
    if isinstance(error, ssl.ECHRejectedError):
        # An authenticated word of the server's: that is not an error.
        found.failed(attempt, error)
        again = found.attempt(found.places()[0])
        assert (again.offer, again.grease, again.place) == (None, False, attempt.place)
        return
    with pytest.raises(type(error)):
        found.failed(attempt, error)


def test_required_no_endpoint_without_ech_is_a_place(ech_testbed):
    found = connecting(ech_testbed, "some-ech", "require")
    for place in found.places():
        found.unreachable(place, REFUSED)
    with pytest.raises(ConnectionRefusedError):
        found.go_on(REFUSED)
    for name in ("no-record", "no-ech", "servfail", "alias-nowhere"):
        with pytest.raises(echkit.ECHDiscoveryError, match="ECH is required"):
            connecting(ech_testbed, name, "require")


def test_a_rejection_leads_to_one_more_attempt_at_the_same_place(ech_testbed):
    retries = Retries()
    found = connecting(ech_testbed, "nominal", retries=retries)
    first = found.attempt(found.places()[-1])
    first.made = Made(ssl.ECH_STATUS_FAILED_ECH, None, "public.ech.test")
    configs = configs_of(ech_testbed, "stale")
    found.failed(first, rejected(configs))
    assert found.places() == [first.place]
    second = found.attempt(first.place)
    assert (bytes(second.offer), second.source, second.retries) == (configs, "retry", 1)
    # The next connection begins with what the server sent.
    later = connecting(ech_testbed, "nominal", retries=retries)
    kept = later.attempt(later.places()[0])
    assert (bytes(kept.offer), kept.source, kept.retries) == (configs, "cache", 0)
    second.made = Made(ssl.ECH_STATUS_FAILED_ECH, None, "public.ech.test")
    with pytest.raises(ssl.ECHRejectedError, match="misconfigured"):
        found.failed(second, rejected(configs))


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_retry_configs_that_cannot_be_used_are_not_offered(ech_testbed, mode):
    found = connecting(ech_testbed, "nominal", mode)
    attempt = found.attempt(found.places()[0])
    attempt.made = Made(ssl.ECH_STATUS_FAILED_ECH, None, "public.ech.test")
    unusable = bytes.fromhex("0008") + bytes.fromhex("ff00000400000000")
    if mode == "require":
        with pytest.raises(ssl.ECHRejectedError, match="none of the retry_configs"):
            found.failed(attempt, rejected(unusable))
    else:
        found.failed(attempt, rejected(unusable))
        again = found.attempt(found.places()[0])
        assert again.offer is None and again.grease


def test_a_server_that_ends_grease_is_asked_once_without(ech_testbed):
    found = connecting(ech_testbed, "no-record")
    first = found.attempt(found.places()[0])
    assert first.grease
    first.made = Made(ssl.ECH_STATUS_GREASE, None, "no-record.ech.test")
    found.failed(first, ConnectionResetError(104, "reset"))
    second = found.attempt(found.places()[0])
    assert not second.grease and second.place == first.place
    second.made = Made(ssl.ECH_STATUS_NOT_CONFIGURED, None, "no-record.ech.test")
    with pytest.raises(ConnectionResetError):
        found.failed(second, ConnectionResetError(104, "reset"))


def test_a_certificate_that_is_not_trusted_is_no_reason_to_ask_again(ech_testbed):
    found = connecting(ech_testbed, "no-record")
    attempt = found.attempt(found.places()[0])
    attempt.made = Made(ssl.ECH_STATUS_GREASE, None, "no-record.ech.test")
    error = standard.SSLCertVerificationError(1, "wrong")
    with pytest.raises(standard.SSLCertVerificationError):
        found.failed(attempt, error)


def test_a_host_that_dns_does_not_know_is_an_error_of_names(ech_testbed):
    answer = look_up(resolver(ech_testbed.dns), "missing.ech.test", 443, "https", None, 60)
    with pytest.raises(socket.gaierror, match="missing.ech.test"):
        Connecting(answer, "prefer", Retries())
