#!/usr/bin/env python3
"""Accounts for every fenced block of the documents: it is compiled or run, or it says why not.

    snippets.py                list the blocks and how each is checked; fails for one that is not
    snippets.py run ECH        run the shell blocks with that `ech`, in bash and in sh
    snippets.py project DIR    write a Cargo project for each document that shows dependency lines

What checks a block follows from its language:

    rust     rustdoc, as documentation of crates/echkit-test (src/documents.rs) or of crates/echkit
    toml     `make outside`: the dependencies of a project whose programs are the document's Rust blocks
    sh       `run`, from the test `snippets` of crates/echkit-cli
    text     the same, where it is what a step prints
    python   `make test-python`: `mypy --strict`, then run with the wheel (python/tests/test_snippets.py)

A comment on the line above the fence says otherwise:

    <!-- snippet: not run: REASON -->      Python is still type-checked; Rust says `ignore` too
    <!-- snippet: with the wheel -->       a shell block for `make test-python`
    <!-- snippet: with PROGRAM -->         a shell block that is skipped, and says so, where there is no such program
    <!-- snippet: step with PROGRAM -->    the same, in the shell and folder of the document's steps before it
    <!-- snippet: printed by the step -->  a text block: what the step before it prints; … stands for what differs

In the text around the blocks, links within the repository lead to files, `make X` is a target, and (with
`run`) `ech X --flag` is in the help of the command.
"""

import dataclasses
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "crates/*/README.md",
    "docs/*.md",
    "docs/python/*.md",
    "python/README.md",
    "python/tools/README.md",
]
# The sources that include documents as documentation, and so have rustdoc compile them.
RUSTDOC = ["crates/echkit-test/src/documents.rs", "crates/echkit/src/lib.rs"]

# What is done with a block of each language, and where, in the words of the list.
CHECKED = {
    "rust": "compiled by make test",
    "toml": "compiled by make outside",
    "sh": "run by make test",
    "python": "type-checked and run by make test-python",
}

FENCE = re.compile(r"^[ >]*(?P<ticks>`{3,}|~{3,})[ ]*(?P<info>[^`]*)$")
MARK = re.compile(
    r"^<!-- snippet: (?:not run: (?P<reason>\S.*)|(?P<wheel>with the wheel)|"
    r"(?P<printed>printed by the step)|(?P<step>step )?with (?P<program>[a-z]+)) -->$"
)

# In the text: what is between backticks, and where links lead.
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")

# The ports that documents name. The testbed takes fewer from the first on.
PORT = re.compile(r"(?<![0-9A-Za-z])20(?P<offset>\d{3})(?![0-9A-Za-z])")
PORTS = 230
# Variables that change what `ech` does. A block that wants one sets it.
SETTINGS = re.compile(r"^ECHKIT_|^SSL|^COLUMNS$|_proxy$", re.IGNORECASE)
# A line that tells where the output of a block ends.
END = "-- the end of the block"
# How much of what a block printed before it failed is shown, in characters.
SHOWN = 4000
# For a command that hangs: no block takes a tenth of it, on any machine.
HANGS = 900


class Wrong(Exception):
    """A document is not as it should be; the message names it and the line."""


