#!/usr/bin/env python3
"""Finds in tracked files what must not be committed: unfinished work, debugging aids,
paths of one machine, and hosts of package registries (a mirror or an outage must not matter)."""

import pathlib
import re
import subprocess
import sys

CODE = {".rs", ".py", ".go", ".sh", ".toml", ""}

# Each: what it is, the expression, the suffixes that it applies to (None: every text file).
RULES = [
    ("unfinished work", r"\b(TODO|FIXME|XXX)\b", None),
    ("unfinished code", r"\b(todo|unimplemented)!\s*\(", None),
    ("debugging aid", r"\bdbg!\s*\(", CODE),
    ("path of one machine", r"(?<![\w.$}~/-])/(work|root|farm|home/\w+)/", None),
    ("use of what rustls calls internal", r"rustls::internal\b", {".rs"}),
    ("marker of a merge", r"^(<{7}|>{7}) ", None),
    (
        "registry host",
        r"\b((index|static)\.crates\.io|crates\.io/api|(files|test)\.pythonhosted\.org|pypi\.org"
        r"|registry\.npmjs\.org|deb\.debian\.org|proxy\.golang\.org)\b",
        None,
    ),
]

# Lock files name their registry; this file names what it looks for; one file needs what rustls calls
# internal.
PASSED_OVER = re.compile(
    r"(^|/)(Cargo\.lock|package-lock\.json)$|^scripts/leftovers\.py$"
    r"|^crates/echkit-tls/src/retry_configs\.rs$"
)


def findings(path: str, text: str):
    """Yields line number, rule and line for each leftover in a file."""
    suffix = pathlib.PurePath(path).suffix
    for what, expression, suffixes in RULES:
        if suffixes is not None and suffix not in suffixes:
            continue
        for match in re.finditer(expression, text, re.MULTILINE):
            number = text.count("\n", 0, match.start()) + 1
            yield number, what, text.splitlines()[number - 1].strip()


def self_test() -> None:
    """A check that finds nothing must be able to find something."""
    for line in ["// TO" + "DO: later", "to" + "do!()", "see /wo" + "rk/x", "https://py" + "pi.org/"]:
        if not list(findings("a.rs", line)):
            sys.exit(f"leftovers: the check no longer finds {line!r}")
    if list(findings("a.md", "the usual path /usr/lib, $HOME/root/x, and a todo list")):
        sys.exit("leftovers: the check finds what is allowed")


def main() -> int:
    self_test()
    listed = subprocess.run(["git", "ls-files", "-z"], check=True, stdout=subprocess.PIPE).stdout
    count = read = 0
    for path in listed.decode().split("\0"):
        if not path or PASSED_OVER.search(path) or not pathlib.Path(path).is_file():
            continue
        try:
            text = pathlib.Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        read += 1
        for number, what, line in findings(path, text):
            count += 1
            print(f"{path}:{number}: {what}: {line[:100]}", file=sys.stderr)
    print(f"leftovers: {read} files read, {count} found")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
