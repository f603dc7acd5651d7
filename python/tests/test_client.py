"""``echkit.Client`` against the testbed: what the servers say, and what an eavesdropper reads."""

import concurrent.futures
import socket
import ssl

import pytest

import echkit
from web import Site


@pytest.fixture
def bed(ech_testbed):
    ech_testbed.quiet()
    ech_testbed.clear_captures()
    return ech_testbed


def client(bed, **settings):
    return echkit.Client(**{"dns": bed.dns, "verify": bed.ca_file, **settings})


def page(response):
    """The server's own word."""
    return response.raise_for_status().json()


def shown(bed, *cases):
    """Whether an eavesdropper could read a case's name in anything that was sent."""
    bed.quiet()
    captures = [*bed.captures(), *bed.proxy_captures()]
    return any(bed.case(case).host in capture for case in cases for capture in captures)


JSON = {"format": "json"}


@pytest.mark.parametrize("ech", ["prefer", "require"])
@pytest.mark.parametrize("name", ["nominal", "minimal", "hrr", "port", "alias"])
def test_the_server_accepts_and_the_network_sees_the_public_name(bed, name, ech):
    case = bed.case(name)
    with client(bed, ech=ech) as made:
        response = made.get(case.url, params=JSON)
    said = page(response)
    assert said["ech"]["status"] == "accepted" and said["ech"]["inner_sni"] == case.host
    report = response.ech
    assert report.accepted and report.status == "accepted" and report.mode == ech
    assert report.inner_sni == case.host and report.outer_sni == said["ech"]["outer_sni"]
    assert report.outer_sni == case.public_name
    assert report.document["ech"]["status"] == "accepted" and case.public_name in report.to_json()
    assert not shown(bed, name)


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_every_deployment_ends_as_a_correct_client_ends_it(bed, mode):
    """Targets, ports, aliases, hints, malformed records: whatever the testbed has."""
    with client(bed, ech=mode, keep_alive=None) as made:
        for case in bed.cases:
            expected = case.expect[mode]
            bed.clear_captures()
            try:
                response = made.get(case.url, params=JSON)
                found = response.ech
                assert expected["exit_code"] == 0, case.name
                assert response.status_code == expected["http_status"], case.name
                assert page(response)["ech"]["status"] == expected["server"], case.name
            except echkit.RequestError as error:
                assert expected["exit_code"] != 0, (case.name, error)
                found = error.ech
            told = (found.status, found.retries, found.source)
            assert told == (expected["status"], expected["retries"], expected["source"]), case.name
            if expected["hidden"]:
                assert not shown(bed, case.name), case.name


def test_a_stale_key_is_replaced_by_the_servers_and_kept(bed):
    case = bed.case("stale")
    with client(bed, http2=False, keep_alive=None) as made:
        first = made.get(case.url, params=JSON)
        assert page(first)["ech"]["status"] == "accepted"
        assert (first.ech.retries, first.ech.source) == (1, "retry")
        again = made.get(case.url, params=JSON)
        assert (again.ech.retries, again.ech.source, again.ech.reused) == (0, "cache", False)
    bed.quiet()
    assert len(bed.captures()) == 3
    assert not shown(bed, "stale")


def test_require_without_a_record_sends_nothing(bed):
    case = bed.case("no-record")
    with client(bed, ech="require") as made, pytest.raises(echkit.ECHRequiredError) as caught:
        made.get(case.url)
    assert isinstance(caught.value, ssl.SSLError) and isinstance(caught.value, OSError)
    assert case.host in str(caught.value) and caught.value.kind == "ech_required"
    assert caught.value.ech.status == "not_offered"
    assert caught.value.request.url == case.url
    assert bed.captures() == []


def test_without_a_record_grease_is_sent(bed):
    case = bed.case("no-record")
    with client(bed) as made:
        response = made.get(case.url, params=JSON)
    assert page(response)["ech"]["status"] == "off"
    assert response.ech.status == "grease" and not response.ech.accepted
    assert response.ech.config_id is not None


def test_off_sends_no_extension(bed):
    case = bed.case("no-record")
    with client(bed, ech="off") as made:
        assert made.get(case.url).ech.status == "not_offered"


