"""``echkit.Client`` against a site on loopback: bodies, forms, files, cookies, limits, errors."""

import io
import itertools
import json
import os
import pickle
import signal
import socket
import ssl
import subprocess
import sys
import threading

import pytest

import echkit
from web import Site, digest, pattern

FIFTY_MB = 50 * 1024 * 1024


@pytest.fixture(scope="module")
def site():
    with Site() as made:
        yield made


@pytest.fixture
def client():
    with echkit.Client(ech="off", trust_env=False) as made:
        yield made


# Requests.


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options"])
def test_each_method_reaches_the_server(client, site, method):
    response = getattr(client, method)(f"{site.url}/echo")
    assert response.json()["method"] == method.upper()
    assert response.status_code == 200 and response.is_success and not response.is_error
    assert response.reason_phrase == "OK" and response.http_version == "HTTP/1.1"
    assert response.request.method == method.upper() and response.elapsed.total_seconds() > 0
    assert repr(response) == "<Response [200 OK]>"


def test_head_has_no_body(client, site):
    response = client.head(f"{site.url}/echo")
    assert response.content == b"" and int(response.headers["Content-Length"]) > 0


def test_parameters_and_header_fields_are_those_of_the_client_and_of_the_request(site):
    settings = {"params": {"a": "1"}, "headers": {"X-One": "1", "x-two": "2"}}
    with echkit.Client(base_url=f"{site.url}/v1/", trust_env=False, **settings) as made:
        response = made.get(
            "/things?first=", params={"b": [1, True, None]}, headers={"X-Two": "other"}
        )
        said = response.json()
    assert said["path"] == "/v1/things?first=&a=1&b=1&b=true&b="
    assert said["headers"]["x-one"] == "1" and said["headers"]["x-two"] == "other"
    assert said["headers"]["user-agent"].startswith("python-echkit/")
    assert said["headers"]["accept-encoding"] == "gzip, br, zstd, deflate"


def test_bodies_are_sent_as_they_are_given(client, site):
    for content, kind in [
        (b"bytes", None),
        (bytearray(b"bytes"), None),
        (memoryview(b"bytes"), None),
        ("tëxt", "text/plain; charset=utf-8"),
        (io.BytesIO(b"a file"), None),
        ((part for part in [b"a", b"", b"b"]), None),
        ([b"a", b"b"], None),
    ]:
        said = client.post(f"{site.url}/echo", content=content).json()
        expected = {
            "tëxt": "tëxt".encode(),
        }.get(content) if isinstance(content, str) else None
        if expected is None:
            expected = {"BytesIO": b"a file", "generator": b"ab", "list": b"ab"}.get(
                type(content).__name__, b"bytes"
            )
        assert said["body"].encode("latin-1") == expected
        assert said["headers"].get("content-type") == kind
        known = "transfer-encoding" not in said["headers"]
        assert known == (type(content).__name__ not in ("generator", "list"))


def test_json_and_forms(client, site):
    said = client.post(f"{site.url}/echo", json={"ä": [1, None]}).json()
    assert said["headers"]["content-type"] == "application/json"
    assert json.loads(said["body"].encode("latin-1")) == {"ä": [1, None]}
    said = client.post(f"{site.url}/echo", data={"a": "b c", "d": ["1", True]}).json()
    assert said["headers"]["content-type"] == "application/x-www-form-urlencoded"
    assert said["body"] == "a=b+c&d=1&d=true"
    own = client.post(f"{site.url}/echo", json={}, headers={"Content-Type": "application/x+json"})
    assert own.json()["headers"]["content-type"] == "application/x+json"
    with pytest.raises(TypeError):
        client.post(f"{site.url}/echo", json={}, content=b"x")


