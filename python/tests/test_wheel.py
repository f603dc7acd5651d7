"""The wheels in fresh environments, without Rust, by the README's own lines."""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tomllib

import pytest

import echkit

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import snippets  # noqa: E402

DIST = ROOT / "dist"
WHEELS = sorted(DIST.glob("*.whl"))
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]

pytestmark = pytest.mark.skipif(len(WHEELS) != 2, reason="`make wheel` leaves two wheels in dist/")


class Fresh:
    """An environment with nothing in it, and no compiler on its PATH."""

    def __init__(self, home):
        self.home = home
        subprocess.run([sys.executable, "-m", "venv", home / "env"], check=True)
        assert self("python", "-c", "import shutil; print(shutil.which('cargo'))").stdout == "None\n"

    def __call__(self, program, *args):
        return subprocess.run(
            [str(self.home / "env/bin" / program), *args],
            cwd=self.home, capture_output=True, text=True, timeout=300,
            env={"PATH": str(self.home / "env/bin"), "HOME": str(self.home), "LC_ALL": "C.UTF-8"},
        )

    def install(self, what):
        ran = self("pip", "install", "--no-index", "--no-cache-dir", "--find-links", str(DIST), what)
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """With ``echkit`` and nothing else."""
    fresh = Fresh(tmp_path_factory.mktemp("plain"))
    fresh.install("echkit")
    return fresh


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """With ``echkit[testing]``."""
    fresh = Fresh(tmp_path_factory.mktemp("testing"))
    fresh.install("echkit[testing]")
    return fresh


def test_without_extras_it_has_neither_command_nor_testbed_and_says_how_to_get_them(plain):
    assert plain("python", "-c", "import echkit; echkit.Client").returncode == 0
    assert not (plain.home / "env/bin/ech").exists()
    entry = "import importlib.metadata as m; print([*m.entry_points(group='pytest11')])"
    assert plain("python", "-c", entry).stdout == "[]\n"
    command = plain("python", "-m", "echkit", "lookup", "example.com")
    assert (command.returncode, command.stdout, command.stderr) == (
        2, "", "echkit: the command ech is in the package echkit-tools, which is not installed; "
        "run: pip install 'echkit[cli]'\n",
    )
    testing = plain("python", "-c", "import echkit.testing")
    assert testing.returncode == 1
    assert "ModuleNotFoundError: echkit.testing is in the package echkit-tools" in testing.stderr
    assert "pip install 'echkit[testing]'" in testing.stderr
    # Programs run as they are without it.
    assert plain("python", "-m", "echkit", "-c", "print('ran')").stdout == "ran\n"


def test_tools_of_another_version_are_refused():
    code = (
        "import echkit_tools._echkit_tools as tools; tools.__version__ = '0.0.9'\n"
        "import echkit.testing"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stderr.endswith(
        f"ImportError: echkit.testing: echkit-tools 0.0.9 does not match echkit {VERSION}; "
        f"run: pip install 'echkit[testing]=={VERSION}'\n"
    )


def test_the_plugin_of_pytest_imports_nothing_until_its_fixture_is_used(tmp_path):
    (tmp_path / "test_one.py").write_text(
        "import sys\n"
        "def ours(): return {name for name in sys.modules if name.startswith('echkit')}\n"
        "def test_before(): assert ours() == {'echkit_tools', 'echkit_tools._pytest'}\n"
        "def test_used(ech_testbed): assert 'echkit.testing' in ours() and ech_testbed.cases\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_one.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0 and "2 passed" in ran.stdout, ran.stdout


@pytest.mark.parametrize("name", ["echkit", "echkit-tools"])
def test_metadata_is_whole_and_the_version_is_that_of_the_workspace(name):
    found = importlib.metadata.metadata(name)
    assert found["Version"] == echkit.__version__ == VERSION
    assert found["License-Expression"] == "MIT OR Apache-2.0"
    files = {file.name for file in importlib.metadata.files(name) if ".dist-info/" in str(file)}
    assert {"LICENSE-MIT", "LICENSE-APACHE"} <= files
    assert found["Description-Content-Type"].startswith("text/markdown")
    assert found.get_payload().startswith(f"# {name}\n") and found["Summary"]
    urls = {line.partition(",")[0] for line in found.get_all("Project-URL")}
    assert urls == {"Repository", "Documentation", "Changelog", "Issues"}
    assert found["Requires-Python"] == ">=3.11" and len(found.get_all("Classifier")) > 10


def test_both_packages_ask_for_each_other_in_this_version():
    required = importlib.metadata.requires("echkit")
    ours = {line for line in required if line.startswith("echkit")}
    assert ours == {f"echkit-tools=={VERSION} ; extra == '{extra}'" for extra in ("cli", "testing")}
    assert importlib.metadata.requires("echkit-tools") == [f"echkit=={VERSION}"]


def test_the_documents_lines_install_it_and_run_the_command(tmp_path):
    pasted = [block for block in snippets.all_blocks() if block.with_the_wheel]
    assert pasted
    for block in pasted:
        (tmp_path / "dist").mkdir()
        for wheel in WHEELS:
            (tmp_path / "dist" / wheel.name).symlink_to(wheel)
        # The wheels need nothing from an index.
        path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {"PATH": path, "PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"}
        [printed] = snippets.paste([block], "sh", environment, tmp_path)
        assert "All of it is as it should be." in printed
        assert "env/bin/ech testbed " in printed  # what to try next


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


def test_types_and_sources_come_along(plain):
    where = plain("python", "-c", "import echkit, os; print(os.path.dirname(echkit.__file__))")
    files = set(os.listdir(where.stdout.strip()))
    assert {"py.typed", "_echkit.pyi", "ssl.pyi", "ssl.py", "testing.py"} <= files
    assert not files & {"tests", "bench", "tools"}


def test_importing_the_package_imports_nothing_but_itself_and_what_ssl_needs():
    code = (
        "import sys, ssl; before = set(sys.modules); import echkit; print(*set(sys.modules) - before);"
        "assert echkit.lookup and echkit.create_default_context and 'lookup' in dir(echkit)"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    own = {"echkit", "echkit.ssl", "echkit._echkit", "echkit._files", "echkit._settings"}
    # `typing`, `re`, `threading` and `weakref` alone would take a fifth of the time of `ssl`.
    assert own <= set(ran.stdout.split()) <= own | {"__future__"}
