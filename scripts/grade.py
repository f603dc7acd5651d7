#!/usr/bin/env python3
"""Grades the clients that can be run here and writes docs/grades.md.

    grade.py ECH [RECIPE …]    with that `ech`; peers of interop/peers are used where they are built

Each verdict is held against the server's own log and against the captures of what the client sent, read
here without our parsers: where they disagree nothing is written. With recipes only these are run, and
nothing is written.
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import capture

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

Each verdict was held against the server's log and against what the client sent, read from the capture files by another
program: they agree in all {compared} runs.

OpenSSL, Go, NSS and BoringSSL (by the libcurl of curl_cffi) look no records up: they are told the ECHConfigList and the
endpoint of the first usable record, and are graded as TLS libraries behind the small programs of the recipes. A verdict
about several records, or about records that are malformed, says little of them; the programs for OpenSSL, Go and NSS speak
HTTP/1.1 alone. None of OpenSSL, NSS and libcurl connects again after a rejection; programs on them have to. That libcurl has
a look-up of its own over DNS over HTTPS, which passes records by where the port is not 443, as in most cases. OpenSSL is told `-tls1_3`: without it s_client offers
TLS 1.2 inside ECH, which servers have to refuse (RFC 9849 §7.1). Chromium and Firefox are asked for one page with a new
profile; niquests looks up over UDP, and curl of Debian has no ECH.

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


def host_of(case: str) -> bytes:
    return f"{case}.ech.test".encode()


def acceptable(case: dict, expected: dict, sent: list[bytes]) -> bool:
    """Whether that is what a correct client does, by the server's log and the capture."""
    shown = any(host_of(case["case"]) in stream.lower() for stream in sent)
    succeeded = case["exit_code"] == 0
    if expected["hidden"] and shown:
        return False
    if expected["silent"]:
        return not any(sent) and not succeeded
    if expected["http_status"] is None:
        return not succeeded and not case["served"]
    accepted = expected["server"] != "accepted" or "accepted" in case["served"]
    return succeeded and bool(case["served"]) and accepted


def disagreements(document: dict, expectations: dict, captures: pathlib.Path) -> list[str]:
    """Cases whose verdict does not follow from the server's log and the capture."""
    wrong = []
    for case in document["cases"]:
        name, verdict = case["case"], case["verdict"]
        expect = expectations[name]
        sent = capture.sent_by_clients(captures / f"{name}.pcapng")
        shown = any(host_of(name) in stream.lower() for stream in sent)
        right = any(acceptable(case, one, sent) for one in expect.values() if one)
        hidden = expect["prefer"]["hidden"]
        holds = {
            "right": right,
            "gave_up": not right and not (hidden and shown),
            "fell_back": not right and (shown or bool(case["served"]) or case["exit_code"] == 0),
            "wrong_retry": case["offers"] > 1,
            "no_ech": not right and case["offers"] == 0,
            "leaked": shown and case["offers"] > 0,
        }[verdict]
        if not holds or case["name_shown"] != (hidden and shown and not right):
            wrong.append(f"{document['client']}, {name}: {verdict}, though {case}, shown: {shown}")
        if len(sent) != case["connections"]:
            wrong.append(f"{document['client']}, {name}: {len(sent)} connections in the capture: {case}")
    return wrong


def grade(ech: str, recipe: str, program: str | None, expectations: dict) -> dict | None:
    command = [ech, "grade", "--json", "--recipe", recipe]
    if program:
        command += ["--program", program]
    with tempfile.TemporaryDirectory(prefix="ech-grade-") as captures:
        ran = subprocess.run(
            [*command, "--captures", captures], capture_output=True, text=True, check=False
        )
        if ran.returncode not in (0, 1):
            print(f"grade: {recipe} is left out: {ran.stderr.strip()}", file=sys.stderr)
            return None
        document = json.loads(ran.stdout)
        document["disagreements"] = disagreements(document, expectations, pathlib.Path(captures))
    for line in document["disagreements"]:
        print(f"grade: {line}", file=sys.stderr)
    return document


def packaged(package: str) -> str | None:
    """The version of a Debian package, for a program that does not say its own."""
    asked = ["dpkg-query", "--show", "--showformat=${Version}", package]
    try:
        return subprocess.check_output(asked, text=True, stderr=subprocess.DEVNULL) or None
    except (OSError, subprocess.CalledProcessError):
        return None


def python_of_clients() -> str | None:
    """An interpreter that has the clients of python/bench/graded.txt."""
    made = subprocess.run(
        [str(ROOT / "scripts/python-env"), "graded"], capture_output=True, text=True, check=False
    )
    return f"{made.stdout.strip()}/bin/python" if made.returncode == 0 else None


def titles(document: dict) -> str:
    version = document["client_version"]
    return f"{document['client']}: {version}" if version else document["client"]


def go_version() -> str | None:
    """The Go that the peer was built with is named in its folder."""
    program = peer("go", "goecho")
    return "Go " + pathlib.Path(program).parts[-3].removeprefix("go-") if program else None


def main() -> int:
    ech, *only = sys.argv[1:]
    listed = json.loads(subprocess.check_output([ech, "testbed", "--list", "--json"]))["cases"]
    expectations = {case["name"]: case["expect"] for case in listed}
    with_packages = python_of_clients()
    clients = [
        ("ech", ech),
        ("openssl", peer("openssl", "openssl")),
        ("go", peer("go", "goecho")),
        ("nss", None),
        ("curl-cffi", with_packages),
        ("chromium", None),
        ("firefox", None),
        ("niquests", with_packages),
        ("curl", None),
        ("python", None),
    ]
    graded = []
    for recipe, program in clients:
        if only and recipe not in only:
            continue
        if program is None and recipe in ("openssl", "go"):
            print(f"grade: {recipe} is left out: run make peers", file=sys.stderr)
            continue
        document = grade(ech, recipe, program, expectations)
        if document:
            if recipe == "go":
                document["client_version"] = go_version()
            if recipe == "nss" and (version := packaged("libnss3")):
                document["client_version"] = f"NSS {version}"
            if document["client_version"]:
                # curl lists its libraries.
                words = document["client_version"].split(" (")[0]
                document["client_version"] = words
            right, cases = document["right"], len(document["cases"])
            print(f"{titles(document)}: right in {right} of {cases}", flush=True)
            graded.append(document)
    wrong = sum(len(document["disagreements"]) for document in graded)
    compared = sum(len(document["cases"]) for document in graded)
    print(f"verdict, server and capture agree in {compared - wrong} of {compared} runs")
    if wrong:
        return 1
    if not only:
        write(graded, compared)
    return 0


def write(graded: list[dict], compared: int) -> None:
    system = "an unknown system"
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            system = line.split("=", 1)[1].strip('"')
    page = INTRODUCTION.format(date=datetime.date.today(), system=system, compared=compared)
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
    sys.exit(main())
