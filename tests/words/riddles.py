"""Finds the phrases in riddles.tsv."""

import bisect
import re

# Documents and code.
READ = (".rs", ".md", ".js", ".py", ".sh", ".go", ".proto", ".toml", ".html")
# Marks at the start of a line of a comment or document, and of a continued string in Rust.
MARK = re.compile(r"^[ \t]*(///|//!|//|#+(?= )|\*(?= )|--)?[ \t]*", re.M)


def rules(text):
    """Parses `pattern<TAB>replacement` lines."""
    parsed = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        pattern, tab, instead = line.partition("\t")
        if not tab or not instead.strip():
            raise ValueError(f"riddles.tsv:{number}: a pattern, a tab and what to write instead")
        parsed.append((re.compile(pattern.replace(" ", r"\s+"), re.I), instead.strip()))
    return parsed


def find(parsed, name, text):
    """Yields each phrase of `text` that a rule refuses, across line breaks of comments too."""
    joined = MARK.sub(lambda mark: " " * len(mark[0]), text).replace("\\\n", " \n")
    ends = [end.start() for end in re.finditer("\n", joined)]
    for pattern, instead in parsed:
        for hit in pattern.finditer(joined):
            line = bisect.bisect_left(ends, hit.start()) + 1
            yield f"{name}:{line}: '{' '.join(hit[0].split())}': write {instead}"
