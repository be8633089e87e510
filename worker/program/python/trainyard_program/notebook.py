"""Runs the code cells of a notebook: `python3 -m trainyard_program.notebook FILE.ipynb`.

In order, in one namespace, as `__main__`. Lines of magics (%), shell (!) and help (?) are left out,
with a note.
"""

import json
import os
import re
import sys
import traceback

from trainyard_program import channel

# A modulo at the start of a continued line has a space behind it.
MAGIC = re.compile(r"%[%A-Za-z]|[!?]")
ASSIGNED_SHELL = re.compile(r"^\s*[\w, ]+=\s*[!%]")


def cells_of(path):
    """The sources of the code cells; exits with one line where the file is no notebook."""
    try:
        with open(path, encoding="utf-8") as file:
            notebook = json.load(file)
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
        sources = [
            cell.get("source", cell.get("input", ""))
            for cell in cells
            if cell["cell_type"] == "code"
        ]
    except OSError as error:
        sys.exit(f"trainyard: error: {path}: {error.strerror}")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        sys.exit(f"trainyard: error: {path} is no notebook: {error!r}")
    return ["".join(source) for source in sources]


def without_magics(source, number):
    """The cell as plain Python, its lines where they were."""
    lines = source.split("\n")
    if lines[0].lstrip().startswith("%%"):
        kind = lines[0].split()[0]
        if kind not in ("%%time", "%%timeit", "%%capture"):
            channel.note(f"cell {number} is left out: {lines[0].strip()}")
            return ""
        lines[0] = ""
    for index, line in enumerate(lines):
        text = line.strip()
        if (
            MAGIC.match(text)
            or (text.endswith("?") and "#" not in text)
            or ASSIGNED_SHELL.match(line)
        ):
            channel.note(f"cell {number}, line {index + 1} is left out: {text}")
            lines[index] = line[: len(line) - len(line.lstrip())] + "pass"
    return "\n".join(lines)


def run(path):
    import types

    module = types.ModuleType("__main__")
    module.__dict__["display"] = print
    sys.modules["__main__"] = module
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    os.environ.setdefault("MPLBACKEND", "Agg")  # no screen to show figures on
    for number, source in enumerate(cells_of(path), 1):
        name = f"{os.path.basename(path)} cell {number}"
        try:
            exec(compile(without_magics(source, number), name, "exec"), module.__dict__)
        except Exception as error:
            _tell(error, name)
            return 1
    return 0


def _tell(error, name):
    """The traceback without our own frames, and the cell and line in one."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name
    ]
    line = error.lineno if isinstance(error, SyntaxError) else (frames[-1].lineno if frames else 0)
    if sys.excepthook is sys.__excepthook__:
        traceback.print_exception(type(error), error, error.__traceback__.tb_next)
    else:
        sys.excepthook(type(error), error, error.__traceback__.tb_next)
    print(f"{name}, line {line}: {type(error).__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 -m trainyard_program.notebook FILE.ipynb")
    sys.exit(run(sys.argv.pop(1)))
