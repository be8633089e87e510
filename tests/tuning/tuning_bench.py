"""Measures the tuner on Fashion-MNIST: epochs and seconds to a target, and how often a planted defect is named.

Usage: tuning_bench.py DRIVER [--results FOLDER] [--seeds N] [--jobs N] [--max-epochs N] [--only WORD]
                              [--images N]

DRIVER is tuning_run. Each run leaves a JSON file in the results folder; one that is there is not run
again. The tables are printed as docs/benchmarks.md has them. Needs Optuna (PyPI) for the peers.

Everybody starts with the same trial 1, a network that is too small. "grow" and "scratch" are
Trainyard's policy with and without inheritance, a run for each target. The searches draw from a
space (setups.cc), which no target influences: one run says when each target was met.
"""

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TARGETS = (0.90, 0.92, 0.93)
POLICIES = {"grow": "grows, inherits weights", "scratch": "the same policy from scratch"}
SEARCHES = {
    "random": "random search",
    "tpe": "TPE (Optuna)",
    "tpe-pruned": "TPE, median pruner (Optuna)",
}
PLANTS = ("nothing", "too small", "too large, unregularised", "rate 10x too high", "rate 10x too low",
          "too few epochs", "shuffled labels")
SETUPS = ("batch_norm", "plain", "adamw")


def draw(trial, dimension):
    path = dimension["path"]
    if "choices" in dimension:
        return trial.suggest_categorical(path, dimension["choices"])
    low, high, step = dimension["min"], dimension["max"], dimension["step"]
    if step == 1:
        return trial.suggest_int(path, int(low), int(high))
    return trial.suggest_float(path, low, high, log=dimension["log"])


