#!/usr/bin/env python3
"""Every header of the library compiles alone: check_headers.py [COMPILER], default $CXX or g++.

A header that is the first thing its own .cpp includes has been compiled alone by the build; only the others are tried."""
import concurrent.futures
import os
import re
import subprocess
import sys

import repo

compiler = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CXX", "g++")
headers = repo.files(repo.PUBLIC, (".h",))


def proven_by_build(header):
    source = header[:-2] + ".cpp"
    if not os.path.exists(os.path.join(repo.ROOT, source)):
        return False
    first = re.search(r'^#include\s*["<]([^">]+)', repo.read(source), re.M)
    return first is not None and first.group(1) == header


def compile_alone(header):
    command = [compiler, "-std=c++20", "-fsyntax-only", "-x", "c++", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
               "-Wno-unknown-pragmas", "-I", repo.ROOT, "-"]
    run = subprocess.run(command, input=f'#include "{header}"\n', capture_output=True, text=True)
    return None if run.returncode == 0 else f"{header} does not compile alone:\n{run.stderr.strip()}"


with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    problems = [p for p in pool.map(compile_alone, [h for h in headers if not proven_by_build(h)]) if p]
repo.finish("headers", problems, len(headers))
