#!/usr/bin/env python3
"""readme_code.py README OUT_DIR: writes the C++ programs of the README (its ```cpp blocks that hold `int main`) to
OUT_DIR/readme_1.cpp, readme_2.cpp, ..., so that tests compile and run what the README shows."""
import os
import re
import sys

readme, out = sys.argv[1:]
with open(readme, encoding="utf-8") as file:
    programs = [block for block in re.findall(r"^```cpp\n(.*?)^```", file.read(), re.M | re.S) if "int main(" in block]
if not programs:
    sys.exit(f"{readme}: no ```cpp block holds int main(")
os.makedirs(out, exist_ok=True)
for stale in os.listdir(out):
    if stale.endswith(".cpp"):
        os.remove(os.path.join(out, stale))
for number, program in enumerate(programs, 1):
    with open(os.path.join(out, f"readme_{number}.cpp"), "w", encoding="utf-8") as file:
        file.write(program)
