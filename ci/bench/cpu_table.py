#!/usr/bin/env python3
"""The Markdown of what ci/bench.sh cpu measured, as docs/benchmarks.md has it. Usage: cpu_table.py FILE.json"""

import json
import math
import statistics
import sys
from pathlib import Path

import fashion_mnist
import networks
from gpu_table import number, verdict

OURS, OPS_SHOWN = "trainyard", 0.03


def cell(text):
    return str(text).replace("|", "/").replace("\n", " ")


def spread(values, show=number):
    """Median (lowest to highest)."""
    middle = show(statistics.median(values))
    return f"{middle} ({show(min(values))} to {show(max(values))})" if len(values) > 1 else middle


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    full = ([*row, *[""] * (len(head) - len(row))] for row in rows)
    return lines + [f"| {' | '.join(cell(value) for value in row)} |" for row in full]


def rates(net, row, what):
    """-> images/s of each round."""
    return [net["batch"] * one["steps"] / one["seconds"] for one in row.get(what, [])]


def median_rate(net, name, what):
    """-> images/s, or nothing where that was not measured."""
    found = rates(net, net["rows"].get(name, {}), what)
    return statistics.median(found) if found else None


def best_torch(net, what):
    """-> the name of PyTorch's fastest, or nothing."""
    measured = {name: median_rate(net, name, what) for name in net["rows"] if name.startswith("torch-")}
    return max((name for name, rate in measured.items() if rate), key=measured.get, default=None)


def ratio(net, name, what):
    """Trainyard's images/s over a contender's, in words for a cell."""
    ours, theirs = median_rate(net, OURS, what), median_rate(net, name, what)
    return f"{ours / theirs:.2f}x" if ours and theirs and name != OURS else ""


def speed_rows(name, net):
    best = {what: best_torch(net, what) for what in ("rounds", "inference")}
    for contender, row in net["rows"].items():
        if "failed" in row:
            yield [name, contender, row["failed"]]
            continue
        cells = [name, contender]
        for what in ("rounds", "inference"):
            said = ratio(net, contender, what)
            cells += [spread(rates(net, row, what)) if row.get(what) else "not measured",
                      f"**{said}**" if said and contender == best[what] else said]
        yield [*cells, losses(row)]


def asked_rows(nets):
    """What is asked of training, held to the fastest PyTorch."""
    for name, net in nets.items():
        rival, limits = best_torch(net, "rounds"), networks.cpu_nets()[name].fastest
        if rival and median_rate(net, OURS, "rounds") and not net.get("tiny"):
            found = median_rate(net, OURS, "rounds") / median_rate(net, rival, "rounds")
            yield [f"{name}, training, over {rival}", f"{found:.2f}x", " / ".join(f"{limit:g}x" for limit in limits),
                   verdict(found, limits)]


def asked_target_rows(targets):
    for name, part in targets.items():
        runs = at_its_best(part["target"], part["rows"].get(OURS, []))
        limits = fashion_mnist.TARGETS[name].seconds
        if runs and limits and not part.get("tiny"):
            seconds, (accept, aim) = statistics.median(seconds_to(part["target"], runs)), limits
            yield [f"Fashion-MNIST to {name}", seconds_text(seconds), f"{accept:.1f} s / {aim:.1f} s",
                   verdict(accept / seconds, (1, accept / aim))]


def losses(row):
    """From the first step's to the last round's; who computes nothing is fast."""
    if not row.get("rounds"):
        return ""
    first, last = row["loss"], row["rounds"][-1]["loss"]
    fell = last < 0.7 * first  # false for NaN
    return f"{first:.2f} to {last:.3g}" + ("" if fell else ", did NOT go down")


def of_all_threads(entries, key, **wanted):
    """-> the value on most threads, or nothing where it was not measured."""
    found = [e for e in entries if all(e[name] == value for name, value in wanted.items())]
    return max(found, key=lambda e: e["threads"])[key] if found else None


def share(value, of):
    return f"{value / of:.0%}" if of else "peak unknown"


