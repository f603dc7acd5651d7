"""Runs the interpreter's own ``test.test_ssl`` with ``ssl`` replaced by ``echkit.ssl``.

Every test that does not pass is on the list in ``test_ssl_expectations.txt`` with its reason; an
unexpected failure and an unexpected success both end in an exit code of 1.
"""

import faulthandler
import pathlib
import sys
import unittest

import echkit.ssl

EXPECTATIONS = pathlib.Path(__file__).with_name("test_ssl_expectations.txt")


def expected() -> dict[str, str]:
    """The tests that are expected not to pass, with the reason."""
    reasons = {}
    for line in EXPECTATIONS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, reason = line.partition(" ")
            assert reason.strip(), f"no reason for {name}"
            reasons[name] = reason.strip()
    return reasons


class Result(unittest.TextTestResult):
    """Remembers the outcome of each test."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.failed = set()
        self.passed = set()

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed.add(short(test.id()))

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.failed.add(short(test.id()))

    def addError(self, test, err):
        super().addError(test, err)
        self.failed.add(short(test.id()))

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.failed.add(short(test.id()))


def short(test_id: str) -> str:
    return ".".join(test_id.split(".")[-2:])


def main() -> int:
    # Whatever imports `ssl` from here on gets ours.
    for name in ("http.client", "urllib.request", "asyncio.sslproto"):
        assert name not in sys.modules, name
    sys.modules["ssl"] = echkit.ssl
    from test import support, test_ssl

    support.use_resources = ["walltime"]
    support.verbose = False
    names = sys.argv[1:]
    # A test that hangs ends the run, and shows where.
    faulthandler.dump_traceback_later(240, exit=True)
    loader = unittest.defaultTestLoader
    suite = (
        loader.loadTestsFromNames(names, test_ssl)
        if names
        else loader.loadTestsFromModule(test_ssl)
    )
    result = unittest.TextTestRunner(verbosity=2, resultclass=Result).run(suite)
    faulthandler.cancel_dump_traceback_later()
    passed = result.passed - result.failed
    reasons = expected()
    ran = passed | result.failed
    unexpected = sorted(result.failed - reasons.keys())
    surprising = sorted(passed & reasons.keys())
    for name in unexpected:
        print(f"unexpected failure: {name}")
    for name in surprising:
        print(f"unexpected success: {name}")
    print(
        f"test.test_ssl: {len(passed)} passed, {len(result.failed)} failed "
        f"({len(reasons)} on the list), {len(result.skipped)} skipped, {len(ran)} ran"
    )
    return 1 if unexpected or surprising else 0


if __name__ == "__main__":
    sys.exit(main())
