#!/usr/bin/env python3
"""check_consumer.py BUILD_DIR COMPILER: installs weft to a fresh prefix, builds the project beside this file against it, runs
it, and compares how long a file that includes weft/weft.h takes to compile with the standard headers of it alone."""
import os
import re
import resource
import subprocess
import sys
import tempfile

# Times the processor time that the standard headers take (0.8 s of 1.8 s on one machine, compiled at -O1).
LIMIT = 3
HERE = os.path.dirname(os.path.abspath(__file__))


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def processor_seconds(*command):
    def now():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = now()
    run(*command)
    return now() - before


build, compiler = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    prefix, project = os.path.join(folder, "prefix"), os.path.join(folder, "build")
    run("cmake", "--install", build, "--prefix", prefix)
    run("cmake", "-G", "Ninja", "-S", HERE, "-B", project, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_COMPILER={compiler}",
        "-DCMAKE_BUILD_TYPE=Release")
    run("cmake", "--build", project)
    print(run(os.path.join(project, "consumer")).strip())
    include = ["-I", HERE, "-I", os.path.join(prefix, "include")]
    main, standard = os.path.join(HERE, "main.cpp"), os.path.join(folder, "standard.cpp")
    used = run(compiler, "-std=c++20", *include, "-M", main)
    with open(standard, "w") as f:
        f.writelines(f"#include <{name}>\n" for name in sorted(set(re.findall(r"/c\+\+/[\w.]+/(\w+)(?=\s)", used))))
    # In turn, the least of several: other work on the machine slows down both.
    seconds = {main: [], standard: []}
    for _ in range(4):
        for source, taken in seconds.items():
            taken.append(processor_seconds(compiler, "-std=c++20", "-O1", *include, "-c", source, "-o", os.devnull))
    ours, base = (min(taken) for taken in seconds.values())
    print(f"main.cpp, which includes weft/weft.h, compiles in {ours:.2f} s, {ours / base:.2f} times its standard headers "
          f"(limit {LIMIT})")
    sys.exit(1 if ours > LIMIT * base else 0)