def peak_rows(nets, peaks):
    flops_peak = of_all_threads(peaks.get("fma", []), "flops")
    l3, dram = (of_all_threads(peaks.get("triad", []), "bytes_per_second", **{"from": place})
                for place in ("L3", "DRAM"))
    for name, net in nets.items():
        training, inference = (median_rate(net, OURS, what) for what in ("rounds", "inference"))
        if not training or not inference:
            continue
        flops, traffic = training * net["training_flops"], training * net["training_bytes"]
        yield [name, f"{net['training_flops'] / 1e6:.1f}", f"{flops / 1e9:.0f}", share(flops, flops_peak),
               f"{inference * net['inference_flops'] / 1e9:.0f}",
               share(inference * net["inference_flops"], flops_peak), f"{traffic / 1e9:.1f}", share(traffic, l3),
               share(traffic, dram)]


def op_lines(name, net):
    """Where Trainyard's step spends its time: of each op at least some hundredths. And how long it waited for its batch,
    and how many were made ahead of it."""
    profile = net["rows"].get(OURS, {}).get("profile", {})
    ops = sorted(profile.get("ops", []), key=lambda op: -op[1])
    total = math.fsum(seconds for _, seconds in ops)
    shown = [(op, seconds) for op, seconds in ops if seconds >= OPS_SHOWN * total]
    if total:
        rest = total - math.fsum(seconds for _, seconds in shown)
        parts = [f"{op} {1e3 * seconds / profile['steps']:.2f}" for op, seconds in shown]
        waits = profile["waits"]
        yield [name, f"{1e3 * total / profile['steps']:.2f}",
               "; ".join(parts), f"{1e3 * rest / profile['steps']:.2f}",
               f"{1e3 * waits['seconds'] / profile['steps']:.2f}", f"{waits['ahead'] / waits['taken']:.0%}"]


def start_rows(starts):
    for name, row in starts["rows"].items():
        yield [name, row.get("failed") or spread(row["seconds"], lambda s: f"{s:.2f}")]


def seconds_to(target, runs):
    """-> of each run, until the first epoch after which the accuracy is there; endless where it never is."""
    found = []
    for run in runs:
        spent, seconds = 0.0, math.inf
        for accuracy, took in run["epochs"]:
            spent += took
            if accuracy >= target:
                seconds = min(seconds, spent)
        found.append(seconds)
    return found


def seconds_text(seconds):
    return f"{seconds:.1f} s" if seconds < math.inf else "never"


def mean_last(runs):
    return statistics.fmean(run["epochs"][-1][0] for run in runs)


def at_its_best(target, runs):
    """-> the runs with the peak of the rate that a trainer does better with: that meets the target earlier in the median,
    else ends higher. None where one failed."""
    if any("failed" in run for run in runs):
        return []
    peaks = [[run for run in runs if run["peak"] == peak] for peak in sorted({run["peak"] for run in runs})]
    return min(peaks, key=lambda some: (statistics.median(seconds_to(target, some)), -mean_last(some)), default=[])


def target_rows(targets):
    for name, part in targets.items():
        for trainer, runs in part["rows"].items():
            best = at_its_best(part["target"], runs)
            if not best:
                yield [name, trainer, next(run["failed"] for run in runs if "failed" in run)]
                continue
            seconds = seconds_to(part["target"], best)
            yield [name, trainer, spread(seconds, seconds_text), f"{sum(s < math.inf for s in seconds)} of {len(best)}",
                   f"{part['epochs']}{', flips' if part['flip'] else ''}", f"{best[0]['peak']:g}",
                   f"{mean_last(best):.4f}"]


def seed_row(name, part):
    """Mean and deviation over the seeds of both, and the difference in units of its standard error."""
    rows = {trainer: [run["epochs"][-1][0] for run in runs if "epochs" in run]
            for trainer, runs in part["rows"].items()}
    failed = [run["failed"] for runs in part["rows"].values() for run in runs if "failed" in run]
    if failed or any(len(values) < 2 for values in rows.values()) or len(rows) < 2:
        return [name, failed[0] if failed else "too few seeds"]
    (_, ours), (_, theirs) = rows.items()
    error = math.sqrt(sum(statistics.variance(v) / len(v) for v in (ours, theirs)))
    difference = statistics.fmean(ours) - statistics.fmean(theirs)
    said = [f"{statistics.fmean(v):.4f} ({statistics.stdev(v):.4f})" for v in (ours, theirs)]
    return [name, *said, f"{difference:+.4f}", f"{difference / error:+.1f}" if error else "none", str(len(ours))]


