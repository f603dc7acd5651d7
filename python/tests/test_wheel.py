"""The wheel in a fresh environment, without Rust, by the README's own lines."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
WHEELS = list(ROOT.glob("dist/echkit-*.whl"))

pytestmark = pytest.mark.skipif(len(WHEELS) != 1, reason="`make wheel` leaves one wheel in dist/")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a program of a fresh environment that has the wheel and nothing else."""
    home = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", home / "env"], check=True)
    environment = {"PATH": str(home / "env/bin"), "HOME": str(home), "LC_ALL": "C.UTF-8"}

    def run(program, *args):
        return subprocess.run(
            [str(home / "env/bin" / program), *args],
            cwd=home, env=environment, capture_output=True, text=True, timeout=300,
        )

    installed = run("pip", "install", "--no-index", "--no-cache-dir", str(WHEELS[0]))
    assert installed.returncode == 0, installed.stdout + installed.stderr
    which = "import shutil, sys; sys.exit(shutil.which('cargo') or shutil.which('rustc'))"
    assert run("python", "-c", which).returncode == 0
    return run


def readme(language):
    """The README's blocks of a language in its section on Python."""
    section = (ROOT / "README.md").read_text().split("## In Python")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def test_the_command_works(run):
    assert any("ech demo" in block for block in readme("sh"))
    assert run("ech", "--version").stdout.startswith("ech ")
    demo = run("ech", "demo")
    assert demo.returncode == 0 and "All of it is as it should be." in demo.stdout


def test_the_readmes_lines_fetch_a_page_over_ech(run):
    (lines,) = readme("python")
    check = (
        "testbed.quiet()\n"
        "import json\n"
        "print(json.dumps([page.decode().partition('\\r\\n\\r\\n')[2],\n"
        "    [case.host in capture for capture in testbed.captures()]]))\n"
    )
    ran = run("python", "-c", lines + check)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("ECH_STATUS_SUCCESS nominal.ech.test public.ech.test\n")
    page, seen = json.loads(ran.stdout.splitlines()[-1])
    said = json.loads(page)["ech"]
    assert (said["status"], said["inner_sni"]) == ("accepted", "nominal.ech.test")
    assert seen == [False]


def test_types_and_sources_come_along(run):
    where = run("python", "-c", "import echkit, os; print(os.path.dirname(echkit.__file__))")
    files = set(os.listdir(where.stdout.strip()))
    assert {"py.typed", "_echkit.pyi", "ssl.pyi", "ssl.py", "testing.py"} <= files
    assert "tests" not in files
