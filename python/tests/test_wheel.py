"""The wheel in a fresh environment, without Rust, by the README's own lines."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import snippets  # noqa: E402

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


def test_the_documents_lines_install_it_and_run_the_command(tmp_path):
    pasted = [block for block in snippets.all_blocks() if block.with_the_wheel]
    assert pasted
    for block in pasted:
        (tmp_path / "dist").mkdir()
        (tmp_path / "dist" / WHEELS[0].name).symlink_to(WHEELS[0])
        # The wheel needs nothing from an index.
        path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {"PATH": path, "PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"}
        printed = snippets.paste(block, "sh", environment, tmp_path)
        assert "All of it is as it should be." in printed


def test_the_readmes_lines_fetch_a_page_over_ech(run):
    (lines,) = [
        block.text
        for block in snippets.all_blocks()
        if (block.document, block.language) == ("README.md", "python") and "Testbed" in block.text
    ]
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


def test_importing_the_package_imports_nothing_but_itself_and_what_ssl_needs():
    code = (
        "import sys, ssl; before = set(sys.modules); import echkit; print(*set(sys.modules) - before);"
        "assert echkit.lookup and echkit.create_default_context and 'lookup' in dir(echkit)"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    own = {"echkit", "echkit.ssl", "echkit._echkit", "echkit._files", "echkit._settings"}
    # `typing`, `re`, `threading` and `weakref` alone would take a fifth of the time of `ssl`.
    assert own <= set(ran.stdout.split()) <= own | {"__future__"}
