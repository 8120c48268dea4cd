#!/usr/bin/env python3
"""Includes point downwards only, public headers include no third-party header, and weft.h reaches what users need."""
import os
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
    record = path.startswith("core/ops/") and "WEFT_FN" in repo.read(path)
    for match in INCLUDE.finditer(repo.read(path)):
        quote, name = match.groups()
        where = f"{path}:{repo.read(path)[:match.start()].count(chr(10)) + 1}"
        target = name.split("/")[0]
        if quote == '"' and target in OURS and target != folder and target not in UNDER[folder]:
            allowed = ", ".join(UNDER[folder]) or "nothing"
            problems.append(f'{where}: {folder or "the root"} may include {allowed} besides itself, not "{name}"')
        if quote == '"' and target not in OURS:
            problems.append(f'{where}: write includes of the tree from its root, and others with <>: "{name}"')
        if record and quote == "<":
            problems.append(f"{where}: records are free of every library (they are compiled at run time too): <{name}>")
        if header and folder in repo.PUBLIC and THIRD_PARTY.match(name):
            problems.append(f"{where}: a public header must not ask users for <{name}>; include it in the .cpp")
        if folder == "core" and quote == "<" and THIRD_PARTY.match(name) and not name.startswith("fmt/"):
            problems.append(f"{where}: core uses the standard library, and fmt inside .cpp files: <{name}>")

# Folders whose every header is for users.
reached, waiting = set(), ["weft.h"]
while waiting:
    path = waiting.pop()
    if path not in reached and os.path.exists(os.path.join(repo.ROOT, path)):
        reached.add(path)
        waiting += [name for quote, name in INCLUDE.findall(repo.read(path)) if quote == '"']
for folder in ["core/ops", "nn", "optim", "data"]:
    for path in repo.files([folder], (".h",)):
        if os.path.dirname(path) == folder and path not in reached and "WEFT_FN" not in repo.read(path):
            problems.append(f"weft.h does not include {path}")
repo.finish("layers", problems, seen)
