#!/usr/bin/env python3
"""Lines of code per folder: all, and without blank lines and comments."""
import collections

import repo

total, code, count = collections.Counter(), collections.Counter(), collections.Counter()
for path in repo.files(endings=repo.CODE + (".py", ".sh")):
    folder = path.split("/")[0] if "/" in path else "."
    lines = repo.read(path).splitlines()
    count[folder] += 1
    total[folder] += len(lines)
    code[folder] += sum(1 for l in lines if l.strip() and not l.strip().startswith(("//", "#!", '"""')))
print(f"{'folder':<10}{'files':>7}{'lines':>9}{'code':>9}")
for folder in sorted(total, key=repo.FOLDERS.index if "." not in total else str):
    print(f"{folder:<10}{count[folder]:>7}{total[folder]:>9}{code[folder]:>9}")
print(f"{'total':<10}{sum(count.values()):>7}{sum(total.values()):>9}{sum(code.values()):>9}")
