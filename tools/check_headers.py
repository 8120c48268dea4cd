#!/usr/bin/env python3
"""Every header of the library compiles alone: check_headers.py [COMPILER], default $CXX or g++."""
import concurrent.futures
import os
import subprocess
import sys

import repo

compiler = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CXX", "g++")
headers = repo.files(repo.PUBLIC, (".h",))


def compile_alone(header):
    command = [compiler, "-std=c++20", "-fsyntax-only", "-x", "c++", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
               "-Wno-unknown-pragmas", "-I", repo.ROOT, "-"]
    run = subprocess.run(command, input=f'#include "{header}"\n', capture_output=True, text=True)
    return None if run.returncode == 0 else f"{header} does not compile alone:\n{run.stderr.strip()}"


with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    problems = [p for p in pool.map(compile_alone, headers) if p]
repo.finish("headers", problems, len(headers))