@dataclasses.dataclass(frozen=True)
class Block:
    document: str
    line: int
    language: str
    attributes: tuple[str, ...]
    text: str
    not_run: typing.Optional[str] = None
    """Why it is not run, where the document says so."""
    with_the_wheel: bool = False
    program: typing.Optional[str] = None
    """What it cannot run without."""
    step: bool = False
    """Whether it goes on where the document's step before it ended."""
    printed: bool = False
    """Whether it is what the step before it prints."""

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(document: str, text: str) -> list[Block]:
    """Every fenced block of a document."""
    found, lines = [], text.splitlines()
    opened: typing.Optional[tuple[int, str, str]] = None
    for number, line in enumerate(lines, 1):
        fence = FENCE.match(line)
        if opened is None:
            if fence is not None:
                opened = (number, fence["ticks"], fence["info"].strip())
            elif "<!-- snippet:" in line:
                if MARK.match(line) is None:
                    raise Wrong(f"{document}:{number}: not a mark that scripts/snippets.py knows: {line}")
                if number == len(lines) or FENCE.match(lines[number]) is None:
                    raise Wrong(f"{document}:{number}: no block follows on the line after this mark")
            continue
        start, ticks, info = opened
        if fence is not None and fence["ticks"].startswith(ticks) and not fence["info"].strip():
            if not info:
                raise Wrong(f"{document}:{start}: the fence has no language; write ```text or what it is")
            language, *attributes = re.split(r"[\s,]+", info)
            mark = MARK.match(lines[start - 2]) if start > 1 else None
            inside = "".join(f"{line}\n" for line in lines[start : number - 1])
            found.append(
                Block(
                    document,
                    start,
                    language,
                    tuple(attributes),
                    inside,
                    mark["reason"] if mark else None,
                    bool(mark and mark["wheel"]),
                    mark["program"] if mark else None,
                    bool(mark and mark["step"]),
                    bool(mark and mark["printed"]),
                )
            )
            opened = None
    if opened is not None:
        raise Wrong(f"{document}:{opened[0]}: the fence is not closed")
    return found


def documents() -> list[str]:
    found = [path for pattern in DOCUMENTS for path in sorted(ROOT.glob(pattern))]
    return [path.relative_to(ROOT).as_posix() for path in found]


def all_blocks() -> list[Block]:
    return [
        block
        for document in documents()
        for block in blocks_of(document, (ROOT / document).read_text(encoding="utf-8"))
    ]


def text_around_blocks(document: str) -> list[tuple[int, str]]:
    """The numbered lines of a document that are in no block."""
    text = (ROOT / document).read_text(encoding="utf-8")
    inside = {
        number
        for block in blocks_of(document, text)
        for number in range(block.line, block.line + block.text.count("\n") + 2)
    }
    return [(n, line) for n, line in enumerate(text.splitlines(), 1) if n not in inside]


def dead_references() -> typing.Iterator[str]:
    """Links to files that are not there, and targets that the Makefile does not have."""
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text()))
    for document in documents():
        for number, line in text_around_blocks(document):
            for path in LINK.findall(line):
                if not (ROOT / document).parent.joinpath(path).exists():
                    yield f"{document}:{number}: the link leads nowhere: {path}"
            for span in SPAN.findall(line):
                target = re.search(r"(?:^| )make ([a-z-]+)", span)
                if target is not None and target[1] not in targets:
                    yield f"{document}:{number}: the Makefile has no such target: {span}"


def documented() -> set[str]:
    """The documents that rustdoc compiles."""
    found = set()
    for source in RUSTDOC:
        for path in re.findall(r'include_str!\("([^"]+)"\)', (ROOT / source).read_text()):
            found.add((ROOT / source).parent.joinpath(path).resolve().relative_to(ROOT).as_posix())
    return found