def test_files_are_multipart_with_a_length(client, site, tmp_path):
    path = tmp_path / "a file.txt"
    path.write_bytes(b"what is in it")
    with path.open("rb") as file:
        files = {"one": file, "two": ('q"uoted.bin', b"\0\1", "application/x-thing")}
        said = client.post(f"{site.url}/echo", data={"field": "value"}, files=files).json()
    kind, boundary = said["headers"]["content-type"].split("; boundary=")
    assert kind == "multipart/form-data" and "transfer-encoding" not in said["headers"]
    assert said["body"] == (
        f'--{boundary}\r\nContent-Disposition: form-data; name="field"\r\n\r\nvalue\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="one"; filename="a file.txt"\r\n'
        "Content-Type: text/plain\r\n\r\nwhat is in it\r\n"
        f'--{boundary}\r\nContent-Disposition: form-data; name="two"; filename="q%22uoted.bin"\r\n'
        "Content-Type: application/x-thing\r\n\r\n\0\1\r\n"
        f"--{boundary}--\r\n"
    )
    assert said["size"] == int(said["headers"]["content-length"])


def test_credentials_are_sent_as_basic(client, site):
    said = client.get(f"{site.url}/echo", auth=("user", "pässword")).json()
    assert said["headers"]["authorization"] == "Basic dXNlcjpww6Rzc3dvcmQ="
    url = site.url.replace("//", "//me:secret@")
    response = client.get(f"{url}/echo")
    assert response.json()["headers"]["authorization"] == "Basic bWU6c2VjcmV0"
    assert "secret" not in response.url
    with pytest.raises(TypeError, match="Authorization"):
        client.get(site.url, auth=object())


# Redirects.


def test_redirects_are_followed_where_that_is_wanted_and_lose_credentials_elsewhere(client, site):
    with Site() as other:
        fields = {"Authorization": "Bearer token", "Cookie": "a=b", "X-Other": "kept"}
        for target, kept in [("/echo", True), (f"{other.url}/echo", False)]:
            url = f"{site.url}/to"
            stopped = client.get(url, params={"url": target}, headers=fields)
            assert stopped.status_code == 302 and stopped.has_redirect_location
            assert stopped.history == []
            options = {"params": {"url": target}, "headers": fields, "follow_redirects": True}
            response = client.get(url, **options)
            said = response.json()["headers"]
            assert ("authorization" in said, "cookie" in said) == (kept, kept)
            assert said["x-other"] == "kept"
            (redirect,) = response.history
            assert redirect.status_code == 302 and redirect.headers["location"] == target


def test_too_many_redirects_and_a_body_that_is_gone_are_errors(site):
    with echkit.Client(follow_redirects=True, max_redirects=3, trust_env=False) as made:
        assert made.get(f"{site.url}/to?url=%2Fto%3Furl%3D%2F").url == f"{site.url}/"
        with pytest.raises(echkit.RedirectError, match="number 4"):
            made.get(f"{site.url}/circle")
        kept = made.post(f"{site.url}/to?url=/echo&status=307", content=b"again")
        assert kept.json()["body"] == "again"
        with pytest.raises(echkit.RedirectError, match="cannot be sent again"):
            made.post(f"{site.url}/to?url=/echo&status=307", content=iter([b"once"]))


# Cookies.


def test_cookies_are_kept_and_sent_back(client, site):
    response = client.get(f"{site.url}/cookies", params={"session": "17", "lang": "de"})
    assert response.cookies == {"session": "17", "lang": "de"}
    assert client.cookies["session"] == "17" and len(client.cookies) == 2
    assert client.cookies.get("lang", domain="127.0.0.1") == "de"
    assert client.cookies.get("lang", domain="other.test") is None
    client.cookies.set("mine", "1", domain="127.0.0.1")
    sent = client.get(f"{site.url}/echo", cookies={"once": "2"}).json()["headers"]["cookie"]
    assert set(sent.split("; ")) == {"once=2", "session=17", "lang=de", "mine=1"}
    assert "17" not in repr(client.cookies)
    client.cookies.clear()
    assert "cookie" not in client.get(f"{site.url}/echo").json()["headers"]


# Responses.


def test_text_is_decoded_as_the_server_says(client, site):
    response = client.get(f"{site.url}/latin")
    assert response.encoding == "latin-1" and response.text == "wärmer"
    response.encoding = "utf-8"
    assert response.text == "w\ufffdrmer"
    response = client.get(f"{site.url}/gzip")
    assert response.content == b"squeezed" * 1000
    assert response.headers["content-encoding"] == "gzip"


