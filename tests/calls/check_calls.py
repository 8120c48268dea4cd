#!/usr/bin/env python3
"""check_calls.py CALLS: instructions of one call, counted by callgrind: exact, whatever else the machine does.

CALLS is tests/calls/calls.cpp, built for x86-64-v3. Two runs differ only in how often they call; the difference of their
counts, per call, must stay under the bound. Exit 77: no valgrind.
"""
import re
import shutil
import subprocess
import sys

FEW, MANY = 200, 1200
# call: (counted with g++ 12, bound: about a quarter more)
BOUNDS = {
    "add": (913, 1150),
    "view": (550, 690),
    "matmul_8x8": (1614, 2020),
    "mul_chain20_grad": (124400, 156000),
    "mlp_tiny_step": (53352, 67000),
}


def instructions(program, call, times):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, call, str(times)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr[-2000:]}")
    return int(found.group(1))


def main():
    if not shutil.which("valgrind"):
        print("skipped: valgrind is not installed")
        sys.exit(77)
    program = sys.argv[1]
    bad = 0
    print(f"{'call':<20}{'instructions':>14}{'before':>10}{'bound':>10}")
    for call, (before, bound) in BOUNDS.items():
        count = (instructions(program, call, MANY) - instructions(program, call, FEW)) / (MANY - FEW)
        print(f"{call:<20}{count:>14.1f}{before:>10}{bound:>10}{'' if count <= bound else '  too many'}", flush=True)
        bad += count > bound
    if bad:
        print("a call costs more than it did: find out why (callgrind_annotate), or say in tests/calls/check_calls.py why it must")
    sys.exit(1 if bad else 0)


main()
