#!/usr/bin/env python3
"""Proves the trainer on a backend with real processes: two runs are equal, a killed one continues bit for bit, and
checkpoints go from this backend to another and back.

Usage: trainer_check.py ENGINE_TRAIN BACKEND OTHER_BACKEND [PRECISION...]

Exit status 77: this build does not know BACKEND.
"""

import hashlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from networks import conv_norm_relu, dense, GLOBAL_POOL, max_pool

STEPS_PER_EPOCH, EPOCHS = 20, 3
SECONDS = 120  # for one run
# Wide enough that NVIDIA's libraries take part, with everything that a checkpoint has to carry.
NETWORK = {"input": [3, 12, 12], "classes": 5, "layers": [
    *conv_norm_relu(16, 3), max_pool(2), {"dropout": {"rate": 0.2}},
    {"residual": {"body": conv_norm_relu(16, 3) * 2}}, *conv_norm_relu(32, 3, 2), GLOBAL_POOL, dense(5)]}


def describe(backend, precision, **more):
    training = {"epochs": EPOCHS, "batch_size": 16, "precision": precision, "seed": 11, "label_smoothing": 0.1,
                "schedule": {"kind": "one_cycle"}, "augmentation": {"flip": True, "shift": 2, "cutout": 4},
                "optimizer": {"kind": "sgd", "learning_rate": 0.02, "momentum": 0.9, "nesterov": True}}
    return {"network": NETWORK, "training": training, "backend": backend, "threads": 2, "checkpoint_every_steps": 7,
            "data": {"patterns": {"train": 16 * STEPS_PER_EPOCH, "validation": 32, "noise": 60}}, **more}


class Check:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def start(self, name, description):
        (self.folder / name).mkdir(exist_ok=True)
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(description), encoding="utf-8")
        return subprocess.Popen([self.program, path, self.folder / name], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def finish(self, name, description):
        """Trains to the end. -> what it printed."""
        process = self.start(name, description)
        try:
            printed, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            sys.exit(f"error: {name}: not finished in {SECONDS} s")
        if process.returncode:
            if "is unknown" in errors and description["backend"] in errors:
                print(f"this build has no backend {description['backend']}: {errors.strip()}")
                sys.exit(77)
            sys.exit(f"error: {name}: exit status {process.returncode}: {errors.strip()}")
        return printed

    def checkpoint(self, name):
        return hashlib.sha256((self.folder / name / "checkpoint").read_bytes()).hexdigest()

    def kill_at(self, name, description, step):
        """SIGKILL once the trial has come to this step, where the process waits for it."""
        process = self.start(name, {**description, "pause_at_step": step})
        paused = any(line == "paused\n" for line in process.stdout)
        process.kill()
        _, errors = process.communicate()
        if not paused or process.returncode != -signal.SIGKILL:
            sys.exit(f"error: {name}: not killed at step {step}: exit status {process.returncode}: {errors.strip()}")


def last_loss(printed):
    """-> the training loss of the last epoch that was printed."""
    lines = [line for line in printed.splitlines() if line.startswith("epoch")]
    loss = float(lines[-1].split()[4]) if lines else math.nan
    if not math.isfinite(loss):
        sys.exit(f"error: expected epochs with a loss each, found {lines[-1:] or printed[-200:]}")
    return loss


def equal(what, found, expected):
    if found != expected:
        sys.exit(f"error: {what}: the checkpoints differ")
    print(f"{what}: the same bytes")


def check(program, backend, other, precision):
    with tempfile.TemporaryDirectory() as name:
        run = Check(program, Path(name))
        description = describe(backend, precision)
        run.finish("whole", description)
        whole = run.checkpoint("whole")
        run.finish("again", description)
        equal(f"{backend} {precision}, two runs", run.checkpoint("again"), whole)

        # Once in each epoch.
        chance = random.Random(3)
        for epoch in range(EPOCHS):
            run.kill_at("killed", description, epoch * STEPS_PER_EPOCH + chance.randrange(8, STEPS_PER_EPOCH - 4))
        run.finish("killed", description)
        equal(f"{backend} {precision}, killed {EPOCHS} times and continued", run.checkpoint("killed"), whole)

        losses = []
        for epoch, taker in enumerate((backend, other, backend), 1):
            printed = run.finish("crossed", describe(taker, precision, until_epoch=epoch, inexact=True))
            said = "not exact" in printed
            if said != (epoch > 1 and other != backend):
                sys.exit(f"error: {taker} in epoch {epoch}: 'not exact' was {'' if said else 'not '}said")
            losses.append(last_loss(printed))
        if losses[2] > losses[0]:
            sys.exit(f"error: {backend} -> {other} -> {backend}: the loss rose, epoch by epoch {losses}")
        print(f"{backend} {precision} -> {other} -> {backend}: continues")


def main():
    program, backend, other, *precisions = sys.argv[1:]
    for precision in precisions or ["fp32"]:
        check(os.path.abspath(program), backend, other, precision)


if __name__ == "__main__":
    main()
