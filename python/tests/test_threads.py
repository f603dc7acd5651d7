"""Several threads at one connection, and forks beside them."""

import fcntl
import os
import pathlib
import signal
import socket
import threading
import time

import pytest

import echkit.ssl as ssl
from peer import CERTS, HIDDEN, client_context, server_context, shake_hands_in_memory

LIMIT = 60


@pytest.mark.parametrize("with_keys", [False, True])
def test_two_threads_in_do_handshake_at_a_server_both_see_it_through(with_keys):
    made = server_context(ssl)
    if with_keys:
        made.load_ech_keys(CERTS / "ech.pem")
    # Both threads have read the hello before either answers it.
    both = threading.Barrier(2)
    asked = []

    def choose(sock, name, _):
        asked.append(name)
        both.wait(LIMIT)

    made.sni_callback = choose
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.settimeout(LIMIT)
    server = made.wrap_socket(theirs, server_side=True, do_handshake_on_connect=False)
    failures = []

    def shake_hands():
        try:
            server.do_handshake()
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=shake_hands) for _ in range(2)]
    for thread in threads:
        thread.start()
    with client_context(ssl).wrap_socket(ours, server_hostname=HIDDEN) as client:
        for thread in threads:
            thread.join(LIMIT)
        assert failures == [] and asked == [HIDDEN, HIDDEN]
        client.sendall(b"x")
        assert server.recv(1) == b"x"
        assert made.session_stats()["accept_good"] == made.session_stats()["accept"] == 1
    server.close()


def is_blocked_on(thread, path):
    """Whether a thread is in a system call whose first argument is a descriptor of the file."""
    call = pathlib.Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()
    if len(call) < 2:  # "running"
        return False
    try:
        return os.readlink(f"/proc/self/fd/{int(call[1], 16)}") == str(path)
    except OSError:  # not a descriptor
        return False


def test_a_fork_while_another_thread_writes_the_key_log_leaves_the_child_able_to(tmp_path):
    pipe = tmp_path / "keys"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    client, server = client_context(ssl), server_context(ssl)
    client.keylog_filename = str(pipe)
    # Settings are made, and the log opened, before anything blocks.
    client._connection_settings(False)
    writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"-" * size)
    thread = threading.Thread(target=shake_hands_in_memory, args=(ssl, client, server), daemon=True)
    thread.start()
    while not is_blocked_on(thread, pipe):
        time.sleep(0.01)
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(LIMIT)  # whose default ends the process
            shake_hands_in_memory(ssl, client, server)
            os._exit(0)
        finally:
            os._exit(1)
    log = b""
    ended = None
    while ended is None or thread.is_alive():
        try:
            log += os.read(reader, 65536)
        except BlockingIOError:
            time.sleep(0.01)
        if ended is None:
            pid, status = os.waitpid(child, os.WNOHANG)
            ended = status if pid else None
    thread.join()
    assert os.waitstatus_to_exitcode(ended) == 0
    os.set_blocking(reader, False)
    while True:
        try:
            log += os.read(reader, 65536)
        except BlockingIOError:
            break
    # Whole lines, of two connections.
    lines = log.lstrip(b"-").splitlines()
    assert len({line.split()[1] for line in lines}) == 2
    assert all(len(line.split()) == 3 for line in lines)
    os.close(reader)
    os.close(writer)
