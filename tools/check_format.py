#!/usr/bin/env python3
"""clang-format finds nothing to change (version 14 only: others format differently). `--fix` changes the files."""
import concurrent.futures
import os
import shutil
import subprocess
import sys

import repo

tool = next((t for t in ("clang-format-14", "clang-format") if shutil.which(t)), None)
version = subprocess.run([tool, "--version"], capture_output=True, text=True).stdout if tool else ""
if "version 14." not in version:
    print("format: skipped, clang-format 14 is not installed (Debian: clang-format-14)")
    sys.exit(77)
sources = repo.files()
arguments = ["-i"] if "--fix" in sys.argv[1:] else ["--dry-run", "-Werror"]


def look(chunk):
    return subprocess.run([tool, *arguments, *chunk], cwd=repo.ROOT, capture_output=True, text=True).stderr


parts = os.cpu_count() * 4
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    text = "".join(pool.map(look, [sources[i::parts] for i in range(min(parts, len(sources)))]))
problems = sorted({line.split(":")[0] + ": run tools/check_format.py --fix" for line in text.splitlines() if ": error:" in line})
repo.finish("format", problems, len(sources))
