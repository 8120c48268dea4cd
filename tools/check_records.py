#!/usr/bin/env python3
"""Every pointwise record of core/ops/*.h has its row in core/ops/pointwise.def, and every row its record."""
import os
import re

import repo

STRUCT = re.compile(r"^struct (\w+) : (?:\w+::)*Pointwise<", re.M)
ROW = re.compile(r"^\s*WEFT_\w+\(\s*(\w+)", re.M)

records = {}
for path in repo.files(["core/ops"], (".h",)):
    for match in STRUCT.finditer(repo.read(path)):
        records[match.group(1)] = path
table = "core/ops/pointwise.def"
rows = ROW.findall(repo.read(table)) if os.path.exists(os.path.join(repo.ROOT, table)) else []
problems = [f"{records[name]}: {name} has no row in {table}" for name in sorted(set(records) - set(rows))]
problems += [f"{table}: {name} has no record in core/ops" for name in sorted(set(rows) - set(records))]
repo.finish("records", problems, len(records))
