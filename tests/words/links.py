"""Links between documents, links to headings, and paths of files in backticks, that lead nowhere."""

import itertools
import posixpath
import re

from prose import outside_code

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"`[^`]*`")
# A path with a folder, or a name with a known extension.
ENDINGS = "rs|md|py|js|sh|go|toml|proto|json|cfg|tsv|html|css|png"
PATH = re.compile(rf"`([\w.{{}},-]+(?:/[\w.{{}},-]+)*/?)`")
# Created by a build or a run; not in the repository.
MADE = ("target/", ".spillway", "credentials.json", "dataplane.log")


def broken(documents, files):
    """Yields what does not resolve. `documents` maps names of Markdown files to their text, `files` lists all files."""
    folders = {folder for name in files for folder in parents(name)}
    known = set(files) | folders
    headings = {name: anchors(text) for name, text in documents.items()}
    tails = {tail for name in known for tail in suffixes(name)}
    for name, text in documents.items():
        for line, content in outside_code(text):
            for target in LINK.findall(CODE.sub("", content)):
                if problem := of_link(name, target, known, headings):
                    yield f"{name}:{line}: {problem}"
            for path in PATH.findall(content):
                for one in braces(path):
                    if is_path(one) and not resolves(name, one, known, tails):
                        yield f"{name}:{line}: no file or folder `{one}`"


def parents(name):
    while "/" in name:
        name = name.rsplit("/", 1)[0]
        yield name


def suffixes(name):
    parts = name.split("/")
    return ("/".join(parts[at:]) for at in range(len(parts)))


def of_link(name, target, known, headings):
    """The error of a link of document `name`, or None."""
    if re.match(r"[a-z]+:", target):
        return None
    path, _, anchor = target.partition("#")
    to = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
    if to not in known and to != ".":
        return f"the link {target} leads to no file"
    if anchor and to in headings and anchor not in headings[to]:
        return f"the link {target} leads to no heading of {to}"
    return None


def anchors(text):
    """The anchors that GitHub makes of the headings of a document."""
    found = set()
    for _, line in outside_code(text):
        heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        if heading:
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            unique = (slug if not n else f"{slug}-{n}" for n in itertools.count())
            found.add(next(one for one in unique if one not in found))
        found.update(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", line))
    return found


def braces(path):
    """`a/{b,c}.rs` stands for two paths."""
    group = re.search(r"\{([^{}]*)\}", path)
    if not group:
        return [path]
    return [one for part in group[1].split(",") for one in braces(path[: group.start()] + part + path[group.end() :])]


def is_path(text):
    """True for names of files with a known extension, and for folders written with a slash at the end."""
    if text.startswith(MADE) or "*" in text or text.startswith("/"):
        return False
    folder = text.endswith("/") and not text.startswith(("-", "."))
    return folder or re.fullmatch(rf"[\w.-]+(/[\w.-]+)*\.({ENDINGS})", text) is not None


def resolves(name, path, known, tails):
    """Resolves a path relative to the repository, to the document, or as the end of a path."""
    path = path.rstrip("/")
    beside = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
    return path in known or beside in known or path in tails