def check(block: Block, blocks: list[Block], compiled: set[str]) -> str:
    """How a block is checked, for the list; raises `Wrong` where it is not."""
    if block.printed:
        at = blocks.index(block)
        if block.language != "text" or at == 0 or not blocks[at - 1].step or blocks[at - 1].document != block.document:
            raise Wrong(f"{block.place}: it is no text right after a step that prints it")
        return "compared by make test"
    if block.language not in CHECKED:
        if block.not_run is None:
            known = ", ".join(CHECKED)
            raise Wrong(f"{block.place}: nothing checks {block.language!r} ({known}); mark it as not run")
        return ""
    if (block.with_the_wheel or block.program) and block.language != "sh":
        raise Wrong(f"{block.place}: only shell blocks run with the wheel or another program")
    if block.language == "rust":
        unknown = set(block.attributes) - {"no_run", "ignore"}
        if unknown:
            raise Wrong(f"{block.place}: {', '.join(sorted(unknown))}: only no_run and ignore are known")
        if ("ignore" in block.attributes) != (block.not_run is not None):
            raise Wrong(f"{block.place}: `ignore` and the mark with its reason come together")
        if block.document not in compiled:
            raise Wrong(f"{block.place}: rustdoc does not read this document; include it in {RUSTDOC[0]}")
        return CHECKED["rust"] if "no_run" in block.attributes else "compiled and run by make test"
    if block.language == "toml" and block.not_run is None:
        same = [other for other in blocks if other.document == block.document]
        if sum(other.language == "toml" and other.not_run is None for other in same) > 1:
            raise Wrong(f"{block.place}: one document has the dependencies of one project")
        if not any(is_program(other) for other in same):
            raise Wrong(f"{block.place}: no Rust block of this document is a program that it compiles with")
    if block.language == "python" and block.not_run is not None:
        return "type-checked by make test-python"
    if block.not_run is not None:
        return ""
    return "run by make test-python" if block.with_the_wheel else CHECKED[block.language]


def show() -> int:
    """Lists the blocks; the exit code."""
    self_test()
    blocks, wrong, checked, unchecked = all_blocks(), [], [], []
    compiled = documented()
    for block in blocks:
        try:
            how = check(block, blocks, compiled)
        except Wrong as problem:
            wrong.append(str(problem))
            continue
        if block.not_run is None:
            checked.append(f"  {block.place}: {block.language}: {how}")
        else:
            how = f"{how}, not run" if how else "not run"
            unchecked.append(f"  {block.place}: {block.language}: {how}: {block.not_run}")
    wrong += dead_references()
    for line in wrong:
        print(f"snippets: {line}", file=sys.stderr)
    print("\n".join(checked + unchecked))
    print(f"snippets: {len(checked)} blocks checked, {len(unchecked)} not run, {len(wrong)} wrong")
    return 1 if wrong else 0


# Shell.


def free_ports() -> int:
    """A first port from which on all were free a moment ago."""
    while True:
        first = random.randrange(21_000, 31_000)
        try:
            for port in range(first, first + PORTS):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(socket.AF_INET, kind) as tried:
                        tried.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


def paste(
    blocks: list[Block], shell: str, environment: dict[str, str], folder: pathlib.Path
) -> list[str]:
    """Pastes blocks into one shell; what each printed, with the ports of the document.

    The first command that fails ends it. The lines come on stdin, as they do from a clipboard: a command that
    reads it would swallow them.
    """
    first = free_ports()
    text = "".join(f"{block.text}\necho {END}\n" for block in blocks)
    text = PORT.sub(lambda port: str(first + int(port["offset"])), text)
    own = {name: value for name, value in os.environ.items() if not SETTINGS.search(name)}
    own |= {"TMPDIR": str(folder), "HOME": str(folder), **environment}
    # To a file: what a block that failed left in the background would keep a pipe open.
    with tempfile.TemporaryFile("w+") as output:
        try:
            ran = subprocess.run(
                [shell],
                input=f"set -e\n{text}",
                env=own,
                cwd=folder,
                text=True,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=HANGS,
            )
        finally:
            end_what_is_left(folder)
        output.seek(0)
        everything = output.read()

    def documented(port: re.Match[str]) -> str:
        offset = int(port[0]) - first
        return str(20_000 + offset) if 0 <= offset < PORTS else port[0]

    printed = re.sub(r"(?<![0-9A-Za-z])\d{5}(?![0-9A-Za-z])", documented, everything).split(f"{END}\n")
    if ran.returncode != 0 or len(printed) != len(blocks) + 1 or printed[-1]:
        place = blocks[min(len(printed), len(blocks)) - 1].place
        raise Wrong(f"{place}: {shell} ended with {ran.returncode}:\n{printed[-1][-SHOWN:]}")
    return printed[:-1]


