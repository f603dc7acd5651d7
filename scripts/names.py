#!/usr/bin/env python3
"""Finds public types of one name in different crates, or in different modules of one crate.

A struct, enum, trait or type alias counts when users can name it: it is `pub` in a module that is
public up to the crate's root, or such a module re-exports it. Crates that are not for users of Rust
(the extension module, the interop tests, what tests share) are passed over. Reads sources as text,
by the module tree of scripts/circles.py.

Prints each name with the places that define it, and exits with 1 when there is one.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from circles import ROOT, Crate

PASSED_OVER = {"echkit-python", "echkit-python-tools", "echkit-test"}

# Names that may be defined more than once, each with the reason. Better is another name.
ALLOWED: dict[str, str] = {}

# At the top level of a file, where rustfmt does not indent.
ITEM = re.compile(r"(?m)^pub (?:struct|enum|trait|union|type) (\w+)")
CHILD = re.compile(r"(?m)^\s*pub mod (\w+);")


def public_modules(crate: Crate) -> set[tuple[str, ...]]:
    """The modules that users can name."""
    found: set[tuple[str, ...]] = set()
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        module = waiting.pop()
        found.add(module)
        children = (module + (name,) for name in CHILD.findall(crate.texts[module]))
        waiting += [child for child in children if child in crate.files]
    return found


def types_in(text: str) -> set[str]:
    """The public types that a file defines at its top level."""
    return set(ITEM.findall(text))


def definitions(crates: dict[str, Crate]) -> dict[str, set[str]]:
    """Each name that users see, with the types that it stands for."""
    names: dict[str, set[str]] = defaultdict(set)
    types = {
        crate: {module: types_in(text) for module, text in loaded.texts.items()}
        for crate, loaded in crates.items()
    }

    def place(crate: str, module: tuple[str, ...], name: str) -> str:
        return "::".join((crate, *module, name))

    def define(seen_as: str, crate: str, path: tuple[str, ...]) -> None:
        home = crates[crate].home(path)
        # What is re-exported under another name keeps its own where it is defined.
        if path and path[-1] in types[crate].get(home, ()):
            names[seen_as].add(place(crate, home, path[-1]))

    for crate, loaded in crates.items():
        for module in public_modules(loaded):
            for name in types[crate][module]:
                names[name].add(place(crate, module, name))
            for public, path, name in loaded.uses[module]:
                if not public or not path:
                    continue
                if path[0] in crates:
                    define(name, path[0], tuple(path[1:]))
                elif (target := loaded.absolute(module, path)) is not None:
                    define(name, crate, target)
    return names


def duplicates(names: dict[str, set[str]]) -> dict[str, list[str]]:
    return {
        name: sorted(places) for name, places in sorted(names.items()) if len(places) > 1 and name not in ALLOWED
    }


def self_test() -> None:
    """A check that finds nothing must be able to find something."""
    text = "pub struct A;\npub(crate) enum B {}\n    pub type Inner = u8;\npub trait C<T> {}\n"
    if types_in(text) != {"A", "C"}:
        sys.exit("names: the check no longer tells public types from others")
    if duplicates({"A": {"x::A", "y::A"}, "C": {"x::C"}}) != {"A": ["x::A", "y::A"]}:
        sys.exit("names: the check no longer finds a name that is defined twice")


def main() -> int:
    self_test()
    crates = {}
    for root in sorted(ROOT.glob("crates/*/src/lib.rs")):
        name = root.parent.parent.name
        if name not in PASSED_OVER:
            crates[name.replace("-", "_")] = Crate(root)
    names = definitions(crates)
    found = duplicates(names)
    for name, places in found.items():
        print(f"{name} is {len(places)} public types: {', '.join(places)}", file=sys.stderr)
    for name in ALLOWED.keys() - names.keys():
        print(f"{name} is allowed, and there is no such type any more", file=sys.stderr)
        found[name] = []
    print(f"names: {len(names)} public types in {len(crates)} crates, {len(found)} names twice")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
