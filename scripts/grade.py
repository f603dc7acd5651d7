#!/usr/bin/env python3
"""Grades the clients that can be run here and writes docs/grades.md.

    grade.py ECH    with that `ech`; peers of interop/peers are used where they are built
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "grades.md"

INTRODUCTION = """\
# Grades

What clients do at the testbed's cases, as `ech grade` judges them ([grade.md](grade.md)). `make grade` writes this page;
it was last run on {date}, on {system}.

| verdict | what the client did |
|---|---|
| right | what a correct client does |
| gave up | no page came of it, where a correct client gets one |
| fell back | it went on without ECH, or with a page, where a correct client must not |
| wrong retry | it used retry_configs that it must not use, or tried more often than it may |
| no ECH | it did not offer the ECHConfig of the record |
| leaked | it offered ECH, and the host's name could be read all the same |

OpenSSL and Go look no records up: they are told the ECHConfigList and the endpoint of the first usable record, and are
graded as TLS libraries behind the small programs of the recipes. A verdict about several records, or about records that
are malformed, says little of them; both programs speak HTTP/1.1 alone. OpenSSL is told `-tls1_3`: without it s_client offers
TLS 1.2 inside ECH, which servers have to refuse (RFC 9849 §7.1). `openssl s_client` does not connect again after a rejection; programs on OpenSSL have to.

A case whose only key is of another KEM than X25519 counts as *no ECH* for a client that lacks the KEM: RFC 9849 §9 demands
X25519 alone, so that this is a limit and not a fault. Neither are AliasMode records and the ports of records, which some
clients do not follow.
"""


def peer(name: str, program: str) -> str | None:
    """A program of the interop peers, where it is built."""
    cache = os.environ.get("ECHKIT_INTEROP_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "echkit-interop"
    )
    found = sorted(pathlib.Path(cache).glob(f"{name}-*/bin/{program}"))
    return str(found[-1]) if found else None


def grade(ech: str, recipe: str, program: str | None) -> dict | None:
    command = [ech, "grade", "--json", "--recipe", recipe]
    if program:
        command += ["--program", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode not in (0, 1):
        print(f"grade: {recipe} is left out: {ran.stderr.strip()}", file=sys.stderr)
        return None
    return json.loads(ran.stdout)


def titles(document: dict) -> str:
    version = document["client_version"]
    return f"{document['client']}: {version}" if version else document["client"]


def go_version() -> str | None:
    """The Go that the peer was built with is named in its folder."""
    program = peer("go", "goecho")
    return "Go " + pathlib.Path(program).parts[-3].removeprefix("go-") if program else None


def main() -> None:
    ech = sys.argv[1]
    clients = [
        ("ech", ech),
        ("openssl", peer("openssl", "openssl")),
        ("go", peer("go", "goecho")),
        ("chromium", None),
        ("curl", None),
        ("python", None),
    ]
    graded = []
    for recipe, program in clients:
        if program is None and recipe in ("openssl", "go"):
            print(f"grade: {recipe} is left out: run make peers", file=sys.stderr)
            continue
        document = grade(ech, recipe, program)
        if document:
            if recipe == "go":
                document["client_version"] = go_version()
            if document["client_version"]:
                # curl lists its libraries.
                words = document["client_version"].split(" (")[0]
                document["client_version"] = words
            print(f"{titles(document)}: right in {document['right']} of {len(document['cases'])}")
            graded.append(document)
    system = "an unknown system"
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            system = line.split("=", 1)[1].strip('"')
    page = INTRODUCTION.format(date=datetime.date.today(), system=system)
    page += "\n## Clients\n\n| client | right | name shown | version |\n|---|---|---|---|\n"
    for document in graded:
        page += (
            f"| {document['client']} | {document['right']} of {len(document['cases'])} "
            f"| {document['name_shown']} | {document['client_version'] or 'unknown'} |\n"
        )
    page += (
        "\n*Name shown* counts the cases in which the host's name could be read and a correct client hides it.\n"
        "\n## Cases\n\n"
    )
    page += "| case | " + " | ".join(document["client"] for document in graded) + " |\n"
    page += "|---|" + "---|" * len(graded) + "\n"
    for index, case in enumerate(graded[0]["cases"]):
        cells = []
        for document in graded:
            one = document["cases"][index]
            verdict = one["verdict"].replace("_", " ").replace("no ech", "no ECH")
            cells.append(verdict + (", name shown" if one["name_shown"] else ""))
        page += f"| {case['case']} | " + " | ".join(cells) + " |\n"
    PAGE.write_text(page)
    print(f"written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
