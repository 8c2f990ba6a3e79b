"""Fails if a function of the library, the binary, the models or the crash tests is longer than 70 lines, or a file than 350."""

import pathlib
import re
import sys

FUNCTION_MAX, FILE_MAX = 70, 350
START = re.compile(r"^(\s*)(pub(\([a-z]+\))? )?(const )?(async )?fn (\w+)")

faults = []
for path in sorted([*pathlib.Path("src").rglob("*.rs"), *pathlib.Path("python/src").rglob("*.rs"), *pathlib.Path("loom-tests").rglob("*.rs"), *pathlib.Path("crash-tests").rglob("*.rs")]):
    lines = path.read_text().splitlines()
    if len(lines) > FILE_MAX:
        faults.append(f"{path}: {len(lines)} lines")
    for number, line in enumerate(lines):
        start = START.match(line)
        if not start or line.rstrip().endswith(";"):
            continue
        # Of a trait: no body.
        if next(text for text in lines[number:] if text.rstrip().endswith(("{", "}", ";"))).rstrip().endswith(";"):
            continue
        end = next(i for i in range(number, len(lines)) if lines[i].startswith(start[1] + "}") or lines[i].endswith(";") and i == number or lines[i].rstrip().endswith("}") and i == number)
        if end - number + 1 > FUNCTION_MAX:
            faults.append(f"{path}:{number + 1}: {start[6]} has {end - number + 1} lines")

print("\n".join(faults) or "all within bounds")
sys.exit(bool(faults))
