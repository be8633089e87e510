"""Time to 94% on CIFAR-10: Trainyard's trainer against PyTorch, the same network, schedule and augmentation."""

import json
import sys
import time
from pathlib import Path

import networks
from contenders import Failed, parse_epochs

TARGET, EPOCHS, BATCH = 0.94, 24, 512
RECORD = 1 + 3 * 32 * 32
TRAIN_FILES = [f"data_batch_{i}.bin" for i in range(1, 6)]


def convert(source, folder, name, files):
    """CIFAR-10's records (label, pixels) into a file of pixels and one of labels. -> their paths."""
    pixels, labels = folder / f"{name}.pixels", folder / f"{name}.labels"
    with open(pixels, "wb") as to_pixels, open(labels, "wb") as to_labels:
        for file in files:
            data = (source / file).read_bytes()
            if not data or len(data) % RECORD:
                sys.exit(f"error: {source / file}: found {len(data)} bytes, expected records of {RECORD}")
            for at in range(0, len(data), RECORD):
                to_labels.write(data[at].to_bytes(4, sys.byteorder))
                to_pixels.write(data[at + 1:at + RECORD])
    return [str(pixels), str(labels)]


def describe(data, tiny):
    epochs, batch = (1, 8) if tiny else (EPOCHS, BATCH)
    training = {"epochs": epochs, "batch_size": batch, "precision": "fp32" if tiny else "bf16", "seed": 1,
                "label_smoothing": 0.1, "schedule": {"kind": "one_cycle", "peak_at": 0.2},
                "augmentation": {"flip": True, "shift": 4, "cutout": 8},
                "optimizer": {"kind": "sgd", "learning_rate": 0.4, "momentum": 0.9, "nesterov": True,
                              "weight_decay": 5e-4}}
    return {"network": networks.resnet9(8 if tiny else 64), "training": training, "threads": 1,
            "normalisation": {"mean": [0.4914, 0.4822, 0.4465], "inverse_std": [4.05, 4.11, 3.83]},
            "data": {"raw": data, "pixels": data[0], "labels": data[1]}, "warm_up_steps": 20, "steps": 1}


def summary(epochs):
    """Of (accuracy, seconds) of each epoch: when the target was first met."""
    seconds = 0.0
    found = {"epoch": 0, "seconds": 0.0, "epochs": len(epochs), "accuracy": epochs[-1][0]}
    for number, (accuracy, took) in enumerate(epochs, 1):
        seconds += took
        if accuracy >= TARGET and not found["epoch"]:
            found.update(epoch=number, seconds=seconds)
    return found


def run(bench):
    options = bench.options
    folder = Path(options.cifar) if options.cifar else None
    missing = [f for f in [*TRAIN_FILES, "test_batch.bin"] if not folder or not (folder / f).exists()]
    if missing:
        why = f"not run: {folder}: found no {missing[0]}" if folder else "not run: no folder of CIFAR-10 was given"
        for name in ("trainyard", "torch-compile"):
            print(f"{name}: {why}", flush=True)
            bench.append(contender=name, failed=why)
        return
    data = (convert(folder, bench.work, "train", TRAIN_FILES) + convert(folder, bench.work, "test", ["test_batch.bin"]))
    description = bench.work / "cifar10-94.json"
    backend = options.cpu_backend if options.cpu else "cuda"
    description.write_text(json.dumps({**describe(data, options.cpu), "backend": backend}), encoding="utf-8")
    device = ["--device", "cpu"] if options.cpu else []
    here, kind = Path(__file__).resolve().parent, "eager" if options.cpu else "compile"
    torch = [sys.executable, str(here / "torch_cifar.py"), kind, str(description), *device]
    train(bench, f"torch-{kind}", torch)
    wrong = bench.wait_for_programs()
    if wrong:
        return bench.fail("trainyard", wrong)
    train(bench, "trainyard", [str(Path(options.programs) / "engine_train"), str(description)])


def train(bench, name, command):
    """Runs it to its end, which prints a line for each epoch as engine_train does."""
    print(f"{name}: trains", flush=True)
    start, lines = time.monotonic(), []
    try:
        process = bench.start(name, command)
    except OSError as error:
        return bench.fail(name, str(error))
    try:
        while True:
            lines.append(process.line(bench.left() - 10, bench.left() - 10).decode(errors="replace"))
    except Failed as failed:
        why = str(failed)
    status = process.process.poll()
    process.stop()
    epochs = parse_epochs("\n".join(lines))
    if status != 0 or not epochs:
        return bench.fail(name, why)
    print(f"{name}: {len(epochs)} epochs, {time.monotonic() - start:.0f} s with starting", flush=True)
    bench.append(contender=name, **summary(epochs))
