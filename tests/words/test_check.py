#!/usr/bin/env python3
"""Tests of check.py: tables of text in, findings out."""

import pathlib
import tempfile
import unittest

import commands
import links
import prose
import riddles


class ShortDocs(unittest.TestCase):
    def test_comments_of_up_to_three_words_are_found(self):
        for text, lines in [
            ("/// One two three.\nfn a() {}", [1]),
            ("/// One two three four.\nfn a() {}", []),
            ("/// One\n/// two three\n/// four.\nfn a() {}", []),
            ("//! One.\n\n/// Two.\n", [1, 3]),
            ("//! One.\n/// Two.\n", [1, 2]),
            ("enum A {\n    /// B.\n    B,\n    C, /// Of c.\n}", [2, 4]),
            ("// One.\n//// Two.\n", []),
            ("///\nfn a() {}", [1]),
            ('let url = "http:///a b";', []),
            ("let a = b; // see /// c", []),
        ]:
            got = [int(finding.split(":")[1]) for finding in prose.short_docs("a.rs", text)]
            self.assertEqual(got, lines, text)


class LongSentences(unittest.TestCase):
    def test_sentences_of_more_than_forty_words_are_found(self):
        def words(n):
            return "A" + " b" * (n - 1)

        for text, lines in [
            (words(40) + ".", []),
            (words(41) + ".", [1]),
            (words(30) + ". " + words(30) + ".", []),
            (words(30) + ".\n" + words(30) + ".", []),
            (words(30) + "\n" + "c " * 11, [1]),
            (words(30) + "\n\n" + words(30), []),
            ("* " + words(30) + "\n* " + words(30), []),
            ("1. " + words(41), [1]),
            ("# Head\n" + words(39), []),
            (f"| {words(39)} | {words(39)} |", []),
            (f"| a | {words(41)} |", [1]),
            (f"```\n{words(50)}\n```\n{words(3)}", []),
            (words(30) + " [" + words(11) + "](b.md)", [1]),
            (words(30) + ". `b` " + words(30) + ".", []),
            (words(30) + " i.e. " + words(9).lower(), []),
            (words(30) + " i.e. " + words(11).lower(), [1]),
        ]:
            got = [int(finding.split(":")[1]) for finding in prose.long_sentences("a.md", text)]
            self.assertEqual(got, lines, text)


class Riddles(unittest.TestCase):
    def test_phrases_are_found_across_lines_of_comments(self):
        rules = riddles.rules("# a comment\nbe had\tis not available\n\\bwhoever\\b\tthe caller\n")
        for text, found in [
            ("It can be had.", ["a.rs:1: 'be had': write is not available"]),
            ("/// It can be\n    /// had.", ["a.rs:1: 'be had': write is not available"]),
            ("a\n// Whoever\n", ["a.rs:2: 'Whoever': write the caller"]),
            ("behad whoevers", []),
            ('"it cannot be \\\n    had"', ["a.rs:1: 'be had': write is not available"]),
        ]:
            self.assertEqual(list(riddles.find(rules, "a.rs", text)), found, text)

    def test_a_rule_without_a_replacement_is_refused(self):
        for text in ["be had", "be had\t", "be had\t  "]:
            with self.assertRaises(ValueError, msg=text):
                riddles.rules(text)

    def test_every_example_of_the_style_guide_is_refused(self):
        rules = riddles.rules(pathlib.Path(__file__).with_name("riddles.tsv").read_text())
        for text in [
            "Who is to be sealed for, and what",
            "Who is reached otherwise than by the media port",
            "if there is any hope for it",
            "PEM file of those who vouch for it",
            "there is no way not to look",
            "Nothing is without an end of life",
            "Whoever is there at `join` is told by the same events",
            "Firefox opens TLS to names alone",
            "io uring cannot be had",
            "each is most of a millisecond of its shard",
            "with 98.4 % of packets in time, two in five of theirs have to be, too",
        ]:
            self.assertTrue(list(riddles.find(rules, "a.rs", text)), text)


