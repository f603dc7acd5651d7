"""The HTTP client holds no more after many requests than after some."""

import pathlib
import subprocess
import sys


def test_memory_and_descriptors_do_not_grow():
    program = pathlib.Path(__file__).with_name("client_stress.py")
    ran = subprocess.run(
        [sys.executable, str(program), "soak", "800"], capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "grown by" in ran.stdout