class Server:
    """The driver, training points that are named to it."""

    def __init__(self, arguments):
        command = [arguments.driver, "--serve", "--images", str(arguments.images)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.offer = self.hear()

    def say(self, message):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the driver ended with exit code {self.process.wait()}")
        return json.loads(line)

    def epochs(self, point):
        """Its rows as they come; send(False) ends it."""
        self.say(point)
        while "done" not in (row := self.hear()):
            go = yield row
            self.say({"go": go is not False})

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def search(method, seed, arguments):
    """All trials of one search, until the highest target is met or the epochs are spent."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = (optuna.samplers.RandomSampler(seed=1000 + seed) if method == "random" else
               optuna.samplers.TPESampler(seed=2000 + seed))
    pruner = (optuna.pruners.MedianPruner(n_warmup_steps=1) if method == "tpe-pruned" else
              optuna.pruners.NopPruner())
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    server = Server(arguments)
    study.enqueue_trial(server.offer["start"])
    rows = []
    trials = []
    while len(rows) < arguments.max_epochs and not any(r["val"] >= max(TARGETS) for r in rows):
        trial = study.ask()
        point = {d["path"]: draw(trial, d) for d in server.offer["space"]}
        best = 0.0
        pruned = False
        epochs = server.epochs({"point": point, "seed": seed})
        row = next(epochs, None)
        while row is not None:
            accuracy = row["val_accuracy"] or 0.0  # null: the loss is no number any more
            best = max(best, accuracy)
            rows.append({"val": accuracy, "cpu_seconds": row["cpu_seconds"]})
            trial.report(accuracy, row["epoch"])
            pruned = bool(trial.should_prune())  # NumPy's is no JSON
            over = best >= max(TARGETS) or len(rows) >= arguments.max_epochs
            try:
                row = epochs.send(not (pruned or over))
            except StopIteration:
                row = None
        study.tell(trial, None if pruned else best,
                   optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE)
        trials.append({**point, "best": best, "pruned": pruned})
    server.close()
    return {"rows": rows, "trials": trials}


def drive(arguments, *options):
    command = [arguments.driver, "--max-epochs", str(arguments.max_epochs), "--images",
               str(arguments.images), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def runs(arguments):
    """Name of the result -> what makes it."""
    seeds = range(1, arguments.seeds + 1)
    for seed in seeds:
        for target in TARGETS:
            for method in POLICIES:
                yield f"{method}-{target}-{seed}", lambda m=method, t=target, s=seed: drive(
                    arguments, "--method", m, "--target", str(t), "--seed", str(s))
        for method in SEARCHES:
            yield f"{method}-{seed}", lambda m=method, s=seed: search(m, s, arguments)
    for plant in PLANTS:
        for setup in SETUPS:
            for seed in seeds:
                name = f"plant-{plant}-{setup}-{seed}".replace(" ", "_").replace(",", "")
                yield name, lambda p=plant, u=setup, s=seed: {"plant": p, **drive(
                    arguments, "--plant", p, "--setup", u, "--seed", str(s))}


def run_all(arguments):
    folder = Path(arguments.results)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {name: make for name, make in runs(arguments) if arguments.only in name}

    def run(name):
        path = folder / f"{name}.json"
        if not path.exists():
            path.with_suffix(".tmp").write_text(json.dumps(wanted[name]()))
            path.with_suffix(".tmp").rename(path)
            print(f"{name} done", file=sys.stderr, flush=True)
        return name, json.loads(path.read_text())

    with ThreadPoolExecutor(arguments.jobs) as pool:
        return dict(pool.map(run, wanted))


def cost(result, target):
    """Epochs and seconds until the target; None where it was not met."""
    if "rows" in result:
        for epoch, row in enumerate(result["rows"], 1):
            if row["val"] >= target:
                return epoch, row["cpu_seconds"]
        return None
    return (result["epochs"], result["cpu_seconds"]) if result["met"] else None


def spread(values, cap, form):
    """Median (lowest to highest); beyond the cap where a run spent its epochs in vain."""
    ranked = sorted(float("inf") if v is None else v for v in values)
    text = [form(v) if v < float("inf") else cap for v in
            (statistics.median_low(ranked), ranked[0], ranked[-1])]
    return f"{text[0]} ({text[1]} to {text[2]})"


def print_costs(results, arguments):
    print(f"| epochs (seconds of one core) to | {' | '.join(f'{t:.2f}' for t in TARGETS)} |")
    print("| --- |" + " --- |" * len(TARGETS))
    for method, title in {**POLICIES, **SEARCHES}.items():
        cells = []
        for target in TARGETS:
            names = [f"{method}-{target}-{s}" if method in POLICIES else f"{method}-{s}"
                     for s in range(1, arguments.seeds + 1)]
            costs = [cost(results[n], target) for n in names if n in results]
            if not costs:
                cells.append("")
                continue
            epochs = spread([c and c[0] for c in costs], f"> {arguments.max_epochs}",
                            lambda v: f"{v:.1f}".removesuffix(".0"))
            seconds = spread([c and c[1] for c in costs], "-", lambda v: f"{v:.0f} s")
            cells.append(f"{epochs}; {seconds}")
        if any(cells):
            print(f"| {title} | {' | '.join(cells)} |")


def print_diagnoses(results):
    planted = [r for name, r in results.items() if name.startswith("plant-")]
    found = sorted({r["finding"] for r in planted})
    print(f"\n| planted | named | {' | '.join(f or 'target met' for f in found)} |")
    print("| --- | --- |" + " --- |" * len(found))
    for plant in PLANTS:
        mine = [r for r in planted if r["plant"] == plant]
        if not mine:
            continue
        counts = [sum(r["finding"] == f for r in mine) or "" for f in found]
        right = sum(r["right"] for r in mine)
        print(f"| {plant} | {right} of {len(mine)} | {' | '.join(map(str, counts))} |")
    if planted:
        print(f"\nnamed: {sum(r['right'] for r in planted)} of {len(planted)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("driver")
    parser.add_argument("--results", default="build/tuning")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, a thread each")
    parser.add_argument("--max-epochs", type=int, default=100)
    parser.add_argument("--images", type=int, default=60000)
    parser.add_argument("--only", default="", help="runs whose names have this in them")
    arguments = parser.parse_args()
    results = run_all(arguments)
    print_costs(results, arguments)
    print_diagnoses(results)


if __name__ == "__main__":
    main()
