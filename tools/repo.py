"""What the repo checks share: the source files, and how a check reports."""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ["core", "kernels", "autograd", "profiler", "compile", "nn", "optim", "data", "dist", "tools", "tests"]
CODE = (".h", ".inc", ".def", ".cpp", ".cu", ".cuh")
# Folders whose headers users include; kernels/ is reached through core's tables only.
PUBLIC = ["core", "autograd", "profiler", "compile", "nn", "optim", "data", "dist"]


def files(folders=FOLDERS, endings=CODE):
    """Paths relative to the root, sorted, root files included."""
    found = [name for name in os.listdir(ROOT) if name.endswith(endings)]
    for folder in folders:
        for path, children, names in os.walk(os.path.join(ROOT, folder)):
            children[:] = [c for c in children if not c.startswith((".", "build")) and c != "__pycache__"]
            found += [os.path.relpath(os.path.join(path, n), ROOT) for n in names if n.endswith(endings)]
    return sorted(found)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def finish(what, problems, seen):
    """Prints the problems and exits: 1 when there are any, or when the check saw nothing to check."""
    for problem in problems:
        print(problem)
    if not seen:
        print(f"{what}: found nothing to check under {ROOT}")
    elif not problems:
        print(f"{what}: {seen} checked, all in order")
    sys.exit(1 if problems or not seen else 0)
