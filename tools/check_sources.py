#!/usr/bin/env python3
"""Sizes and words: no file over 600 lines, no promises left in the code, errors and output through their one place."""
import re

import repo

LIMIT = 600
NEVER = [
    (re.compile(r"\b(TODO|FIXME|XXX|HACK)\b"), "do it, or take the remark out"),
    (re.compile(r"\b(not implemented|unimplemented|not yet supported)\b", re.I), "say early what is supported, in supports()"),
    (re.compile(r"(?<![\w.])/work/"), "a path of one machine"),
]
LIBRARY = [
    (re.compile(r"\bstd::(cout|cerr|clog)\b"), "the library prints nothing; return the text"),
    (re.compile(r"\b(printf|puts)\s*\("), "the library prints nothing; return the text"),
    (re.compile(r"(?<!\w)throw\s+[\w:]"), "use WEFT_CHECK or WEFT_FAIL (core/error.h)"),
    (re.compile(r"#include <iostream>"), "costs every program a static constructor"),
    (re.compile(r"\bstd::(abort|exit)\b|(?<!\w)(abort|exit)\s*\(\s*\w*\s*\);"), "errors are thrown"),
]
MAY = {
    "core/error.cpp": ["throw", "abort"],
    "core/error.h": ["throw"],
    "autograd/checkpoint.cpp": ["throw"],  # no error: it ends the second run of a region early
}


def without_text(line):
    """The line without string literals and comments."""
    return re.sub(r'"(\\.|[^"\\])*"', '""', line).split("//")[0]


problems, seen = [], 0
for path in repo.files():
    seen += 1
    text = repo.read(path)
    lines = text.splitlines()
    if len(lines) > LIMIT:
        problems.append(f"{path}: {len(lines)} lines; {LIMIT} is the limit: is it one thing?")
    if path.endswith((".h", ".cuh")) and "#pragma once" not in text:
        problems.append(f"{path}: #pragma once is missing")
    if text and not text.endswith("\n"):
        problems.append(f"{path}: the last line does not end")
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        if line != line.rstrip():
            problems.append(f"{where}: space at the end of the line")
        for pattern, reason in NEVER:
            if pattern.search(line):
                problems.append(f"{where}: '{pattern.search(line).group()}': {reason}")
        if path.startswith(("tools/", "tests/")):
            continue
        for pattern, reason in LIBRARY:
            match = pattern.search(without_text(line) if "include" not in line else line)
            allowed = any(word in match.group() for word in MAY.get(path, [])) if match else True
            if not allowed and "weft: allowed" not in line:
                problems.append(f"{where}: '{match.group()}': {reason}")
repo.finish("sources", problems, seen)
