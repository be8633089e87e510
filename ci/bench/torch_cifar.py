"""Trains on CIFAR-10 in PyTorch as ci/bench/cifar.py describes it, and prints a line for each epoch as engine_train does.

Usage: torch_cifar.py eager|compile DESCRIPTION.json [--device cpu]
"""

import json
import sys
import time

import torch

from torch_gpu import Training, load_set


def one_cycle(training, steps):
    """-> the learning rate of each step (network/training.h)."""
    peak, at = training["optimizer"]["learning_rate"], training["schedule"]["peak_at"] * steps
    return [peak * (step / at if step < at else (steps - step) / (steps - at)) for step in range(steps)]


def accuracy(training, test, batch):
    images, labels = test
    training.model.eval()
    right, kept = 0, training.augment.images
    training.augment.images = images
    with torch.inference_mode(), torch.autocast(training.device.type, torch.bfloat16, enabled=training.bf16):
        for first in range(0, len(labels), batch):
            indices = torch.arange(first, min(first + batch, len(labels)), device=training.device)
            x = training.augment(indices, training=False)
            right += (training.model(x).argmax(1) == labels[indices]).sum().item()
    training.augment.images = kept
    training.model.train()
    return right / len(labels)


def main():
    kind, path, *options = sys.argv[1:]
    device = torch.device("cpu" if options else "cuda")
    with open(path, encoding="utf-8") as file:
        description = json.load(file)
    raw = description["data"]["raw"]
    test = load_set({"pixels": raw[2], "labels": raw[3]}, description["network"]["input"], device)
    training = Training(kind, description, device)
    training.prepare()  # compiles; only training is timed, from fresh weights
    accuracy(training, test, 1000)
    training.restart()
    options = description["training"]
    per_epoch = len(training.labels) // training.batch
    rates = one_cycle(options, per_epoch * options["epochs"])
    for epoch in range(options["epochs"]):
        training.wait()
        start = time.perf_counter()
        for rate in rates[epoch * per_epoch:(epoch + 1) * per_epoch]:
            for group in training.optimizer.param_groups:
                group["lr"] = rate
            loss = training.step()
        training.wait()
        seconds = time.perf_counter() - start
        reached = accuracy(training, test, 1000)
        step = (epoch + 1) * per_epoch
        print(f"epoch {epoch + 1} step {step} {loss.item()} 0 0 {reached} {rate}  {seconds} s", flush=True)


if __name__ == "__main__":
    main()
