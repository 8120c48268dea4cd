#!/usr/bin/env python3
"""check_consumer.py BUILD_DIR COMPILER: installs weft to a fresh prefix, builds the project beside this file against it, runs
it, and measures how long a file that includes weft/weft.h takes to compile."""
import os
import resource
import subprocess
import sys
import tempfile

LIMIT_S = 2.0  # processor time of one compilation at -O1; the wall clock depends on what else runs
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
    compile_main = [compiler, "-std=c++20", "-O1", "-I", HERE, "-I", os.path.join(prefix, "include"), "-c",
                    os.path.join(HERE, "main.cpp"), "-o", os.path.join(folder, "main.o")]
    seconds = min(processor_seconds(*compile_main) for _ in range(3))
    print(f"main.cpp, which includes weft/weft.h, compiles in {seconds:.2f} s (limit {LIMIT_S} s)")
    sys.exit(1 if seconds > LIMIT_S else 0)
