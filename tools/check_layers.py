#!/usr/bin/env python3
"""Includes point downwards only, and public headers include no third-party header."""
import re

import repo

UNDER = {
    "core": [],
    "kernels": ["core"],
    "autograd": ["core"],
    "profiler": ["core"],
    "compile": ["core", "autograd"],
    "nn": ["core", "autograd"],
    "optim": ["core", "autograd"],
    "data": ["core", "autograd"],
    "dist": ["core", "autograd"],
    "": repo.PUBLIC,  # weft.h
}
FREE = ["tools", "tests"]
OURS = set(repo.FOLDERS)
THIRD_PARTY = re.compile(r"^(fmt|nlohmann|CLI|Eigen|catch2|cuda|cublas|cudnn|nccl|nvrtc|dnnl|z(lib|conf)\.h)")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)

problems, seen = [], 0
for path in repo.files():
    folder = path.split("/")[0] if "/" in path else ""
    if folder in FREE:
        continue
    seen += 1
    header = path.endswith(".h")
    for match in INCLUDE.finditer(repo.read(path)):
        quote, name = match.groups()
        where = f"{path}:{repo.read(path)[:match.start()].count(chr(10)) + 1}"
        target = name.split("/")[0]
        if quote == '"' and target in OURS and target != folder and target not in UNDER[folder]:
            allowed = ", ".join(UNDER[folder]) or "nothing"
            problems.append(f'{where}: {folder or "the root"} may include {allowed} besides itself, not "{name}"')
        if quote == '"' and target not in OURS:
            problems.append(f'{where}: write includes of the tree from its root, and others with <>: "{name}"')
        if path.startswith("core/ops/") and header and quote == "<":
            problems.append(f"{where}: records are free of every library (they are compiled at run time too): <{name}>")
        if header and folder in repo.PUBLIC and THIRD_PARTY.match(name):
            problems.append(f"{where}: a public header must not ask users for <{name}>; include it in the .cpp")
        if folder == "core" and quote == "<" and THIRD_PARTY.match(name) and not name.startswith("fmt/"):
            problems.append(f"{where}: core uses the standard library, and fmt inside .cpp files: <{name}>")
repo.finish("layers", problems, seen)
