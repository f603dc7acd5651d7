"""The examples run against the testbed."""

import importlib
import pathlib
import re
import subprocess
import sys

import pytest

import echkit

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "examples/python"


def run(name, *args):
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *args], capture_output=True, text=True, timeout=120
    )
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("nominal", ["status: ECH_STATUS_SUCCESS", "inner name: nominal.ech.test"]),
        ("stale", ["status: ECH_STATUS_FAILED_ECH\n", "again", "status: ECH_STATUS_SUCCESS"]),
        ("no-record", ["status: ECH_STATUS_GREASE"]),
    ],
)
def test_by_hand(ech_testbed, case, words):
    network = ["--dns", ech_testbed.dns, "--cafile", ech_testbed.ca_file]
    code, said, problem = run("by_hand.py", ech_testbed.url(case) + "?format=json", *network)
    assert code == 0, problem
    served = ech_testbed.case(case)
    assert f"asked for: _{served.port}._https.{served.host}" in said
    for word in words:
        assert word in said, said
        said = said[said.index(word) :]
    if case != "no-record":
        assert f'"inner_sni":"{served.host}"' in said.replace(" ", "")


def test_by_hand_stops_where_ech_is_switched_off(ech_testbed):
    network = ["--dns", ech_testbed.dns, "--cafile", ech_testbed.ca_file]
    code, said, problem = run("by_hand.py", ech_testbed.url("disabled"), *network)
    assert code != 0 and "ECHRejectedError" in problem


def test_automatic(ech_testbed):
    served = ech_testbed.case("nominal")
    network = ["--dns", ech_testbed.dns, "--cafile", ech_testbed.ca_file]
    code, said, problem = run("automatic.py", served.host, str(served.port), *network)
    assert code == 0, problem
    assert "".join(said.split()).count('"ech":{"status":"accepted"') == 2, said


@pytest.mark.parametrize("document", ["README.md", "docs/python.md"])
def test_the_documents_name_what_exists(document):
    text = (ROOT / document).read_text()
    for name in re.findall(r"\bechkit\.(\w+)\b(?!/)", text):
        if not hasattr(echkit, name):
            importlib.import_module(f"echkit.{name}")