class Links(unittest.TestCase):
    FILES = ["README.md", "docs/a.md", "docs/sub/b.md", "src/send/stream.rs", "src/send/mod.rs"]

    def findings(self, text, name="docs/a.md"):
        documents = {name: text, "docs/sub/b.md": "# One: `two` & three\n## Same\n## Same\n"}
        return [finding.split(": ", 1)[1] for finding in links.broken(documents, self.FILES)]

    def test_links_resolve(self):
        for text in [
            "[b](sub/b.md) [r](../README.md) [s](../src/send/) [w](https://example.com/x) [m](mailto:a@b)",
            "[b](sub/b.md#one-two--three) [b](sub/b.md#same) [b](sub/b.md#same-1)",
            "# Here\n[a](#here)",
            "```\n[a](none.md)\n```\n`[a](none.md)`",
            '<a id="x"></a>\n[x](#x)',
        ]:
            self.assertEqual(self.findings(text), [], text)

    def test_links_that_lead_nowhere_are_found(self):
        for text, finding in [
            ("[b](b.md)", "the link b.md leads to no file"),
            ("[b](sub/b.md#four)", "the link sub/b.md#four leads to no heading of docs/sub/b.md"),
            ("[b](sub/b.md#same-2)", "the link sub/b.md#same-2 leads to no heading of docs/sub/b.md"),
            ("[a](#here)", "the link #here leads to no heading of docs/a.md"),
        ]:
            self.assertEqual(self.findings(text), [finding], text)

    def test_paths_in_backticks(self):
        for text, found in [
            ("`send/stream.rs` `src/send/` `send/` `mod.rs` `sub/b.md`", []),
            ("`src/send/{stream,mod}.rs`", []),
            ("`target/x.json` `a.b.c` `io/none` `/etc/x.toml` `a/*.rs` `room.on('x')`", []),
            ("`send/none.rs`", ["no file or folder `send/none.rs`"]),
            ("`src/send/{stream,none}.rs`", ["no file or folder `src/send/none.rs`"]),
            ("`none/`", ["no file or folder `none/`"]),
        ]:
            self.assertEqual(self.findings(text), found, text)


class Commands(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        root = pathlib.Path(place.name)
        programs = root / "target/release"
        programs.mkdir(parents=True)
        (root / "scripts").mkdir()
        write(programs / "spillway", HELP)
        write(root / "scripts/up", "#!/bin/sh\n# --stop\n")
        self.checker = commands.Checker(root, programs)

    def findings(self, info, text):
        return [one.split(": ", 1)[1] for one in self.checker.broken("a.md", f"```{info}\n{text}\n```")]

    def test_commands_that_exist(self):
        for text in [
            "spillway room ls --json | head",
            "SPILLWAY_X=1 target/release/spillway room ls   # a comment",
            "spillway \\\n  room ls \\\n --json",
            "scripts/up --stop",
            "scripts/up --json",
            "unknown --flag; echo 1 > /dev/null && spillway --version",
        ]:
            self.assertEqual(self.findings("sh norun", text), [], text)

    def test_programs_subcommands_and_flags_that_do_not_exist(self):
        for text, problem in [
            ("spillway-bench canary", "spillway-bench is not built in"),
            ("spillway chamber ls", "'spillway' has no subcommand 'chamber'"),
            ("spillway room rm", "'spillway room' has no subcommand 'rm'"),
            ("spillway room ls --jsn", "spillway room ls has no flag --jsn"),
            ("true && spillway room ls --js", "spillway room ls has no flag --js"),
            ("scripts/down", "there is no scripts/down"),
            ("scripts/up --stp", "scripts/up has no flag --stp"),
        ]:
            self.assertEqual(len(found := self.findings("sh norun", text)), 1, text)
            self.assertIn(problem, found[0])

    def test_programs_that_are_not_built_are_found(self):
        self.checker.programs = self.checker.root / "nowhere"
        self.assertEqual(len(self.findings("sh norun", "spillway room ls")), 1)
        self.assertEqual(len(self.findings("sh norun", "scripts/up --stop")), 0)

    def test_blocks_say_whether_they_are_run(self):
        self.assertEqual(self.findings("json", "{}"), [])
        self.assertEqual(len(self.findings("sh", "true")), 1)
        self.assertEqual(len(self.findings("sh later", "true")), 1)

    def test_runnable_commands_are_run(self):
        self.assertEqual(self.findings("sh run", "spillway room ls\n# nothing\ntouch here"), [])
        self.assertIn("exits with 3", self.findings("sh run", "exit 3")[0])
        self.assertIn("exits with 1", self.findings("sh run", "false | true")[0])


HELP = """#!/bin/sh
case "$*" in
--help) printf 'Usage\\n\\nCommands:\\n  room  Rooms\\n\\nOptions:\\n      --version\\n' ;;
'room --help') printf 'Usage\\n\\nCommands:\\n  ls  List\\n\\nOptions:\\n  -h, --help\\n' ;;
*) printf 'Usage\\n\\nOptions:\\n      --json  One line\\n' ;;
esac
"""


def write(file, text):
    file.write_text(text)
    file.chmod(0o755)


if __name__ == "__main__":
    unittest.main()