@pytest.mark.parametrize("name", ["stale-untrusted", "stale-wrong-name"])
def test_a_rejection_that_proves_nothing_is_an_error_and_not_tried_again(bed, name):
    case = bed.case(name)
    with client(bed) as made, pytest.raises(echkit.CertificateError) as caught:
        made.get(case.url)
    assert isinstance(caught.value, ssl.SSLCertVerificationError)
    assert str(caught.value).startswith(case.host)
    assert caught.value.ech.status == "failed" and caught.value.ech.retry_configs is None
    bed.quiet()
    assert len(bed.captures()) == 1
    assert not shown(bed, name)


def test_an_authenticated_rejection_without_retry_is_an_error_with_the_retry_configs(bed):
    case = bed.case("stale")
    with client(bed, retry=False) as made, pytest.raises(echkit.ECHRejectedError) as caught:
        made.get(case.url)
    assert isinstance(caught.value, echkit.ECHNotAcceptedError)
    assert caught.value.retry_configs and caught.value.retry_configs == caught.value.ech.retry_configs
    assert not shown(bed, "stale")


def test_verify_false_verifies_nothing_and_retries_nothing(bed):
    with client(bed, verify=False) as made:
        assert page(made.get(bed.url("nominal"), params=JSON))["ech"]["status"] == "accepted"
        with pytest.raises(echkit.TLSError):
            made.get(bed.url("stale"))
    assert not shown(bed, "nominal", "stale")


def test_a_certificate_that_is_not_trusted_is_an_error(bed):
    with echkit.Client(dns=bed.dns, trust_env=False) as made:
        with pytest.raises(echkit.CertificateError):
            made.get(bed.url("nominal"))
    assert not shown(bed, "nominal")


def test_a_redirect_to_another_host_hides_that_name_too_and_takes_no_credentials(bed):
    # The testbed does not redirect; a site in the clear leads into it.
    with Site() as site, client(bed) as made:
        response = made.get(
            f"{site.url}/to",
            params={"url": f"{bed.url('nominal')}?format=json"},
            headers={"Authorization": "Bearer secret-of-the-site"},
            follow_redirects=True,
        )
        said = page(response)
        assert said["ech"]["status"] == "accepted"
        (redirect,) = response.history
        assert redirect.status_code == 302 and redirect.url.startswith(site.url)
        assert redirect.ech.status == "not_offered"
        assert response.url.startswith(bed.url("nominal"))
        assert site.seen[0][2]["authorization"] == "Bearer secret-of-the-site"
    assert not shown(bed, "nominal")


@pytest.mark.parametrize("http2", [True, False])
def test_requests_share_a_connection(bed, http2):
    case = bed.case("nominal")
    with client(bed, http2=http2) as made:
        for place in range(5):
            response = made.post(case.url, params=JSON, content=b"x" * place)
            said = page(response)
            assert said["http"]["body_bytes"] == place
            assert said["http"]["version"] == ("HTTP/2.0" if http2 else "HTTP/1.1")
            assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            assert response.ech.reused == (place > 0)
    bed.quiet()
    assert len(bed.captures()) == 1
    assert not shown(bed, "nominal")


@pytest.mark.parametrize("http2", [True, False])
def test_parts_of_a_body_are_sent_as_they_are_made(bed, http2):
    case = bed.case("nominal")
    with client(bed, http2=http2, ech="require") as made:
        said = page(made.put(case.url, params=JSON, content=(bytes(65536) for _ in range(80))))
        assert said["http"]["body_bytes"] == 80 * 65536
        with made.stream("POST", case.url, params=JSON, content=iter([b"a", b"bc"])) as response:
            assert page_of(response)["http"]["body_bytes"] == 3
    assert not shown(bed, "nominal")


