#!/usr/bin/env python3
"""The table of all that ci/gpu_check.sh bench measured. Usage: gpu_table.py FOLDER

Reads FOLDER/bench.jsonl (of each network and contender the last row counts), the device's peaks from
FOLDER/peaks.json, and what ci/gpu_check.sh check found; writes FOLDER/bench.md.
"""

import json
import statistics
import sys
from pathlib import Path

import networks

OURS = ("trainyard", "trainyard-own")
RIVALS = ("torch-eager", "torch-compile", "torch-graph")
ALL = OURS + RIVALS
MEANING = """
images/s: median of the rounds (lowest to highest); the contenders run by turns. Ratio: Trainyard's images/s over
the rival's. kernels: kernels, copies and fills of one step. gap: the part of a step's time in which none of them
runs, that is the step without a profiler less the time that a profiler sees kernels busy. of peak: 3 times the
forward operations of convolutions and dense layers, but for the first layer's data gradient, over the bf16 `mma` peak
measured on the device.
trainyard: with NVIDIA's libraries; trainyard-own: with our kernels alone."""


def read(folder):
    """-> {(net, contender): the last row}; a row of failure counts only where nothing was measured since."""
    rows = {}
    path = folder / "bench.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        row = json.loads(line)
        rows[row["net"], row["contender"]] = row
    return rows


def peak(folder):
    """-> bf16 operations per second, or 0 where they were not measured."""
    for name in ("peaks.json", "device_table.json"):
        if (folder / name).exists():
            return json.loads((folder / name).read_text(encoding="utf-8")).get("mma_bf16_flops", 0)
    return 0


def rates(row):
    """-> images/s of each round, ascending."""
    return sorted(row["batch"] * r["steps"] / r["seconds"] for r in row["rounds"])


def median(row):
    return statistics.median(rates(row))


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def gap(row):
    profile = row.get("profile", {})
    if not profile.get("kernels"):
        return "not told | not told"
    step = row["batch"] / median(row)
    busy = profile["busy_seconds"] / profile["steps"]
    if busy < step / 20:  # what a graph launches was not recorded, only what is copied beside it
        return "not told | not told"
    left = max(0.0, step - busy)
    return f"{profile['kernels'] / profile['steps']:.0f} | {left * 1e6:.0f} us ({left / step:.0%})"


def measured(row, bf16_peak):
    all_rates = rates(row)
    step_ms = 1000 * row["batch"] / median(row)
    share = f"{row['flops'] * median(row) / bf16_peak:.1%}" if bf16_peak else "peak unknown"
    losses = f"{row['loss']:.2f} to {row['rounds'][-1]['loss']:.3f}"
    return (f"{number(median(row))} ({number(all_rates[0])} to {number(all_rates[-1])}) | {step_ms:.3g} | {gap(row)} | "
            f"{share} | {losses} | {row['memory_bytes'] / 2**30:.1f} GiB")


def verdict(ratio, limits):
    accept, aim = limits
    return "pass, as aimed" if ratio >= aim else "pass" if ratio >= accept else "below"


def ratio_lines(net, rows):
    """Trainyard's images/s over each rival's, and what is asked of it."""
    wanted = networks.gpu_nets()[net]
    limits = {"torch-eager": wanted.eager, "torch-compile": wanted.compiled}
    for rival in RIVALS:
        for ours in OURS:
            if not all("rounds" in rows.get((net, name), {}) for name in (ours, rival)):
                continue
            ratio = median(rows[net, ours]) / median(rows[net, rival])
            asked = ""
            if rival in limits and not rows[net, ours].get("tiny"):
                asked = f"{limits[rival][0]:g} / {limits[rival][1]:g} | {verdict(ratio, limits[rival])}"
            yield f"| {net} | {ours} | {rival} | {ratio:.2f} | {asked or '|'} |"


def losses_alike(net, rows):
    """Whether all contenders learned: a contender that computes nothing is fast."""
    good, bad = [], []
    for name in ALL:
        row = rows.get((net, name), {})
        if "rounds" in row:
            fell = row["rounds"][-1]["loss"] < 0.7 * row["loss"]  # false for NaN
            (good if fell else bad).append(name)
    if bad:
        return f"{net}: the loss of {', '.join(bad)} did NOT go down: its speed says nothing."
    return f"{net}: the loss of every contender went down." if good else ""


def cifar_lines(rows):
    for (net, contender), row in rows.items():
        if net == "cifar10-94" and "failed" not in row:
            reached = f"{row['seconds']:.2f} s, epoch {row['epoch']}" if row.get("epoch") else "not reached"
            yield f"| {contender} | {reached} | {row['accuracy']:.4f} after {row['epochs']} epochs |"


def render(folder):
    rows, bf16_peak = read(folder), peak(folder)
    devices = sorted({f"{row['device']}, {row['at'][:10]}" for row in rows.values()})
    lines = [f"Measured on {'; '.join(devices)}." if devices else "Nothing was measured.", "",
             "| network | contender | images/s | ms a step | kernels | gap | of peak | loss | memory |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for net in networks.gpu_nets():
        for name in ALL:
            row = rows.get((net, name))
            if row and "failed" in row:
                lines.append(f"| {net} | {name} | {row['failed'].replace('|', '/')} | | | | | | |")
            elif row:
                lines.append(f"| {net} | {name} | {measured(row, bf16_peak)} |")
    lines += ["", "| network | Trainyard | rival | ratio | accept / aim | |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [line for net in networks.gpu_nets() for line in ratio_lines(net, rows)]
    lines += ["", *filter(None, (losses_alike(net, rows) for net in networks.gpu_nets()))]
    reached = list(cifar_lines(rows))
    if reached:
        lines += ["", "| CIFAR-10 to 94% | training time, first epoch of 94% or more | accuracy |",
                  "| --- | --- | --- |", *reached]
    skipped = [f"cifar10-94, {contender}: {row['failed']}" for (net, contender), row in rows.items()
               if net == "cifar10-94" and "failed" in row]
    if (folder / "summary.md").exists():
        lines += ["", "Of ci/gpu_check.sh check:", "", (folder / "summary.md").read_text(encoding="utf-8").strip()]
    text = "\n".join([*lines, *(["", *skipped] if skipped else []), MEANING]) + "\n"
    (folder / "bench.md").write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    print(render(Path(sys.argv[1])))
