#!/usr/bin/python3
"""Holds the tree to its own rules: who includes whom, sizes, stray paths, documented headers.

Usage: ci/check_tree.py [ROOT]. Prints `file:line: what was found, what was expected`; exits 1 on any.
"""

import re
import subprocess
import sys
from pathlib import Path

SOURCE_SUFFIXES = {".h", ".cc", ".cu", ".cuh"}
FILE_LINES = 600
FUNCTION_LINES = 70
LINE_COLUMNS = 100

# Folder -> what of ours it may include. The longest matching folder counts.
ALLOWED = {
    "network": ["network"],
    "kernels": ["kernels"],
    "worker/engine": ["worker/engine", "kernels", "network"],
    "worker": ["worker", "network", "kernels", "proto"],
    "coordinator/core": ["coordinator/core", "network"],
    "coordinator": ["coordinator", "network", "proto"],
    "cli": ["cli", "proto"],
    "proto": ["proto", "network"],
}
OURS = ("network/", "kernels/", "worker/", "coordinator/", "cli/", "proto/", "trainyard/")

# Folders that build on a bare machine with a compiler and CMake only.
BARE = ("network", "kernels", "worker/engine")
HEAVY = re.compile(r"#include [<\"](grpc|google/protobuf|absl/|fmt/|spdlog/|trainyard/v1/)")

STRAY = re.compile(r"(?<![\w.-])/(work|root|home/\w+)/")


def tracked_files(root):
    listed = subprocess.run(["git", "-C", root, "ls-files"], capture_output=True, text=True)
    names = listed.stdout.split("\n") if listed.returncode == 0 else [
        str(path.relative_to(root)) for path in Path(root).rglob("*")
    ]
    return sorted(name for name in names if name and (Path(root) / name).is_file())


def check_includes(name, lines):
    folder = max((f for f in ALLOWED if name.startswith(f + "/")), key=len, default=None)
    if folder is None:
        return
    for number, line in enumerate(lines, 1):
        if folder in BARE and HEAVY.match(line):
            yield number, f"{line.strip()}: {folder}/ builds without gRPC, protobuf, Abseil and fmt"
        match = re.match(r'#include "([^"]+)"', line)
        if not match or not match[1].startswith(OURS):
            continue
        target = match[1] if not match[1].startswith("trainyard/") else "proto/" + match[1]
        if not any(target.startswith(allowed + "/") for allowed in ALLOWED[folder]):
            allowed = ", ".join(ALLOWED[folder])
            yield number, f'includes "{match[1]}"; {folder}/ may include {allowed} only'


def check_sizes(name, lines):
    if len(lines) > FILE_LINES:
        yield len(lines), f"{len(lines)} lines, expected at most {FILE_LINES}"
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_COLUMNS:
            yield number, f"{len(line)} columns, expected at most {LINE_COLUMNS}"


# Functions stand at column 0 or, inside a class, indented by two; clang-format keeps it so.
OPENS = re.compile(r"^( {0,2})(?!namespace|struct|class|enum|union|extern|#)[\w~].*\{$")
CONTINUES = re.compile(r"^( {0,2}) {4}.*\) ?(const|override|noexcept|->.*| )*\{$")


def check_functions(name, lines):
    start = None
    for number, line in enumerate(lines, 1):
        before = lines[max(0, number - 2)]
        if start is None and "(" in line + before:
            unfinished = before.strip() and not re.search(r"[;{}:]$|^\s*(//|template)", before)
            match = OPENS.match(line) or (unfinished and CONTINUES.match(line))
            if match:
                start, closing = number, match[1] + "}"
                continue
        # A brace at column 0 ends whatever is open, also where aligned parameters hid its indentation.
        if start is not None and (line in (closing, "}") or line.startswith(closing + ";")):
            if number - start + 1 > FUNCTION_LINES:
                yield start, f"a function of {number - start + 1} lines, expected at most {FUNCTION_LINES}"
            start = None


def check_header(name, lines):
    if not lines or not lines[0].startswith("// "):
        yield 1, "expected the header to start with a comment that says what it is for"
    if "#pragma once" not in lines:
        yield 1, "expected #pragma once"


def check_strays(name, lines):
    for number, line in enumerate(lines, 1):
        if STRAY.search(line):
            yield number, f"names a path of one machine: {line.strip()[:80]}"


def problems(root):
    for name in tracked_files(root):
        path = Path(root) / name
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError:
            continue
        if lines and lines[-1] == "":
            lines.pop()
        checks = []
        if path.suffix in SOURCE_SUFFIXES:
            checks += [check_includes, check_sizes, check_functions]
        if path.suffix == ".h" and not name.startswith("tests/"):
            checks.append(check_header)
        if not name.startswith(("ci/check_tree.py", "tests/ci/")):
            checks.append(check_strays)
        for check in checks:
            for number, message in check(name, lines):
                yield f"{name}:{number}: {message}"


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    found = list(problems(str(root)))
    print("\n".join(found) if found else "the tree keeps its rules")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
