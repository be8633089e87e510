#!/usr/bin/env python3
"""Holds the cpu backend to PyTorch and Keras on this machine. ci/bench.sh cpu calls it, with a Python that has them.

Usage: cpu_bench.py --programs FOLDER --results FILE.json [OPTION...]

Writes what it saw into FILE.json, part by part and network by network; what a call does not measure stays as it was.
Prints the tables of all that is in it (cpu_table.py). Options:
  --rounds N         turns of each contender, and runs to each target at most (5)
  --seeds N          of the part accuracy (5)
  --threads N        of each contender (one per core)
  --parts A,B        only these: peaks, speed, starts, targets, accuracy
  --nets A,B         only these networks of the part speed
  --contenders A,B   only these of the part speed
  --targets A,B      only these of the part targets
  --data FOLDER      of Fashion-MNIST's four files, as Debian has them
  --tiny             a test of this script: small networks
"""

import argparse
import fcntl
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

import cpu_rounds
import cpu_table
import cpu_training
import fashion_mnist
import networks

PARTS = ("peaks", "speed", "starts", "targets", "accuracy")


def said_by(*command):
    """The first line that a program prints, or nothing where it does not run."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    except OSError:
        return ""
    return ran.stdout.strip().split("\n")[0] if ran.returncode == 0 else ""


def machine(threads):
    info = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines())
    model = next((value.strip() for key, value in info.items() if key.strip() == "model name"), platform.machine())
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"cpu": model, "cores": os.cpu_count(), "threads": threads, "memory_gib": round(pages / 2**30),
            "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
            "kernel": platform.release(), "trainyard": said_by("git", "describe", "--always", "--dirty"),
            "python": platform.python_version(), "c++": said_by("c++", "--version")}


class Results:
    """The file, written anew with each thing seen."""

    def __init__(self, path, options):
        self.path = Path(path)
        self.seen = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        self.seen["machine"] = machine(options.threads)

    def save(self, part, name, values):
        values = {**values, "at": time.strftime("%Y-%m-%d %H:%M:%S"), "command": shlex.join(sys.argv)}
        self.seen.setdefault(part, {})[name] = values
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.seen, indent=1), encoding="utf-8")
        new.replace(self.path)


def measure_peaks(options, save):
    """What the cores and the memory can do, with nobody else computing."""
    program = str(Path(options.programs) / "cpu_peaks")
    try:
        ran = subprocess.run([program, str(options.threads)], check=True, capture_output=True, text=True, timeout=120)
        save("seen", json.loads(ran.stdout))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"the peaks were not measured: {error}", flush=True)
        save("seen", {"failed": str(error)})


def one_of(what, known):
    """An argument that is a list of some of the known."""
    def parse(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                sys.exit(f"error: --{what}: found '{name}', expected {', '.join(known)}")
        return names
    return parse


def count(text):
    if not text.isdecimal() or int(text) < 1:
        sys.exit(f"error: found '{text}', expected a number of 1 or more")
    return int(text)


def parse():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--programs", required=True)
    parser.add_argument("--results", required=True)
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--seeds", type=count, default=5)
    parser.add_argument("--threads", type=count, default=len(os.sched_getaffinity(0)))
    for what, known in (("parts", PARTS), ("nets", [*networks.cpu_nets()]), ("contenders", [*cpu_rounds.CONTENDERS]),
                        ("targets", [*fashion_mnist.TARGETS])):
        parser.add_argument(f"--{what}", type=one_of(what, known), default=list(known))
    parser.add_argument("--data", default=fashion_mnist.FOLDER)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    options.data = [str(Path(options.data) / Path(file).name) for file in fashion_mnist.FILES]
    options.work = str(Path(options.results).resolve().parent / "work")
    return options


def measure_all(options):
    results = Results(options.results, options)
    measure = {"peaks": measure_peaks, "speed": cpu_rounds.measure, "starts": cpu_training.measure_starts,
               "targets": cpu_training.measure_targets, "accuracy": cpu_training.measure_accuracy}
    for part in options.parts:
        print(f"\n== {part}", flush=True)
        measure[part](options, lambda name, values, part=part: results.save(part, name, values))
    print(f"\n{cpu_table.render(results.seen)}\nAll of it: {options.results}")
    if cpu_table.ours_failed(results.seen):
        sys.exit(1)  # a rival that fails is a row; we are what this proves


def main():
    options = parse()
    Path(options.work).mkdir(parents=True, exist_ok=True)
    with open(Path(options.work) / "lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit(f"error: another is measuring into {options.results}")
        measure_all(options)


if __name__ == "__main__":
    main()
