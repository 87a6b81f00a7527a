"""Doc comments that say nothing, and sentences that are too long."""

import re

# A doc comment with so few words repeats the name of the item.
SHORT_DOC_WORDS = 3
SENTENCE_WORDS = 40
DOC = re.compile(r"\s*(//[/!])(?!/)(.*)")
TRAILING_DOC = re.compile(r"[^/\"]*[^\s/\"][^/\"]*///(?!/)(.*)")
FENCE = re.compile(r"\s*(```+|~~~+)")
ITEM = re.compile(r"\s*([*+-]|\d+[.)])\s+")
END = re.compile(r"(?<=[.!?])[\"')\]*_`]*\s+(?=[\"'(\[*_]*[`A-Z0-9])")


def short_docs(name, text):
    """Yields doc comments whose whole text has at most three words."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        doc = DOC.match(lines[at])
        if not doc:
            trailing = TRAILING_DOC.match(lines[at])
            if trailing:
                yield from short_doc(name, at, trailing[1])
            at += 1
            continue
        first, marker, words = at, doc[1], []
        while at < len(lines) and (doc := DOC.match(lines[at])) and doc[1] == marker:
            words.append(doc[2])
            at += 1
        yield from short_doc(name, first, " ".join(words))


def short_doc(name, line, text):
    if len(text.split()) <= SHORT_DOC_WORDS:
        yield f"{name}:{line + 1}: the doc comment '{text.strip()}' has at most {SHORT_DOC_WORDS} words"


def long_sentences(name, text):
    """Yields sentences of more than forty words. Code blocks are skipped; a table is read cell by cell."""
    for line, block in blocks(text):
        for sentence in END.split(block):
            words = len(sentence.split())
            if words > SENTENCE_WORDS:
                yield f"{name}:{line}: {words} words in one sentence, at most {SENTENCE_WORDS}: {start(sentence)}"


def start(sentence):
    return " ".join(sentence.split()[:8]) + " ..."


def blocks(text):
    """Yields (line, text) of each paragraph, list item, heading and table cell outside code blocks."""
    block, first = [], 0
    for number, line in outside_code(text):
        table = line.lstrip().startswith("|")
        begins = table or not line.strip() or ITEM.match(line) or line.startswith("#")
        if begins and block:
            yield first, plain(" ".join(block))
            block = []
        if table:
            for cell in re.split(r"(?<!\\)\|", line.strip().strip("|")):
                yield number, plain(cell)
        elif line.strip():
            if not block:
                first = number
            block.append(ITEM.sub("", line, count=1).strip() if begins else line.strip())
            if line.startswith("#"):
                yield first, plain(" ".join(block))
                block = []
    if block:
        yield first, plain(" ".join(block))


def outside_code(text):
    """Yields (number, line) of lines outside fenced blocks; a block counts as one empty line."""
    fence = None
    for number, line in enumerate(text.split("\n"), 1):
        mark = FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and line.strip() == mark[1]:
                fence = None
            continue
        if mark:
            fence = mark[1]
            yield number, ""
            continue
        yield number, line


def plain(text):
    """Text without the marks and targets of links."""
    return re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text).strip()