@pytest.mark.parametrize("http2", [True, False])
def test_fifty_threads_share_a_client(bed, http2):
    case = bed.case("nominal")

    def one(number):
        response = made.post(case.url, params=JSON, content=b"x" * number)
        return number, page(response)["http"]["body_bytes"], response.ech.status

    with client(bed, http2=http2) as made, concurrent.futures.ThreadPoolExecutor(50) as pool:
        for number, size, status in pool.map(one, range(200)):
            assert (size, status) == (number, "accepted")
    bed.quiet()
    # Over HTTP/2 the first connects, and the others wait for it.
    assert 1 <= len(bed.captures()) <= (1 if http2 else 50)
    assert not shown(bed, "nominal")


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_is_told_an_address(bed, scheme):
    with client(bed, proxy=bed.proxy("open", scheme)) as made:
        response = made.get(bed.url("nominal"), params=JSON)
        assert page(response)["ech"]["status"] == "accepted"
        assert response.ech.proxy == bed.proxy("open", scheme)
    asked = [capture.asked for capture in bed.proxy_captures()]
    assert asked and all(place.startswith(("127.0.0.1:", "[::1]:")) for place in asked), asked
    assert not shown(bed, "nominal")


def test_the_environments_proxy_counts_unless_it_is_not_trusted(bed, monkeypatch):
    monkeypatch.setenv("https_proxy", bed.proxy())
    for trusted in (True, False):
        bed.clear_captures()
        with client(bed, trust_env=trusted) as made:
            assert made.get(bed.url("nominal")).is_success
        assert bool(bed.proxy_captures()) == trusted
        assert not shown(bed, "nominal")


@pytest.mark.parametrize(
    ("proxy", "error"),
    [("forbids", echkit.ProxyError), ("names-only", echkit.ProxyError)],
)
def test_a_proxy_that_refuses_is_an_error_and_nothing_goes_past_it(bed, proxy, error):
    case = bed.case("nominal")
    with client(bed, proxy=bed.proxy(proxy)) as made, pytest.raises(error) as caught:
        made.get(case.url)
    assert str(caught.value).startswith(case.host)
    assert bed.captures() == []
    assert not any(case.host in capture for capture in bed.proxy_captures(proxy))


def test_a_proxy_that_looks_names_up_is_refused_unless_it_may_know(bed):
    proxy = bed.proxy("open", "socks5").replace("socks5", "socks5h")
    with client(bed, proxy=proxy) as made, pytest.raises(echkit.ProxyError):
        made.get(bed.url("nominal"))
    assert not shown(bed, "nominal")


def test_resolvers_over_tls_are_verified_with_the_clients_trust_or_their_own(bed):
    with client(bed, dns=bed.doh) as made:
        assert made.get(bed.url("nominal")).ech.accepted
    with client(bed, dns=bed.dot, verify=False, dns_cafile=bed.ca_file) as made:
        assert made.get(bed.url("nominal")).ech.accepted
    with echkit.Client(dns=bed.doh, verify=False, trust_env=False) as made:
        with pytest.raises(echkit.HTTPError):
            made.get(bed.url("nominal"))
    assert not shown(bed, "nominal")


def test_names_that_do_not_resolve_and_ports_that_are_closed_are_told_apart(bed):
    with client(bed) as made:
        with pytest.raises(echkit.NameResolutionError, match="nowhere.ech.test"):
            made.get("https://nowhere.ech.test/")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(echkit.ConnectError) as caught:
            made.get(f"https://127.0.0.1:{port}/")
    assert not isinstance(caught.value, echkit.NameResolutionError)
    assert isinstance(caught.value, OSError)


def test_single_requests_have_a_connection_of_their_own(bed):
    settings = {"dns": bed.dns, "verify": bed.ca_file, "ech": "require"}
    url = bed.url("nominal")
    assert echkit.get(url, **settings).ech.accepted
    assert page(echkit.post(url, params=JSON, json=[1], **settings))["http"]["body_bytes"] == 3
    assert page(echkit.put(url, params=JSON, content="ab", **settings))["http"]["body_bytes"] == 2
    with echkit.stream("GET", url, params=JSON, **settings) as response:
        assert page_of(response)["ech"]["status"] == "accepted"
    assert not shown(bed, "nominal")
    assert len(bed.captures()) == 4


def page_of(response):
    response.read()
    return response.json()
