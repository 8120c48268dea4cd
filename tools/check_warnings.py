#!/usr/bin/env python3
"""check_warnings.py BUILD_LOG: the last build by tools/test or tools/run gave no compiler warning."""
import os
import sys

log = sys.argv[1]
if not os.path.exists(log):
    print(f"warnings: skipped, {log} does not exist (tools/run and tools/test write it)")
    sys.exit(77)
with open(log, encoding="utf-8", errors="replace") as file:
    lines = file.read().splitlines()
warnings = sorted({line for line in lines if " warning: " in line})
print("\n".join(warnings) if warnings else f"warnings: none in {log}")
sys.exit(1 if warnings else 0)
