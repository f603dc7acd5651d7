#!/usr/bin/env python3
"""Finds source files of a crate that import each other in a circle.

For each crate under crates/ and for interop/, reads the module tree and the `use` declarations of
every source file outside tests. An import counts for the file in which the imported item is
defined: re-exports (`pub use child::Item`) are followed. A module file that declares children and
hands their names on does not import them by that. `#[cfg(test)]` modules do not count.

Prints each circle and exits with 1 when there is one.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def strip(text: str) -> str:
    """Without comments, strings' contents and test modules at the end of a file."""
    text = re.sub(r"#\[cfg\(test\)\]\s*mod \w+ \{.*", "", text, flags=re.S)
    text = re.sub(r"#\[cfg\(test\)\]\s*mod \w+;", "", text)
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def expand(tree: str) -> list[tuple[list[str], str]]:
    """`a::{b, c as d}` as (path, name under which it is known here)."""
    tree = " ".join(tree.split())
    brace = tree.find("{")
    if brace < 0:
        path, _, alias = tree.partition(" as ")
        parts = [part.strip() for part in path.split("::") if part.strip()]
        return [(parts, alias.strip() or (parts[-1] if parts else ""))]
    head = [part.strip() for part in tree[:brace].split("::") if part.strip()]
    body, depth, items, start = tree[brace + 1 : tree.rfind("}")], 0, [], 0
    for at, char in enumerate(body):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            items.append(body[start:at])
            start = at + 1
    items.append(body[start:])
    found = []
    for item in items:
        if item.strip():
            for path, name in expand(item.strip()):
                if path == ["self"]:
                    found.append((head, head[-1] if head else name))
                else:
                    found.append((head + path, name))
    return found


class Crate:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[tuple[str, ...], Path] = {}
        self.texts: dict[tuple[str, ...], str] = {}
        self.uses: dict[tuple[str, ...], list[tuple[bool, list[str], str]]] = {}
        self.load((), root)

    def load(self, module: tuple[str, ...], file: Path) -> None:
        text = strip(file.read_text())
        self.files[module], self.texts[module] = file, text
        self.uses[module] = [
            (bool(public), path, name)
            for public, tree in re.findall(r"(?m)^\s*(pub(?:\([^)]*\))?\s+)?use ([^;]+);", text)
            for path, name in expand(tree)
        ]
        folder = file.parent if file.name in ("lib.rs", "main.rs", "mod.rs") else file.with_suffix("")
        for name in re.findall(r"(?m)^\s*(?:pub(?:\([^)]*\))?\s+)?mod (\w+);", text):
            for child in (folder / f"{name}.rs", folder / name / "mod.rs"):
                if child.exists():
                    self.load(module + (name,), child)

    def absolute(self, module: tuple[str, ...], path: list[str]) -> tuple[str, ...] | None:
        """A path of this crate from its root; `None` for other crates and the standard library."""
        at, rest = module, list(path)
        if not rest:
            return None
        if rest[0] == "crate":
            return tuple(rest[1:])
        if rest[0] in ("self", "super"):
            while rest and rest[0] in ("self", "super"):
                at = at[:-1] if rest.pop(0) == "super" else at
            return at + tuple(rest)
        return at + tuple(rest) if module + (rest[0],) in self.files else None

    def home(self, path: tuple[str, ...], seen: frozenset[tuple[str, ...]] = frozenset()) -> tuple[str, ...]:
        """The module in which what `path` names is defined."""
        if path in seen:
            return path[:-1]
        depth = max(n for n in range(len(path) + 1) if path[:n] in self.files)
        module = path[:depth]
        if depth == len(path):
            return module
        for _, target, name in self.uses[module]:
            if name == path[depth]:
                found = self.absolute(module, target)
                if found is not None and found[:depth] == module:
                    return self.home(found + path[depth + 1 :], seen | {path})
        return module

    def arrows(self) -> dict[tuple[str, ...], set[tuple[str, ...]]]:
        arrows: dict[tuple[str, ...], set[tuple[str, ...]]] = {module: set() for module in self.files}
        for module, uses in self.uses.items():
            paths = [path for public, path, _ in uses if not public]
            paths += [
                p.split("::") for p in re.findall(r"\b((?:crate|super)(?:::\w+)+)", self.texts[module])
            ]
            # `child::function()` in the body of the file that declares the child.
            paths += [p.split("::") for p in re.findall(r"(?<![\w:])([a-z_]\w*(?:::\w+)+)", self.texts[module])]
            handed_on = {tuple(path) for public, path, _ in uses if public}
            for path in paths:
                target = self.absolute(module, path)
                if target is None or tuple(path) in handed_on:
                    continue
                if path[-1] == "*":
                    target = target[:-1]
                home = self.home(target)
                # A module file is where its children meet; `use super::*` of it is not an import.
                if home != module:
                    arrows[module].add(home)
        return arrows


def circles(arrows: dict[tuple[str, ...], set[tuple[str, ...]]]) -> list[list[tuple[str, ...]]]:
    """Strongly connected components of more than one module (Tarjan)."""
    index: dict[tuple[str, ...], int] = {}
    low: dict[tuple[str, ...], int] = {}
    stack: list[tuple[str, ...]] = []
    found = []

    def visit(node: tuple[str, ...]) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for next_node in arrows[node]:
            if next_node not in index:
                visit(next_node)
                low[node] = min(low[node], low[next_node])
            elif next_node in stack:
                low[node] = min(low[node], index[next_node])
        if low[node] == index[node]:
            part = []
            while True:
                part.append(stack.pop())
                if part[-1] == node:
                    break
            if len(part) > 1:
                found.append(sorted(part))

    for node in arrows:
        if node not in index:
            visit(node)
    return found


def main() -> int:
    bad = 0
    roots = sorted(ROOT.glob("crates/*/src/lib.rs")) + [ROOT / "interop/src/lib.rs"]
    for root in roots:
        crate = Crate(root)
        arrows = crate.arrows()
        for circle in circles(arrows):
            bad += 1
            print("these files import each other in a circle:")
            for module in circle:
                into = sorted(str(crate.files[m].relative_to(ROOT)) for m in arrows[module] if m in circle)
                print(f"  {crate.files[module].relative_to(ROOT)} -> {', '.join(into)}")
    if bad:
        print(f"{bad} circles; move what two files share into a third")
        return 1
    print(f"circles: none in {len(roots)} crates")
    return 0


if __name__ == "__main__":
    sys.exit(main())
