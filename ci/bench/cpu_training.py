"""Whole trainings on Fashion-MNIST, Trainyard's trainer and PyTorch by turns: seconds from a process' start to its
first step, seconds to an accuracy, and the accuracies of several seeds.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import fashion_mnist
from contenders import Contender, Failed, parse_epochs
from cpu_rounds import HERE, KEEP_PAGES

TRAIN_SECONDS, START_SECONDS = 600, 300  # at most
TRAINERS = {"trainyard": "", "torch-eager-tuned": "eager-tuned", "torch-compile": "compile"}
STARTS = {f"{name}{', with what it keeps' if kept else ''}": (kind, kept)
          for name, kind in (("trainyard", ""), ("torch-eager", "eager"), ("torch-compile", "compile"))
          for kept in (False, True)}


def environment(kind, work):
    if not kind:
        return {}
    return {"TORCHINDUCTOR_CACHE_DIR": str(work / "inductor-train"), **(KEEP_PAGES if "tuned" in kind else {})}


def command(kind, description, options):
    if kind:
        return [sys.executable, str(HERE / "cpu_torch_train.py"), kind, str(description)]
    return [str(Path(options.programs) / "engine_train"), str(description)]


def describe(recipe, peak, seed, options, **more):
    """Writes the description. -> its file."""
    file = Path(options.work) / "recipe.json"
    described = fashion_mnist.describe(recipe, peak, options.threads, seed, options.data)
    described["data"].update(more.pop("data", {}))
    file.write_text(json.dumps({**described, **more}), encoding="utf-8")
    return file


def train(kind, recipe, peak, seed, options):
    """-> {"epochs": [(accuracy on the test set, seconds of training)]}, or {"failed": why}."""
    work = Path(options.work)
    log = work / "train.log"
    try:
        # In a file of its own, so that what it prints does not wait for us.
        with open(log, "wb") as to:
            ran = subprocess.run(command(kind, describe(recipe, peak, seed, options), options), stdout=to,
                                 stderr=subprocess.STDOUT, timeout=TRAIN_SECONDS,
                                 env={**os.environ, **environment(kind, work)})
    except subprocess.TimeoutExpired:
        return {"failed": f"not finished in {TRAIN_SECONDS} s"}
    except OSError as error:
        return {"failed": str(error)}
    lines = log.read_text(errors="replace").strip().splitlines() or ["nothing was printed"]
    epochs = parse_epochs("\n".join(lines))
    if ran.returncode or len(epochs) != recipe.epochs:
        return {"failed": f"exit status {ran.returncode}: {lines[-1][:300]}"}
    return {"epochs": epochs}


def first_step_seconds(kind, kept, options):
    """From the start of the process until its first step is done; what it keeps (decoded images, compiled code) is there
    already or is not."""
    work = Path(options.work)
    cache, inductor, checkpoints = work / "cache", work / "inductor-train", work / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    if not kept:
        shutil.rmtree(cache, ignore_errors=True)
        shutil.rmtree(inductor, ignore_errors=True)
    cache.mkdir(exist_ok=True)
    file = describe(fashion_mnist.TARGETS["0.90"], 0.1, 1, options, data={"cache": str(cache)}, pause_at_step=1)
    start = time.monotonic()
    contender = Contender(kind, command(kind, file, options) + (["--first-step"] if kind else [str(checkpoints)]),
                          work / "start.log", environment(kind, work))
    try:
        while contender.line(start + START_SECONDS - time.monotonic(), START_SECONDS) != b"step 1":
            pass
        return time.monotonic() - start
    finally:
        contender.stop()


def measure_starts(options, save):
    rows = {name: {"seconds": []} for name in STARTS}
    for _ in range(options.rounds):
        for name, (kind, kept) in STARTS.items():
            try:
                rows[name].setdefault("seconds", []).append(first_step_seconds(kind, kept, options))
            except (Failed, OSError) as failed:
                rows[name] = {"failed": str(failed)}
    for name, row in rows.items():
        print(f"  {name}: {row.get('failed') or ' '.join(f'{s:.2f}' for s in row['seconds'])} s", flush=True)
    save("seen", {"rows": rows})


def by_turns(recipe, trainers, runs, options):
    """-> {trainer: [what was seen with each seed and peak of the rate]}."""
    rows = {name: [] for name in trainers}
    for seed, peak in itertools.product(range(1, runs + 1), recipe.peaks):
        for name, seen in rows.items():
            seen.append({"seed": seed, "peak": peak, **train(trainers[name], recipe, peak, seed, options)})
            row = seen[-1]
            accuracies = " ".join(f"{accuracy:.4f}" for accuracy, _ in row.get("epochs", []))
            seconds = sum(seconds for _, seconds in row.get("epochs", []))
            print(f"  {name}, seed {seed}, rate to {peak}: {row.get('failed') or f'{accuracies}, {seconds:.1f} s'}",
                  flush=True)
    return rows


def measure_targets(options, save):
    for name, recipe in fashion_mnist.TARGETS.items():
        if name in options.targets:
            print(f"to {name}: {recipe.epochs} epochs", flush=True)
            rows = by_turns(recipe, TRAINERS, min(options.rounds, recipe.runs), options)
            save(name, {"target": recipe.target, "epochs": recipe.epochs, "flip": recipe.flip, "tiny": options.tiny,
                        "rows": rows})


def measure_accuracy(options, save):
    trainers = {name: kind for name, kind in TRAINERS.items() if kind != "compile"}
    for name, recipe in fashion_mnist.COMPARED.items():
        print(f"{name}: {options.seeds} seeds", flush=True)
        save(name, {"epochs": recipe.epochs, "rows": by_turns(recipe, trainers, options.seeds, options)})
