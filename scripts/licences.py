#!/usr/bin/env python3
"""Checks the licence of every dependency against the list of those that we accept.

Why a script, and why these licences: docs/decisions/030-licence-check.md.
"""

import json
import re
import subprocess
import sys

ACCEPTED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
}

# Crates without an SPDX expression, each with the licence that was read in its sources.
READ_BY_HAND: dict[str, str] = {}


class Expression:
    """Answers whether an SPDX licence expression can be satisfied with ACCEPTED alone."""

    def __init__(self, text: str):
        # Cargo's old form separates alternatives by a slash.
        self.tokens = re.findall(r"[()]|[^\s()]+", text.replace("/", " OR "))
        self.accepted = self.alternatives()
        if self.tokens:
            raise ValueError(f"cannot read the licence expression {text!r}")

    def next_is(self, token: str) -> bool:
        if self.tokens and self.tokens[0].upper() == token:
            self.tokens.pop(0)
            return True
        return False

    def alternatives(self) -> bool:
        accepted = self.conjunction()
        while self.next_is("OR"):
            accepted |= self.conjunction()
        return accepted

    def conjunction(self) -> bool:
        accepted = self.single()
        while self.next_is("AND"):
            accepted &= self.single()
        return accepted

    def single(self) -> bool:
        if self.next_is("("):
            accepted = self.alternatives()
            if not self.next_is(")"):
                raise ValueError("unbalanced parenthesis in a licence expression")
            return accepted
        if not self.tokens:
            raise ValueError("a licence expression ends too early")
        name = self.tokens.pop(0)
        if self.next_is("WITH"):
            name += f" WITH {self.tokens.pop(0)}"
        return name in ACCEPTED


def self_test() -> None:
    """The reader of expressions is the whole check, so it is checked first."""
    for text, expected in {
        "MIT": True,
        "GPL-3.0-only": False,
        "GPL-3.0-only OR MIT": True,
        "GPL-3.0-only/MIT": True,
        "GPL-3.0-only AND MIT": False,
        "MIT AND (GPL-2.0-only OR ISC)": True,
        "(MIT OR ISC) AND GPL-2.0-only": False,
        "Apache-2.0 WITH LLVM-exception": True,
        "GPL-2.0-only WITH Classpath-exception-2.0": False,
    }.items():
        if Expression(text).accepted is not expected:
            sys.exit(f"licences: the reader of expressions is wrong about {text!r}")


def main() -> int:
    self_test()
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    refused = []
    for package in metadata["packages"]:
        text = READ_BY_HAND.get(package["name"]) or package["license"]
        if not text or not Expression(text).accepted:
            refused.append(f"{package['name']} {package['version']}: {text or 'no licence named'}")
    for line in sorted(refused):
        print(f"licences: not accepted: {line}", file=sys.stderr)
    print(f"licences: {len(metadata['packages'])} packages read, {len(refused)} refused")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
