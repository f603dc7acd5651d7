#!/usr/bin/env python3
"""Counts the crates that each choice of features compiles, and holds them to docs/features.md.

The table there has a row for each choice: what it is for, the arguments of `cargo tree`, the count and,
where there is one, the bound. The counts are those of x86_64-unknown-linux-gnu, without build and test
dependencies, the crate itself included. With `--write` the counts in the table are set anew.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs/features.md"
ROW = re.compile(r"^(\| [^|]+ \| `)(-p [^`]+)(` \| +)(\d+)( \| +)(\d*)( +\|)$", re.MULTILINE)
TARGET = "x86_64-unknown-linux-gnu"


def count(arguments: str) -> int:
    command = ["cargo", "tree", "--locked", "--edges", "normal", "--prefix", "none", "--target", TARGET]
    listed = subprocess.run(
        command + arguments.split(), cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return len({" ".join(line.split()[:2]) for line in listed.splitlines() if line.strip()})


def main() -> int:
    text = TABLE.read_text()
    wrong = []
    rows = ROW.findall(text)
    if not rows:
        sys.exit("crates: no table in docs/features.md")
    for _, arguments, _, said, _, most, _ in rows:
        found = count(arguments)
        if most and found > int(most):
            wrong.append(f"{arguments}: {found} crates, at most {most} are wanted")
        if found != int(said):
            wrong.append(f"{arguments}: {found} crates, docs/features.md says {said}")
            text = re.sub(
                rf"(`{re.escape(arguments)}` \| +)\d+", lambda m: f"{m.group(1)}{found}", text
            )
    if "--write" in sys.argv[1:]:
        TABLE.write_text(text)
        return 0
    for line in wrong:
        print(f"crates: {line}", file=sys.stderr)
    print(f"crates: {len(rows)} choices of features counted, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
