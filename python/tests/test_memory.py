"""Over memory BIOs nothing is taken that was not asked for, as in the standard module."""

import itertools
import ssl as standard

import pytest

import echkit.ssl as ssl
from peer import HIDDEN, client_context, finish_handshakes, server_context

MODULES = (standard, ssl)


def connected(module, version=None):
    """A client of a module, connected to a server of the standard one; its BIOs, and the server's
    end. The server has sent no tickets."""
    client = client_context(module)
    server = server_context(standard)
    if version is not None:
        client.maximum_version = version
    down, up = standard.MemoryBIO(), standard.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname=HIDDEN)
    theirs = server.wrap_bio(up, down, server_side=True)
    finish_handshakes(ours, theirs)
    return ours, theirs, down, up


def attempt(call):
    try:
        return call()
    except standard.SSLError as error:
        return type(error)


VERSIONS = [standard.TLSVersion.TLSv1_2, standard.TLSVersion.TLSv1_3]
SIZES = [1, 100, 5000, 16384, 16385, 100_000]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("asked", [1, 1000, 16384, 1 << 18])
def test_a_read_takes_one_record_and_both_counts_tell_the_truth(version, asked):
    """`pending()` and the BIO's, before and after each read, of data with close_notify behind it."""

    def told(module):
        ours, theirs, down, _ = connected(module, version)
        for size in SIZES:
            theirs.write(bytes(size))
        with pytest.raises(standard.SSLWantReadError):
            theirs.unwrap()
        said = []
        for _ in range(10_000):
            before = down.pending, ours.pending()
            got = attempt(lambda: len(ours.read(asked)))
            said.append((before, got, down.pending, ours.pending()))
            if got in (0, standard.SSLZeroReturnError):
                break
        return said

    assert told(ssl) == told(standard)


def test_a_consumer_that_reads_while_there_is_something_pending_sees_the_end():
    """uvloop does: nothing comes any more, so that nothing else would wake it."""
    for module in MODULES:
        ours, theirs, down, _ = connected(module)
        theirs.write(b"all of it")
        with pytest.raises(standard.SSLWantReadError):
            theirs.unwrap()
        got = []
        while down.pending or ours.pending():
            got.append(ours.read(1 << 18))
        assert got == [b"all of it", b""], module


def test_a_consumer_that_reads_while_there_is_something_pending_sees_an_error():
    def told(module):
        ours, theirs, down, _ = connected(module)
        theirs.write(b"good")
        good = down.read()
        theirs.write(b"bad")
        bad = bytearray(down.read())
        bad[-1] ^= 1
        down.write(good + bad)
        got = []
        while down.pending or ours.pending():
            got.append(attempt(lambda: ours.read(1 << 18)))
        return got

    assert told(ssl) == told(standard) == [b"good", standard.SSLError]


def test_writing_takes_nothing():
    """A reader that has paused stops the flow, whatever is written meanwhile."""
    for module in MODULES:
        ours, theirs, down, up = connected(module)
        for _ in range(100):
            theirs.write(bytes(16384))
            ours.write(b"still here")
        assert down.pending > 100 * 16384, module
        assert ours.pending() == 0
        for _ in range(100):
            assert theirs.read(100) == b"still here"
        for _ in range(100):
            assert len(ours.read(1 << 18)) == 16384
        assert down.pending == 0


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("by_reading", [True, False])
def test_what_comes_after_close_notify_stays(version, by_reading):
    """STARTTLS the other way round."""
    for module in MODULES:
        ours, theirs, down, up = connected(module, version)
        with pytest.raises(standard.SSLWantReadError):
            theirs.unwrap()
        down.write(b"in the clear")
        if by_reading:
            assert attempt(lambda: ours.read(100)) in (b"", standard.SSLZeroReturnError)
            assert attempt(lambda: ours.read(100)) in (b"", standard.SSLZeroReturnError)
        ours.unwrap()
        assert down.read() == b"in the clear", module
        theirs.unwrap()


def test_the_handshake_takes_nothing_that_comes_after_it():
    for module in MODULES:
        client, server = client_context(standard), server_context(module)
        down, up = standard.MemoryBIO(), standard.MemoryBIO()
        ours = client.wrap_bio(down, up, server_hostname=HIDDEN)
        theirs = server.wrap_bio(up, down, server_side=True)
        for side in (ours, theirs):
            with pytest.raises(standard.SSLWantReadError):
                side.do_handshake()
        ours.do_handshake()
        finished = up.pending
        ours.write(b"early")
        early = up.pending - finished
        theirs.do_handshake()
        assert up.pending == early, module
        assert theirs.read(100) == b"early"


@pytest.mark.parametrize("cut", range(1, 60))
def test_records_that_come_in_pieces(cut):
    for module in MODULES:
        ours, theirs, down, _ = connected(module)
        theirs.write(b"one")
        theirs.write(b"two")
        wire = down.read()
        got = []
        for piece in itertools.batched(wire, cut) if hasattr(itertools, "batched") else (
            wire[i : i + cut] for i in range(0, len(wire), cut)
        ):
            down.write(bytes(piece))
            got += [attempt(lambda: ours.read(10)) for _ in range(2)]
        assert [data for data in got if data != standard.SSLWantReadError] == [b"one", b"two"]


def test_an_end_within_a_record_and_between_records():
    def told(module, keep, ignore):
        ours, theirs, down, _ = connected(module)
        if ignore:
            # Settings are read when a connection is wrapped.
            client = client_context(module)
            client.options |= standard.OP_IGNORE_UNEXPECTED_EOF
            down, up = standard.MemoryBIO(), standard.MemoryBIO()
            ours = client.wrap_bio(down, up, server_hostname=HIDDEN)
            theirs = server_context(standard).wrap_bio(up, down, server_side=True)
            for side in (ours, theirs, ours, theirs):
                attempt(side.do_handshake)
        theirs.write(b"data")
        wire = down.read()
        down.write(wire[: len(wire) - keep])
        down.write_eof()
        return [attempt(lambda: ours.read(10)) for _ in range(3)], down.eof

    for keep, ignore in itertools.product((0, 1, 25), (False, True)):
        assert told(ssl, keep, ignore) == told(standard, keep, ignore)


def test_what_is_not_tls_is_refused_and_not_waited_for():
    for module in MODULES:
        ours, theirs, down, _ = connected(module)
        down.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert attempt(lambda: ours.read(10)) is standard.SSLError
