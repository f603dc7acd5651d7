"""Leaks, threads, forks, exits and interruptions: neither growth, nor hangs, nor crashes.

Each runs in a process of its own, whose time is limited so that a hang is a failure. The
environment variable ``ECHKIT_SOAK`` says how many handshakes the search for leaks makes.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from peer import Peer

STRESS = str(pathlib.Path(__file__).with_name("stress.py"))
COUNT = os.environ.get("ECHKIT_SOAK", "2000")
# Much more than is ever needed on a busy machine.
LIMIT = 300


class Program:
    """A program of ``stress.py``; what is left of it at the end is killed, children too."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, STRESS, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def run(*arguments, limit=LIMIT):
    with Program(*arguments) as process:
        output, errors = process.communicate(timeout=limit)
    assert process.returncode == 0, output + errors
    return errors


def test_handshakes_and_aborted_connections_leave_no_memory_behind():
    run("soak", COUNT, limit=LIMIT + int(COUNT) // 10)


def test_sockets_closed_at_any_point_leave_no_memory_behind():
    run("soak_sockets")


def test_handshakes_that_fail_leave_neither_memory_nor_descriptors_behind():
    run("failures", "100")


def test_many_threads_shake_hands_with_one_context():
    run("threads")


def test_one_thread_reads_while_another_sends():
    run("both_ways")


def test_a_child_of_a_busy_process_makes_connections():
    run("fork")


@pytest.fixture(scope="module")
def port():
    with Peer() as peer:
        yield str(peer.port)


@pytest.mark.parametrize("what", ["handshake", "read", "timed", "write", "busy"])
def test_the_interpreter_ends_in_the_middle_of_io(what, port):
    assert run("leave", what, port) == ""


@pytest.mark.parametrize("what", ["handshake", "read", "timed", "write", "busy"])
def test_ctrl_c_ends_a_blocked_call(what, port):
    with Program("interrupted", what, port) as process:
        assert process.stdout.readline() == "blocked\n", process.stderr.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
    assert errors.rstrip().endswith("KeyboardInterrupt"), errors
    assert process.returncode == -signal.SIGINT
