"""Fenced shell commands of documents: those that are run, and those whose programs, subcommands and flags are looked up.

The info string of each block says which: ```sh run``` for cheap commands that change nothing outside of their own
directory, ```sh norun``` for all others.
"""

import os
import re
import shlex
import subprocess
import tempfile

RUN_SECONDS = 20
OURS = ("spillway", "spillway-dataplane", "spillway-bench")
BLOCK = re.compile(r"^( *)```(.*)$")
# Words before a program that are not programs.
PREFIXES = ("sudo", "exec", "nohup", "time")


class Checker:
    """Checks the blocks of documents against a checkout and its built programs."""

    def __init__(self, root, programs):
        self.root, self.programs, self.helps = root, programs, {}

    def broken(self, name, text):
        """Yields the errors in the shell blocks of a document."""
        for line, info, body in shell_blocks(text):
            words = info.split()
            kind = words[1] if len(words) > 1 else ""
            if kind not in ("run", "norun"):
                yield f"{name}:{line}: the block says neither `sh run` nor `sh norun`"
                continue
            for at, command in statements(body):
                problem = self.run(command) if kind == "run" else None
                problem = problem or self.unknown(command)
                if problem:
                    yield f"{name}:{line + at}: {problem}: {command}"

    def run(self, command):
        """Runs a command in its own directory; yields errors."""
        with tempfile.TemporaryDirectory() as place:
            for entry in ("target", "scripts", "docs"):
                os.symlink(self.programs.parent if entry == "target" else self.root / entry, f"{place}/{entry}")
            clean = {key: value for key, value in os.environ.items() if not key.startswith("SPILLWAY_")}
            clean |= {"PATH": f"{self.programs}:{clean['PATH']}", "HOME": place}
            try:
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", command],
                    cwd=place, env=clean, timeout=RUN_SECONDS, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                )
            except subprocess.TimeoutExpired:
                return f"does not end within {RUN_SECONDS} s"
        if done.returncode:
            return f"exits with {done.returncode} ({(done.stderr.strip() or done.stdout.strip())[:200]})"
        return None

    def unknown(self, command):
        """Yields programs, subcommands and flags of a command that do not exist."""
        for words in simple_commands(command):
            while words and (words[0] in PREFIXES or re.match(r"\w+=", words[0])):
                words = words[1:]
            if not words:
                continue
            program = words[0].rsplit("/", 1)[-1]
            if program in OURS:
                problem = self.unknown_of_program(program, words[1:])
            elif words[0].startswith(("scripts/", "./", "tests/")):
                problem = self.unknown_of_script(words[0], words[1:])
            else:
                problem = None
            if problem:
                return problem
        return None

    def unknown_of_program(self, program, words):
        if not (self.programs / program).is_file():
            return f"{program} is not built in {self.programs}"
        path = []
        while words and not words[0].startswith("-") and words[0] in subcommands(self.help(program, *path)):
            path.append(words[0])
            words = words[1:]
        help_text = self.help(program, *path)
        if subcommands(help_text) and (not words or not words[0].startswith("-")):
            return f"'{' '.join([program, *path])}' has no subcommand '{words[0] if words else ''}'"
        return missing_flag(" ".join([program, *path]), words, help_text)

    def unknown_of_script(self, script, words):
        file = self.root / script
        if not file.is_file():
            return f"there is no {script}"
        if not os.access(file, os.X_OK):
            return f"{script} cannot be executed"
        # Flags of a script: those in its text, and those of the programs that it passes further
        # flags to.
        texts = [file.read_text(errors="replace")]
        folder = self.root / "scripts"
        texts += [one.read_text(errors="replace") for one in sorted((folder / "benches").glob("*.sh"))]
        if script == "scripts/up":
            texts.append(self.help("spillway", "up"))
        if script == "scripts/bench":
            texts += [self.help("spillway-bench", name) for name in subcommands(self.help("spillway-bench"))]
        return missing_flag(script, words, "\n".join(texts))

    def help(self, *words):
        """The help text of a program and subcommand; empty if the program is not built."""
        if words not in self.helps and not (self.programs / words[0]).is_file():
            self.helps[words] = ""
        if words not in self.helps:
            done = subprocess.run(
                [self.programs / words[0], *words[1:], "--help"], capture_output=True, text=True, timeout=RUN_SECONDS
            )
            self.helps[words] = done.stdout
        return self.helps[words]


def subcommands(help_text):
    """Names under `Commands:` of a help text."""
    after = help_text.partition("\nCommands:\n")[2].partition("\n\n")[0]
    return re.findall(r"^  ([a-z][\w-]*)", after, re.M)


def missing_flag(program, words, help_text):
    for word in words:
        flag = word.split("=", 1)[0]
        if re.fullmatch(r"--[a-z][\w-]*|-[a-zA-Z]", flag):
            if not re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", help_text):
                return f"{program} has no flag {flag}"
    return None


def shell_blocks(text):
    """Yields (line of the fence, info string, lines) of each fenced block of shell commands."""
    fence, block = None, []
    for number, line in enumerate(text.split("\n"), 1):
        mark = BLOCK.match(line)
        if fence is None and mark:
            fence, block = (number, mark[2].strip()), []
        elif fence is not None and mark and not mark[2].strip():
            info = fence[1]
            if info.split(" ")[0] in ("sh", "bash", "shell", "console"):
                yield fence[0], info, block
            fence = None
        elif fence is not None:
            block.append(line)


def statements(lines):
    """Yields (offset from the fence, command) with continued lines joined, without comments and empty lines."""
    joined, first = "", 0
    for at, line in enumerate(lines, 1):
        first = first if joined else at
        joined += line
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        if joined.strip() and not joined.strip().startswith("#"):
            yield first, joined.strip()
        joined = ""


def simple_commands(command):
    """Splits a command line at pipes and lists into the words of each program."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;()<>")
    lexer.whitespace_split = True
    words, found, skip = [], [], False
    for word in lexer:
        if set(word) <= set("|&;()"):
            found.append(words)
            words = []
        elif set(word) <= set("<>&"):
            skip = True
        elif skip:
            skip = False
        else:
            words.append(word)
    return [one for one in [*found, words] if one]
