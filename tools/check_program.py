#!/usr/bin/env python3
"""check_program.py PROGRAM: stripped, it is at most 15 MB, and it needs no shared library but the C library's."""
import os
import re
import subprocess
import sys
import tempfile

LIMIT_MB = 15
C_LIBRARY = re.compile(r"^(linux-vdso|libc|libm|libdl|libpthread|librt|/lib\S*/ld-linux\S*|ld-linux\S*)(\.so\S*)?$")

program = sys.argv[1]
with tempfile.TemporaryDirectory() as folder:
    stripped = os.path.join(folder, "stripped")
    subprocess.run(["strip", "-o", stripped, program], check=True)
    size = os.path.getsize(stripped) / 1e6
needed = [line.split()[0] for line in subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.splitlines()]
others = [name for name in needed if not C_LIBRARY.match(name)]
print(f"{program}: {size:.1f} MB stripped (limit {LIMIT_MB}); needs {', '.join(needed)}")
if others:
    print(f"not the C library: {', '.join(others)}")
sys.exit(1 if others or size > LIMIT_MB else 0)