def test_lines_are_the_same_however_they_arrive(client, site):
    expected = ["one", "two", "", "three", "four"]
    with client.stream("GET", f"{site.url}/lines") as response:
        assert list(response.iter_lines()) == expected
    text = "one\r\ntwo\n\nthree\rfour"
    from echkit._response import _Lines

    for size in range(1, len(text) + 1):
        lines = _Lines()
        found = [
            line
            for start in range(0, len(text), size)
            for line in lines.of(text[start : start + size])
        ]
        assert found + lines.last() == expected, size


def test_header_fields_are_found_in_any_case(client, site):
    headers = client.get(f"{site.url}/cookies?a=1&b=2").headers
    assert headers["SET-COOKIE"] == "a=1, b=2" and "Set-Cookie" in headers
    assert headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert ("set-cookie", "a=1") in headers.multi_items()
    assert "a=1" not in repr(headers)
    assert headers.get("no-such") is None


def test_an_error_status_is_an_error_where_that_is_wanted(client, site):
    response = client.get(f"{site.url}/status?code=404")
    assert response.is_client_error and response.is_error
    with pytest.raises(echkit.HTTPStatusError, match="404 Not Found") as caught:
        response.raise_for_status()
    assert caught.value.response is response and caught.value.request is response.request
    assert client.get(f"{site.url}/status?code=299").raise_for_status().status_code == 299


# Streams.


@pytest.mark.parametrize("tls", [False, True])
def test_fifty_megabytes_go_each_way_in_parts(tls):
    expected = digest(pattern(FIFTY_MB))
    with Site(tls) as site, echkit.Client(verify=False, ech="off", trust_env=False) as made:
        sizes = []

        def watched():
            for part in pattern(FIFTY_MB):
                sizes.append(len(part))
                yield part

        said = made.post(f"{site.url}/echo", content=watched()).json()
        assert (said["size"], said["sha256"]) == (FIFTY_MB, expected)
        assert sum(sizes) == FIFTY_MB
        with made.stream("GET", f"{site.url}/down", params={"size": FIFTY_MB}) as response:
            assert digest(response.iter_bytes()) == expected
            assert response.is_closed
        with made.stream("GET", f"{site.url}/down", params={"size": 100_001}) as response:
            chunks = list(response.iter_bytes(1000))
        assert {len(chunk) for chunk in chunks[:-1]} == {1000} and len(chunks[-1]) == 1
        assert site.connections == 1


