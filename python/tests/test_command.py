"""The command ``ech`` that comes with the package."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import echkit

ECH = pathlib.Path(sys.executable).with_name("ech")


def ech(*args, **settings):
    return subprocess.run([str(ECH), *args], capture_output=True, text=True, timeout=120, **settings)


def test_it_knows_its_version():
    ran = ech("--version")
    assert (ran.returncode, ran.stdout) == (0, f"ech {echkit.__version__}\n")


def test_python_dash_m_is_the_same():
    ran = subprocess.run(
        [sys.executable, "-m", "echkit", "--help"], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0 and "Usage: ech" in ran.stdout


@pytest.mark.parametrize(
    ("args", "code"),
    [(["--nonsense"], 2), ([], 2), (["get", "gopher://a.example"], 3), (["decode", "zzzz"], 61)],
)
def test_exit_codes_are_the_binarys(args, code):
    assert ech(*args).returncode == code


def test_the_demo_is_as_it_should_be():
    ran = ech("demo", "--json")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["problems"] == [] and len(document["scenes"]) == 3


def test_it_fetches_over_ech(ech_testbed):
    network = ["--dns", ech_testbed.dns, "--cacert", ech_testbed.ca_file]
    url = ech_testbed.url("stale") + "?format=json"
    ran = ech("get", "--json", "--ech", "require", *network, url)
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["report"]["ech"]["status"] == "accepted"
    assert document["report"]["ech"]["retries"] == 1
    ran = ech("get", "--json", "--ech", "require", *network, ech_testbed.url("no-record"))
    assert ran.returncode == 101
    assert json.loads(ran.stdout)["error"]["exit_code"] == 101


def test_a_body_without_a_line_s_end_arrives_whole(ech_testbed):
    network = ["--dns", ech_testbed.dns, "--cacert", ech_testbed.ca_file]
    ran = ech("get", "-s", *network, ech_testbed.url("nominal") + "?format=json")
    assert json.loads(ran.stdout)["ech"]["status"] == "accepted"


@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_testbed(interrupt):
    running = subprocess.Popen(
        [str(ECH), "testbed", "--only", "nominal", "--json"], stdout=subprocess.PIPE, text=True
    )
    document = json.loads(running.stdout.readline())
    assert os.path.exists(document["cacert"])
    running.send_signal(interrupt)
    assert running.wait(60) == 0
    assert not os.path.exists(document["cacert"])


def test_the_testbed_goes_on_in_the_background(tmp_path):
    ran = ech("testbed", "--only", "nominal", "--detach", "--json", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    document = json.loads(ran.stdout)
    try:
        network = ["--dns", document["dns"], "--cacert", document["cacert"]]
        got = ech("get", "-s", "--ech", "require", *network, document["cases"][0]["url"])
        assert got.returncode == 0, got.stderr
    finally:
        os.kill(document["pid"], signal.SIGTERM)
    while os.path.exists(document["cacert"]):
        time.sleep(0.02)


def test_ctrl_c_ends_a_fetch_as_it_ends_others(tmp_path):
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        mute.settimeout(60)
        dns = f"udp://127.0.0.1:{mute.getsockname()[1]}"
        running = subprocess.Popen([str(ECH), "get", "--dns", dns, "https://a.example/"])
        mute.recv(4096)  # it is at work
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == -signal.SIGINT
