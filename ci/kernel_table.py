#!/usr/bin/python3
"""Holds the table of kernels in docs/kernels.md to what nvcc compiled.

Usage: ci/kernel_table.py --list OBJECT...
       ci/kernel_table.py --check PAGE --nvcc VERSION OBJECT...
       ci/kernel_table.py --write PAGE --nvcc VERSION OBJECT...

OBJECTs are object files of kernels; what ptxas said of each stands beside it in OBJECT.ptxas
(cmake/nvcc_report.sh). A row of the page tells of one kernel: people write its first cells, --write its
registers (the fewest and the most of the kernel's instantiations) and a row with empty cells for each new
kernel. --check prints what is missing, stale, empty or other than compiled, and exits 1 on any. Registers
are those of one version of nvcc; with another, only the rows are checked. --list shows every instantiation.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\w+)'")
USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")
SIGNATURE = re.compile(r"^(?:void )?(?:[\w~]+::|\(anonymous namespace\)::)*(\w+)(<.*>)?\(")
VERSION = re.compile(r"nvcc (\d+\.\d+\.\d+)")


def demangle(names):
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return dict(zip(names, done.stdout.splitlines()))


def readable(signature):
    """-> the kernel's name and its template arguments, without namespaces and casts."""
    signature = signature.replace("(anonymous namespace)::", "")
    name, arguments = SIGNATURE.match(signature).groups()
    arguments = re.sub(r"\((?:\w+::)*(\w+)\)", r"\1 ", arguments or "")
    return name, re.sub(r"\w+::", "", arguments)


def compiled(objects):
    """-> {kernel: {template arguments and file: {architecture: (registers, bytes of static shared memory)}}}

    Files may share a kernel of one header; two kernels of one name are refused, for they share a row.
    """
    found = []
    for report in (Path(f"{name}.ptxas") for name in objects):
        entry = None
        for line in report.read_text().splitlines() if report.exists() else ():
            if match := ENTRY.search(line):
                entry = match.groups()
            elif entry and (match := USED.search(line)):
                found.append((report.name.split(".")[0], *entry, int(match[1]), int(match[2] or 0)))
                entry = None
    names = demangle(sorted({mangled for _, mangled, *_ in found}))
    kernels, signatures = {}, {}
    for file, mangled, architecture, registers, shared in found:
        name, arguments = readable(names[mangled])
        first_file, signature = signatures.setdefault((name, arguments), (file, names[mangled]))
        if signature != names[mangled]:
            sys.exit(f"error: {first_file} and {file} have a {name} each, expected different names")
        uses = kernels.setdefault(name, {}).setdefault(f"{arguments} ({file})", {})
        uses[architecture] = registers, shared
    return kernels


def architectures(kernels):
    known = {arch for uses in kernels.values() for by_arch in uses.values() for arch in by_arch}
    return sorted(known, key=lambda arch: int(re.search(r"\d+", arch)[0]))


def registers(uses, architecture):
    used = [by_arch[architecture][0] for by_arch in uses.values() if architecture in by_arch]
    return f"{min(used)}" if min(used) == max(used) else f"{min(used)} to {max(used)}"


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


class Page:
    """The page's lines, and where in them its table of kernels is."""

    def __init__(self, path):
        self.lines = Path(path).read_text(encoding="utf-8").split("\n")
        self.head = next(i for i, line in enumerate(self.lines) if line.startswith("| kernel |"))
        self.end = self.head
        while self.lines[self.end].startswith("|"):
            self.end += 1
        self.columns = cells(self.lines[self.head])
        self.rows = {}
        for line in self.lines[self.head + 2 : self.end]:
            row = cells(line)
            self.rows[row[0].strip("`")] = row
        self.version = VERSION.search("\n".join(self.lines[: self.head]))

    def text(self, kernels, version):
        """The page with the registers of these kernels and rows for new ones."""
        archs = architectures(kernels)
        words = [column for column in self.columns if not column.startswith("sm_")]
        table = [words + archs, ["---"] * (len(words) + len(archs))]
        for name in [*self.rows, *sorted(kernels.keys() - self.rows.keys())]:
            if name in kernels:
                row = self.rows.get(name, [f"`{name}`"] + [""] * (len(words) - 1))
                table.append(row[: len(words)] + [registers(kernels[name], arch) for arch in archs])
        lines = ["| " + " | ".join(row).replace("|  |", "| |") + " |" for row in table]
        before = "\n".join(self.lines[: self.head])
        before = VERSION.sub(f"nvcc {version}", before, count=1)
        return "\n".join([before, *lines, *self.lines[self.end :]])


def problems(page, kernels, version):
    for name in sorted(kernels.keys() - page.rows.keys()):
        yield f"{name}: compiled, but has no row"
    same_version = page.version and page.version[1] == version
    for name, row in page.rows.items():
        if name not in kernels:
            yield f"{name}: has a row, but is not compiled"
            continue
        for column, cell in zip(page.columns, row):
            if column.startswith("sm_"):
                known = any(column in by_arch for by_arch in kernels[name].values())
                if same_version and known and cell != registers(kernels[name], column):
                    yield f"{name}, {column}: found '{cell}', compiled with {registers(kernels[name], column)}"
            elif not cell:
                yield f"{name}: says nothing of its {column}"


def show(kernels):
    archs = architectures(kernels)
    print("registers (bytes of static shared memory): " + ", ".join(archs))
    for name, uses in sorted(kernels.items()):
        for arguments, by_arch in sorted(uses.items()):
            used = [by_arch.get(arch) for arch in archs]
            print(f"{name}{arguments}: " + ", ".join(f"{u[0]} ({u[1]})" if u else "none" for u in used))


def main():
    parser = argparse.ArgumentParser()
    does = parser.add_mutually_exclusive_group(required=True)
    does.add_argument("--list", action="store_true")
    does.add_argument("--check", metavar="PAGE")
    does.add_argument("--write", metavar="PAGE")
    parser.add_argument("--nvcc", metavar="VERSION")
    parser.add_argument("objects", nargs="+")
    arguments = parser.parse_args()
    kernels = compiled(arguments.objects)
    if not kernels:
        sys.exit("error: found no report of ptxas beside these objects")
    if arguments.list:
        return show(kernels)
    page = Page(arguments.check or arguments.write)
    if arguments.write:
        return Path(arguments.write).write_text(page.text(kernels, arguments.nvcc), encoding="utf-8")
    found = list(problems(page, kernels, arguments.nvcc))
    for problem in found:
        print(f"{arguments.check}: {problem}")
    if found:
        sys.exit("fill in the rows, and the registers with `ninja kernel_table` in the build folder")
    print(f"{len(page.rows)} kernels are as the page says")


if __name__ == "__main__":
    main()
