"""What the checks share: the tree's files, and C text without what the checks must not see."""
import os
import re
import subprocess
import sys

TOP = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))


def files(*endings):
    """Paths of what git tracks or would track, from the top of the tree; the clone may be another user's."""
    command = ["git", "-C", TOP, "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\0")
    present = sorted({path for path in listed if path and os.path.isfile(os.path.join(TOP, path))})
    return [path for path in present if path.endswith(endings)] if endings else present


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return file.read()


_NOT_CODE = re.compile(r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.S | re.X)


def code(text):
    """The text with comments blanked and literals emptied; every line keeps its number."""

    def blank(match):
        found = match.group()
        return found[0] + found[-1] if found[0] in "\"'" else " " + "\n" * found.count("\n")

    return _NOT_CODE.sub(blank, text)


def without_directives(text):
    """code() without preprocessor lines, macro bodies included."""
    return re.sub(r"^[ \t]*#(?:[^\n\\]|\\.)*", lambda m: "\n" * m.group().count("\n"), text, flags=re.M | re.S)


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def finish(findings):
    """Prints the findings; their presence is the exit status."""
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)