def test_a_file_of_fifty_megabytes_is_uploaded_with_its_length(client, site, tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        for part in pattern(FIFTY_MB):
            file.write(part)
    with path.open("rb") as file:
        file.seek(1)
        said = client.put(f"{site.url}/echo", content=file).json()
    assert said["headers"]["content-length"] == str(FIFTY_MB - 1)
    whole = b"".join(pattern(FIFTY_MB))
    assert said["sha256"] == digest([whole[1:]])


def test_a_stream_is_read_once_and_within_its_block(client, site):
    with client.stream("GET", f"{site.url}/lines") as response:
        with pytest.raises(echkit.ResponseNotRead):
            _ = response.content
        assert b"".join(response.iter_bytes()) == b"one\r\ntwo\n\nthree\rfour"
        with pytest.raises(echkit.StreamConsumed):
            next(response.iter_bytes())
    with client.stream("GET", f"{site.url}/lines") as response:
        pass
    with pytest.raises(echkit.StreamClosed):
        response.read()
    with client.stream("GET", f"{site.url}/lines") as response:
        assert response.read() and response.text and response.read() is response.content
        assert list(response.iter_bytes()) == [response.content]
        assert response.ech.document["bytes"]["received"] > 0


def test_a_stream_that_is_left_closes_its_connection(client, site):
    with client.stream("GET", f"{site.url}/stalls") as response:
        parts = response.iter_bytes()
        assert next(parts) == b"a part"
        assert site.reached.acquire(timeout=60)
    assert site.left.acquire(timeout=60)


def test_a_body_that_fails_is_not_taken_for_whole(client, site):
    class Broken(Exception):
        pass

    def parts():
        yield b"the first"
        raise Broken

    before = len(site.seen)
    with pytest.raises(Broken):
        client.post(f"{site.url}/never", content=parts())
    with pytest.raises(TypeError, match="bytes"):
        client.post(f"{site.url}/echo", content=iter([1]))
    assert client.get(f"{site.url}/echo").is_success
    # The server never saw an end of the first body.
    assert site.reached.acquire(blocking=False) is False
    assert len(site.seen) >= before + 1


def test_an_answer_before_the_end_of_the_body_ends_the_upload(client, site):
    def endless():
        while True:
            yield bytes(65536)

    response = client.post(f"{site.url}/refuses", content=endless())
    assert response.status_code == 413 and response.content == b"too much"


# Limits and errors.


def test_a_server_that_is_idle_is_given_up(client, site):
    with pytest.raises(echkit.ReadTimeout) as caught:
        client.get(f"{site.url}/never", timeout=(30, 0.2))
    assert isinstance(caught.value, TimeoutError) and caught.value.kind == "timeout"
    assert str(caught.value) == "127.0.0.1 neither sent nor took anything for 200 ms"
    assert site.reached.acquire(timeout=60) and site.left.acquire(timeout=60)
    with client.stream("GET", f"{site.url}/stalls", timeout=0.5) as response:
        parts = response.iter_bytes()
        assert next(parts) == b"a part"
        with pytest.raises(echkit.ReadTimeout):
            next(parts)
    assert site.reached.acquire(timeout=60) and site.left.acquire(timeout=60)
    with pytest.raises(echkit.TimeoutException) as caught:
        client.get(f"{site.url}/never", timeout=echkit.Timeout(total=0.2))
    assert not isinstance(caught.value, echkit.ReadTimeout)
    assert site.reached.acquire(timeout=60) and site.left.acquire(timeout=60)


def test_a_server_that_does_not_shake_hands_is_a_connect_timeout(client):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(echkit.ConnectTimeout, match="127.0.0.1") as caught:
            client.get(url, timeout=echkit.Timeout(connect=0.3))
    assert caught.value.ech.document["attempts"]


def test_a_body_that_is_cut_off_is_an_error(client, site):
    with pytest.raises(echkit.RemoteProtocolError, match="before the body was complete"):
        client.get(f"{site.url}/cut")
    with pytest.raises(echkit.RemoteProtocolError, match="without a response"):
        client.post(f"{site.url}/closes")


def test_a_body_that_is_too_long_for_memory_is_an_error(site):
    with echkit.Client(max_body=1000, trust_env=False) as made:
        with pytest.raises(echkit.ResponseTooLarge):
            made.get(f"{site.url}/down?size=1001")
        with made.stream("GET", f"{site.url}/down?size=5000") as response:
            assert len(b"".join(response.iter_bytes())) == 5000


def test_what_makes_no_sense_is_refused_before_anything_is_sent(client, site):
    before = len(site.seen)
    for arguments, error, words in [
        (("GET", "no-scheme"), echkit.InvalidURL, "no scheme"),
        (("GET", "ftp://a.test/"), echkit.InvalidURL, "ftp"),
        (("G T", site.url), ValueError, "method"),
    ]:
        with pytest.raises(error, match=words):
            client.request(*arguments)
    with pytest.raises(echkit.InvalidSetting, match="x-bad"):
        client.get(site.url, headers={"X-Bad": "a\r\nX-Smuggled: 1"})
    with pytest.raises(TypeError, match="X-Bad"):
        client.get(site.url, headers={"X-Bad": 1})
    with pytest.raises(ValueError):
        client.get(site.url, timeout=-1)
    with pytest.raises(TypeError, match="AsyncClient"):

        async def parts():
            yield b""

        client.post(site.url, content=parts())
    assert len(site.seen) == before
    for settings, error in [
        ({"ech": "always"}, echkit.InvalidSetting),
        ({"dns": "carrier-pigeon://"}, echkit.InvalidSetting),
        ({"proxy": "ftp://a.test"}, echkit.InvalidSetting),
        ({"verify": "/no/such/file.pem"}, echkit.TLSError),
        ({"verify": ssl.create_default_context()}, TypeError),
        ({"cert": "/no/such/file.pem"}, OSError),
        ({"http1": False, "http2": False}, ValueError),
    ]:
        with pytest.raises(error):
            echkit.Client(**settings)


def test_a_closed_client_is_not_used_again(site):
    with echkit.Client(trust_env=False) as made:
        assert made.get(f"{site.url}/echo").is_success and not made.is_closed
    assert made.is_closed
    with pytest.raises(RuntimeError, match="closed"):
        made.get(site.url)


def test_exceptions_are_one_tree_and_can_be_pickled():
    every = [
        each
        for name in echkit.__all__
        if isinstance(each := getattr(echkit, name), type) and issubclass(each, echkit.HTTPError)
    ]
    assert len(every) > 20
    for each in every:
        error = pickle.loads(pickle.dumps(each("words")))
        assert type(error) is each and str(error) == "words"
    assert issubclass(echkit.TransportError, OSError)
    assert issubclass(echkit.TLSError, ssl.SSLError)
    assert issubclass(echkit.ConnectTimeout, TimeoutError)
    assert issubclass(echkit.ECHNotAcceptedError, echkit.ECHRejectedError)
    assert issubclass(echkit.InvalidURL, ValueError)


# The process.


def test_ctrl_c_ends_a_request_that_waits_and_closes_its_connection(client, site):
    def interrupt():
        assert site.reached.acquire(timeout=60)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    for page in ("never", "stalls"):
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            client.get(f"{site.url}/{page}", timeout=None)
        thread.join()
        assert site.left.acquire(timeout=60)
    assert client.get(f"{site.url}/echo").is_success


def test_other_threads_go_on_while_one_waits(client, site):
    done = threading.Event()

    def waits():
        with pytest.raises(echkit.ReadTimeout):
            client.get(f"{site.url}/never", timeout=2)
        done.set()

    thread = threading.Thread(target=waits)
    thread.start()
    assert site.reached.acquire(timeout=60)
    for _ in range(5):
        assert client.get(f"{site.url}/echo").is_success
    thread.join()
    assert done.is_set() and site.left.acquire(timeout=60)


FORKED = """
import os, sys
import echkit
url = sys.argv[1]
threads = lambda: len(os.listdir("/proc/self/task"))
client = echkit.Client(ech="off", trust_env=False)
assert threads() == 1, "a client that was not used has started a thread"
client.get(url + "/cookies?session=17")
streamed = client.stream("GET", url + "/stalls")
response = streamed.__enter__()
for _ in range(3):
    child = os.fork()
    if child == 0:
        said = client.get(url + "/echo").json()
        assert said["headers"]["cookie"] == "session=17", said
        try:
            response.read()
        except RuntimeError:
            # Neither of these may touch the parent's connection.
            del response, streamed
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert client.get(url + "/echo").json()["headers"]["cookie"] == "session=17"
print("done")
"""


def test_a_forked_child_has_connections_of_its_own_and_the_cookies(site):
    before = site.connections
    ran = subprocess.run(
        [sys.executable, "-c", FORKED, site.url], capture_output=True, text=True, timeout=300
    )
    assert (ran.returncode, ran.stdout) == (0, "done\n"), ran.stderr
    # The parent's two, and one of each child.
    assert site.connections == before + 5
    assert site.reached.acquire(timeout=60) and site.left.acquire(timeout=60)


def test_importing_the_package_loads_no_client_and_starts_no_thread():
    code = (
        "import os, sys, echkit\n"
        "print(len(os.listdir('/proc/self/task')), "
        "[n for n in sys.modules if n in ('echkit._client', 'echkit._exceptions', 'asyncio')])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ran.stdout == "1 []\n", ran.stdout + ran.stderr


def test_a_client_certificate_is_shown(site, tmp_path):
    certificates = os.path.join(os.path.dirname(__file__), "certs")
    with Site(tls=True) as server:
        server.tls.verify_mode = ssl.CERT_REQUIRED
        server.tls.load_verify_locations(f"{certificates}/ca.pem")
        shown = {"cert": f"{certificates}/public.example.pem"}
        settings = {"verify": False, "ech": "off", "trust_env": False}
        with echkit.Client(**shown, **settings) as made:
            assert made.get(f"{server.url}/echo").is_success
        with echkit.Client(**settings) as made, pytest.raises(echkit.TransportError):
            made.get(f"{server.url}/echo")


def test_memory_of_a_stream_is_bounded(client, site):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with client.stream("GET", f"{site.url}/down", params={"size": 4 * FIFTY_MB}) as response:
        assert sum(map(len, itertools.chain(response.iter_bytes()))) == 4 * FIFTY_MB
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024, f"{grown} KiB"
