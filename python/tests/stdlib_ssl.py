"""Runs the interpreter's own ``test.test_ssl`` with ``ssl`` replaced by ``echkit.ssl``.

Every test that does not pass is on the list in ``test_ssl_expectations.txt`` with its reason; an
unexpected failure and an unexpected success both end in an exit code of 1.

The suite has time-outs of its own, so an unexpected failure is shown with its traceback and run
once more, as the interpreter's own runner does with ``--rerun``. The second outcome counts.
"""

import faulthandler
import pathlib
import sys
import traceback
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
        self.why = {}

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed.add(short(test.id()))

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.note(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note(test, err)

    def note(self, test, err):
        """Keeps a failure and why it is one."""
        name = short(test.id())
        self.failed.add(name)
        self.why.setdefault(name, "".join(traceback.format_exception(*err)))


def short(test_id: str) -> str:
    return ".".join(test_id.split(".")[-2:])


def show(result: Result, names: list[str]) -> None:
    """Prints why tests failed."""
    for name in names:
        print(f"failed: {name}")
        print("".join(f"| {line}\n" for line in result.why[name].splitlines()), end="")


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
    runner = unittest.TextTestRunner(verbosity=2, resultclass=Result)
    result = runner.run(suite)
    reasons = expected()
    failed = result.failed
    again = sorted(failed - reasons.keys())
    if again:
        show(result, again)
        # What failed outside a test, such as the set-up of a class, cannot be run alone.
        alone = [name for name in again if "(" not in name]
        second = runner.run(loader.loadTestsFromNames(alone, test_ssl))
        for name in alone:
            print(f"run once more: {name}: {'failed' if name in second.failed else 'passed'}")
        show(second, sorted(second.failed))
        failed = (failed - set(alone)) | second.failed
    faulthandler.cancel_dump_traceback_later()
    passed = (result.passed | (set(again) - failed)) - failed
    ran = passed | failed
    unexpected = sorted(failed - reasons.keys())
    surprising = sorted(passed & reasons.keys())
    for name in unexpected:
        print(f"unexpected failure: {name}")
    for name in surprising:
        print(f"unexpected success: {name}")
    print(
        f"test.test_ssl: {len(passed)} passed, {len(failed)} failed "
        f"({len(reasons)} on the list), {len(result.skipped)} skipped, {len(ran)} ran"
    )
    return 1 if unexpected or surprising else 0


if __name__ == "__main__":
    sys.exit(main())