def compare(block: Block, printed: str) -> None:
    """Raises `Wrong` unless this was printed: `…` is any text, and alone on its line any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else ".*?".join(map(re.escape, line.split("…"))) + r"\n"
        for line in block.text.splitlines()
    )
    if re.fullmatch(pattern, printed) is None:
        raise Wrong(f"{block.place}: this was printed instead:\n{printed[-SHOWN:]}")


def end_what_is_left(folder: pathlib.Path) -> None:
    """Ends what a block that failed left in the background."""
    for file in folder.rglob("*.pid"):
        try:
            os.kill(int(file.read_text()), signal.SIGTERM)
        except (OSError, ValueError):
            pass


def unknown_flags(ech: pathlib.Path) -> typing.Iterator[str]:
    """Commands and flags in the text that the help of `ech` does not have."""

    def help_of(*command: str) -> str:
        ran = subprocess.run([ech, *command, "--help"], stdout=subprocess.PIPE, text=True)
        return ran.stdout if ran.returncode == 0 else ""

    commands = re.findall(r"(?m)^  ([a-z]+) ", help_of().split("Commands:")[-1].split("Options:")[0])
    helps = {command: help_of(command) for command in commands if command != "help"}
    if "get" not in helps:
        yield f"{ech} --help lists no command `get`"
    for document in documents():
        for number, line in text_around_blocks(document):
            for span in SPAN.findall(line):
                words = span.split()
                if words[0] != "ech" or len(words) < 2 or words[1] in ("help", "--help"):
                    continue
                known = helps.get(words[1], "")
                for word in words[2:]:
                    flag = re.match(r"--?[a-zA-Z][a-z-]*$", word)
                    # -vv is -v twice.
                    if flag and not re.search(rf"(?m)(^|, | ){re.sub('^-vv+$', '-v', word)}\b", known):
                        yield f"{document}:{number}: `ech {words[1]} --help` does not have {word}: {span}"
                if not known:
                    yield f"{document}:{number}: `ech` has no such command: {span}"


def together(blocks: list[Block]) -> list[list[Block]]:
    """The shell blocks to run, each alone, but all steps of a document with what they print."""
    groups: dict[str, list[Block]] = {}
    for block in blocks:
        if block.step or block.printed:
            groups.setdefault(block.document, []).append(block)
        elif block.language == "sh" and block.not_run is None and not block.with_the_wheel:
            groups[block.place] = [block]
    return list(groups.values())


def run(ech: pathlib.Path) -> int:
    """Runs the shell blocks; the exit code."""
    unknown = list(unknown_flags(ech))
    for line in unknown:
        print(f"snippets: {line}", file=sys.stderr)
    # Debian has servers where an ordinary user's PATH does not lead.
    path = {"PATH": f"{ech.resolve().parent}:{os.environ['PATH']}:/usr/sbin"}
    failed = count = 0
    for group in together(all_blocks()):
        block, shells = group[0], [block for block in group if not block.printed]
        if block.program and not shutil.which(block.program, path=path["PATH"]):
            if os.environ.get("ECHKIT_NAME_SERVERS") == "required":
                raise Wrong(f"{block.place}: {block.program} is not here")
            print(f"== {block.place} skipped: {block.program} is not installed")
            continue
        for shell in ("bash", "sh"):
            count += len(shells)
            with tempfile.TemporaryDirectory() as folder:
                try:
                    outputs = dict(zip(shells, paste(shells, shell, path, pathlib.Path(folder))))
                    for ran, output in outputs.items():
                        print(f"== {ran.place} in {shell}\n{output}")
                    for before, after in zip(group, group[1:]):
                        if after.printed:
                            compare(after, outputs[before])
                except Wrong as problem:
                    failed += 1
                    print(f"snippets: {problem}", file=sys.stderr)
    print(f"snippets: {count} shell blocks run, {failed} failed")
    return 1 if failed or unknown or not count else 0


# Cargo.


def is_program(block: Block) -> bool:
    return block.language == "rust" and block.not_run is None and "fn main()" in block.text


def projects(folder: pathlib.Path) -> int:
    """Writes the projects, beside a folder `echkit` with this repository; prints the folder of each."""
    (folder / "echkit").symlink_to(ROOT)
    profiles = re.findall(r"(?ms)^\[profile\.dev.*?(?=^\[|\Z)", (ROOT / "Cargo.toml").read_text())
    # A profile may name crates of ours only where they are dependencies.
    profiles = [profile for profile in profiles if "echkit" not in profile.split("]")[0]]
    blocks = all_blocks()
    for block in blocks:
        if block.language != "toml" or block.not_run is not None:
            continue
        project = folder / re.sub(r"\W+", "-", block.document[: -len(".md")]).lower()
        (project / "src/bin").mkdir(parents=True)
        # What comes from a registry comes from here.
        patches = "".join(
            f'{name} = {{ path = "{ROOT}/crates/{name}" }}\n'
            for name, source in re.findall(r"(?m)^(echkit[\w-]*) = (.*)", block.text)
            if "path" not in source
        )
        (project / "Cargo.toml").write_text(
            f'[package]\nname = "{project.name}"\nedition = "2024"\npublish = false\n\n'
            f"[workspace]\n\n{block.text}\n[patch.crates-io]\n{patches}\n{''.join(profiles)}"
        )
        # The versions that the workspace has.
        (project / "Cargo.lock").write_bytes((ROOT / "Cargo.lock").read_bytes())
        for program in blocks:
            if program.document == block.document and is_program(program):
                (project / f"src/bin/line-{program.line}.rs").write_text(program.text)
        print(project)
    return 0


def self_test() -> None:
    """A check that finds nothing must be able to find something."""
    for text in (
        "```\nls\n```\n",
        "```sh\nls\n",
        "<!-- snippet: not run -->\n```sh\nls\n```\n",
        "<!-- snippet: not run: slow -->\n\n```sh\nls\n```\n",
        "```text\nls\n```\n",
        "```rust\nfn main() {}\n```\n",
        "```rust,ignore\nfn main() {}\n```\n",
        "```toml\n[dependencies]\n```\n",
        "```sh\nls\n```\n<!-- snippet: printed by the step -->\n```text\nls\n```\n",
        "<!-- snippet: printed by the step -->\n```text\nls\n```\n",
    ):
        try:
            blocks = blocks_of("a.md", text)
            for block in blocks:
                check(block, blocks, {"b.md"} if "ignore" not in text else {"a.md"})
        except Wrong:
            continue
        sys.exit(f"snippets: the check no longer finds what is wrong with {text!r}")
    step, text = "<!-- snippet: step with ls -->\n```sh\nls\n```\n", "<!-- snippet: printed by the step -->\n```text\n"
    _, printed = blocks_of("a.md", f"{step}{text}a … c\n…\nend\n```\n")
    for wrong in ("a b c\n", "a b d\nend\n", "a b c\nend\nmore\n", "more\na b c\nend\n", ""):
        try:
            compare(printed, wrong)
        except Wrong:
            continue
        sys.exit(f"snippets: the check no longer finds that {wrong!r} is not what a step prints")
    for right in ("a b c\nend\n", "a  c\n1\n2\nend\n"):
        compare(printed, right)
    (block,) = blocks_of("a.md", "<!-- snippet: not run: slow -->\n````text\n```\n````\n")
    if (block.line, block.text, block.not_run, check(block, [block], set())) != (2, "```\n", "slow", ""):
        sys.exit("snippets: the check no longer reads a block with a mark")


def main(arguments: list[str]) -> int:
    try:
        if not arguments:
            return show()
        if arguments[0] == "run" and len(arguments) == 2:
            return run(pathlib.Path(arguments[1]))
        if arguments[0] == "project" and len(arguments) == 2:
            return projects(pathlib.Path(arguments[1]))
    except Wrong as problem:
        print(f"snippets: {problem}", file=sys.stderr)
        return 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
