#!/usr/bin/env python3
"""`check.py [--root DIR] [--bin DIR]`: checks the words of documents and comments.

Prints one finding a line (`file:line: what`), then one JSON line with the number of findings of each kind. Exits with 0
only if there are none. CONTRIBUTING.md (Words) describes the rules. `test_check.py` has the tests.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import commands
import links
import prose
import riddles

# Documents whose sentences, links and commands are checked.
PROSE = ("docs/", "README.md", "SECURITY.md", "CONTRIBUTING.md", "ARCHITECTURE.md")
COMMANDS = ("README.md", "docs/operating")
# Copies of other projects, and files that quote refused phrases.
FOREIGN = ("third_party/", "tests/words/")
KINDS = ("short_doc_lines", "long_sentences", "riddles", "broken_links", "broken_commands")


def main():
    options = argparse.ArgumentParser(description="Checks the words of documents and comments.")
    here = pathlib.Path(__file__).resolve()
    options.add_argument("--root", type=pathlib.Path, default=here.parents[2], help="the checkout")
    options.add_argument("--bin", type=pathlib.Path, help="directory of the built programs; default ROOT/target/release")
    options.add_argument("--only", choices=KINDS, action="append", help="check this kind only; may be given repeatedly")
    given = options.parse_args()
    everything = tracked(given.root)
    files = [name for name in everything if not name.startswith(FOREIGN)]
    kinds = given.only or KINDS
    found = {kind: [] for kind in KINDS}
    for kind in kinds:
        found[kind] = list(findings(kind, given.root, files, everything, given.bin or given.root / "target/release"))
        for finding in found[kind]:
            print(finding)
    counts = {kind: len(found[kind]) for kind in KINDS}
    print(json.dumps({"suite": "words", "files": len(files), **counts}, separators=(",", ":")))
    return 1 if any(counts.values()) else 0


def tracked(root):
    """The files in git."""
    listed = subprocess.run(["git", "ls-files"], cwd=root, check=True, capture_output=True, text=True).stdout.split("\n")
    return [name for name in listed if name and (root / name).is_file()]


def is_generated(text):
    """The words of generated code are those of its source and of its generator."""
    return "@generated" in text.split("\n", 1)[0]


def findings(kind, root, files, everything, programs):
    """Yields the findings of one kind in `files`; links may lead to `everything`."""
    if kind == "short_doc_lines":
        for name in files:
            if name.endswith(".rs") and not is_generated(text := read(root, name)):
                yield from prose.short_docs(name, text)
    elif kind == "long_sentences":
        for name in files:
            if name.endswith(".md") and name.startswith(PROSE):
                yield from prose.long_sentences(name, read(root, name))
    elif kind == "riddles":
        rules = riddles.rules(pathlib.Path(__file__).with_name("riddles.tsv").read_text())
        for name in files:
            if name.endswith(riddles.READ):
                yield from riddles.find(rules, name, read(root, name))
    elif kind == "broken_links":
        documents = {name: read(root, name) for name in files if name.endswith(".md")}
        yield from links.broken(documents, everything)
    else:
        checker = commands.Checker(root, programs)
        for name in files:
            if name.endswith(".md") and name.startswith(COMMANDS):
                yield from checker.broken(name, read(root, name))


def read(root, name):
    return (root / name).read_text(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