def peak_line(peaks):
    if "fma" not in peaks:
        return "The peaks were not measured."
    fma = ", ".join(f"{e['flops'] / 1e9:.0f} on {e['threads']}" for e in peaks["fma"])
    triad = ", ".join(f"{e['bytes_per_second'] / 1e9:.0f} from {e['from']} on {e['threads']}" for e in peaks["triad"])
    return f"Peaks: {fma} threads GFLOP/s of fp32 multiply-adds ({peaks['target']}); triad {triad} threads, GB/s."


def head(seen):
    machine = seen["machine"]
    versions = sorted({row["version"] for net in seen.get("speed", {}).values() for name, row in net["rows"].items()
                       if name != OURS and "version" in row})
    dates = sorted({part["at"][:10] for parts in seen.values() for part in parts.values()
                    if isinstance(part, dict) and "at" in part})
    when = f"{dates[0]} to {dates[-1]}" if len(dates) > 1 else "".join(dates)
    return (f"{machine['threads']} threads of {machine['cores']} cores, {machine['cpu']}, {machine['system']}, "
            f"{machine['c++']}; {'; '.join(versions) or 'no rivals'}; Trainyard {machine['trainyard']}; {when}.")


def render(seen):
    nets, peaks = seen.get("speed", {}), seen.get("peaks", {}).get("seen", {})
    lines = [head(seen)]
    if nets:
        lines += ["", *table(["network", "contender", "training, images/s", "Trainyard's ratio", "inference, images/s",
                              "Trainyard's ratio", "loss"], [r for n, net in nets.items() for r in speed_rows(n, net)])]
    asked = [*asked_rows(nets), *asked_target_rows(seen.get("targets", {}))]
    if asked:
        lines += ["", *table(["Trainyard", "measured", "accept / aim", ""], asked)]
    if nets and peaks:
        lines += ["", peak_line(peaks), "", *table(
            ["Trainyard", "training, MFLOP an image", "GFLOP/s", "of FMA peak", "inference, GFLOP/s", "of FMA peak",
             "training, GB/s", "of L3 triad", "of DRAM triad"], peak_rows(nets, peaks))]
    profiled = [line for name, net in nets.items() for line in op_lines(name, net)]
    if profiled:
        lines += ["", *table(["Trainyard", "step, ms", f"ops of {OPS_SHOWN:.0%} or more, ms", "others, ms",
                              "waited for its batch, ms", "batches made ahead"], profiled)]
    if "starts" in seen:
        lines += ["", *table(["from a process' start to its first step", "seconds"],
                             start_rows(seen["starts"]["seen"]))]
    if "targets" in seen:
        lines += ["", *table(["Fashion-MNIST to", "trainer", "training time", "runs that met it", "epochs",
                              "rate's peak", "accuracy at the end"], target_rows(seen["targets"]))]
    if "accuracy" in seen:
        lines += ["", *table(["test accuracy, mean (standard deviation)", "Trainyard", "PyTorch", "difference",
                              "in standard errors", "seeds"],
                             [seed_row(name, part) for name, part in seen["accuracy"].items()])]
    return "\n".join(lines) + "\n"


def ours_failed(seen):
    """Whether anything of Trainyard's did."""
    rows = [net["rows"].get(OURS, {}) for net in seen.get("speed", {}).values()]
    rows += [row for name, row in seen.get("starts", {}).get("seen", {}).get("rows", {}).items()
             if name.startswith(OURS)]
    rows += [run for part in ("targets", "accuracy") for one in seen.get(part, {}).values()
             for run in one["rows"].get(OURS, [])]
    return any("failed" in row for row in rows)


if __name__ == "__main__":
    print(render(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
