#!/usr/bin/env python3
"""Checks many hosts of the testbed in one run of `ech check --batch`, and holds it to its limits.

    check-thousand.py ECH [--hosts N] [--jobs N] [--only CASE,…]

The testbed serves every case under as many names as are needed. `ech check` may open no more descriptors
than its limits allow: the system refuses more, and then findings would differ. The document must have
every host, and each host the findings of its case's own: what compares hosts is left out. Prints the rate, and the most memory and sockets
that were in use; fails where a limit is passed.
"""

import argparse
import collections
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time

# Connections to one host at the same time (crates/echkit-check/src/deployment.rs), and queries beside
# them: addresses and HTTPS records of the host and of its name servers.
CONNECTIONS = 8
QUERIES = 8
# Descriptors that are no sockets: streams, polling, signals.
OTHERS = 24
# Memory in MiB: what the command takes with the roots of trust, and for each host under check and each
# report that is kept.
MEMORY = 64
MEMORY_PER_JOB = 1.0
MEMORY_PER_REPORT = 0.03


def sockets(pid: int) -> int:
    count = 0
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        try:
            count += os.readlink(f"{folder}/{name}").startswith("socket:")
        except FileNotFoundError:
            continue  # closed meanwhile
    return count


def watch(pid: int, most: list[int]) -> None:
    """The most sockets at a time, looked at until the process is gone."""
    while True:
        try:
            most[0] = max(most[0], sockets(pid))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return
        time.sleep(0.005)


def check(ech: str, bed: dict, urls: list[str], jobs: int, folder: pathlib.Path) -> dict:
    batch = folder / "hosts"
    batch.write_text("\n".join(urls) + "\n")
    bound = jobs * (CONNECTIONS + QUERIES)
    most = [0]
    begun = time.monotonic()
    with open(folder / "report.json", "wb") as report:
        process = subprocess.Popen(
            [ech, "check", "--batch", str(batch), "--jobs", str(jobs), "--json"]
            + ["--dns", bed["dns"], "--cacert", bed["cacert"], "--skip", "authoritative,batch"]
            + ["--html", str(folder / "report.html")],
            stdout=report,
            env={**os.environ, "NO_PROXY": "*", "no_proxy": "*"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (bound + OTHERS,) * 2),
        )
        watcher = threading.Thread(target=watch, args=(process.pid, most))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watcher.join()
    return {
        "seconds": time.monotonic() - begun,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss / 1024,
        "sockets": most[0],
        "bound": bound,
        "code": process.returncode,
        "document": json.loads((folder / "report.json").read_text()),
    }


def differing(hosts: list[dict], cases: dict[str, str]) -> list[str]:
    """Hosts that do not have the findings of the other hosts of their case."""
    by_case = collections.defaultdict(lambda: collections.defaultdict(list))
    for host in hosts:
        found = (host["verdict"], *(finding["id"] for finding in host["findings"]))
        by_case[cases[host["origin"]]][found].append(host["origin"])
    wrong = []
    for case, kinds in by_case.items():
        if len(kinds) > 1:
            wrong.append(f"{case}: " + "; ".join(f"{list(kind)} at {at}" for kind, at in kinds.items()))
    return wrong


def main() -> int:
    arguments = argparse.ArgumentParser(description="check many hosts of the testbed at once")
    arguments.add_argument("ech")
    arguments.add_argument("--hosts", type=int, default=1000)
    arguments.add_argument("--jobs", type=int, default=32)
    arguments.add_argument("--only", help="cases, separated by commas; all of them by default")
    given = arguments.parse_args()
    listed = json.loads(subprocess.check_output([given.ech, "testbed", "--list", "--json"]))["cases"]
    chosen = given.only.split(",") if given.only else [case["name"] for case in listed]
    more = -(-given.hosts // len(chosen)) - 1
    started = subprocess.check_output(
        [given.ech, "testbed", "--detach", "--json", "--more-hosts", str(more), "--only", ",".join(chosen)]
    )
    bed = json.loads(started)
    try:
        cases = {
            url.removesuffix("/"): case["name"]
            for case in bed["cases"]
            for url in [case["url"], *case["more_urls"]]
        }
        # Round the cases, so that slow ones are not checked all at the same time.
        urls = [
            [case["url"], *case["more_urls"]][number]
            for number in range(more + 1)
            for case in bed["cases"]
        ][: given.hosts]
        with tempfile.TemporaryDirectory(prefix="ech-check-") as folder:
            ran = check(given.ech, bed, urls, given.jobs, pathlib.Path(folder))
    finally:
        os.kill(bed["pid"], signal.SIGTERM)
    return judge(ran, urls, cases, given.jobs)


def judge(ran: dict, urls: list[str], cases: dict[str, str], jobs: int) -> int:
    hosts = ran["document"]["hosts"]
    memory = MEMORY + MEMORY_PER_JOB * jobs + MEMORY_PER_REPORT * len(urls)
    print(
        f"{len(hosts)} hosts of {len(set(cases.values()))} cases, {jobs} at the same time: "
        f"{ran['seconds']:.1f} s, {len(hosts) / ran['seconds']:.0f} hosts/s, {ran['cpu']:.1f} s of CPU\n"
        f"most memory: {ran['memory']:.0f} MiB (limit {memory:.0f})\n"
        f"most sockets: {ran['sockets']} (limit {ran['bound']})"
    )
    verdicts = collections.Counter(host["verdict"] for host in hosts)
    print(", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()))
    wrong = differing(hosts, cases)
    if [host["origin"] for host in hosts] != [url.removesuffix("/") for url in urls]:
        wrong.append(f"the document has {len(hosts)} of {len(urls)} hosts, or another order")
    if ran["code"] not in (0, 1):
        wrong.append(f"ech check ended with {ran['code']}")
    if ran["memory"] > memory:
        wrong.append("more memory than the limit")
    if ran["sockets"] > ran["bound"]:
        wrong.append("more sockets than the limit")
    for line in wrong:
        print(f"check-thousand: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
