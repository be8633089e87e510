"""Trains on Fashion-MNIST in PyTorch on the CPU as ci/bench/fashion_mnist.py describes it, and prints a line for each
epoch as engine_train does.

Usage: cpu_torch_train.py KIND DESCRIPTION.json [--first-step]    KIND: those of cpu_torch.py

Compiles before the clock starts, and evaluates while it stands. --first-step: prints "step 1" once that is done, and
waits to be killed.
"""

import json
import signal
import sys
import time
from pathlib import Path

import torch

from cpu_torch import Training
from fashion_mnist import learning_rate, read_idx


def load(images_file, labels_file):
    """-> bytes (count, channels, height, width), and labels."""
    (count, height, width), pixels = read_idx(images_file)
    _, labels = read_idx(labels_file)
    images = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).reshape(count, 1, height, width)
    return images, torch.frombuffer(bytearray(labels), dtype=torch.uint8).long()


def load_sets(data):
    """-> images and labels to train on, then to test on. With a cache's folder they are kept there, as Trainyard does."""
    kept = Path(data["cache"]) / "sets.pt" if "cache" in data else None
    if kept and kept.exists():
        return torch.load(kept)
    files = data["idx"]
    sets = (*load(*files[:2]), *load(*files[2:]))
    if kept:
        torch.save(sets, kept)
    return sets


class Run:
    def __init__(self, kind, description):
        self.options = description["training"]
        self.batch, self.flip = self.options["batch_size"], self.options["augmentation"]["flip"]
        images, self.labels, test_images, self.test_labels = load_sets(description["data"])
        images, test_images = images.float() / 255, test_images.float() / 255
        std, mean = torch.std_mean(images, unbiased=False)
        self.images, self.test_images = (images - mean) / std, (test_images - mean) / std
        self.training = Training(kind, description)

    def batch_of(self, indices):
        x = self.images[indices]
        if self.flip:
            x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
        return x.contiguous(memory_format=self.training.layout), self.labels[indices]

    def step(self, indices, rate):
        for group in self.training.optimizer.param_groups:
            group["lr"] = rate
        return self.training.step(*self.batch_of(indices))

    def compile(self):
        """Both sizes of a batch, and from fresh weights again."""
        for size in {self.batch, len(self.labels) % self.batch} - {0}:
            for _ in range(2):
                self.step(torch.arange(size), 0.0)
        self.training.model.initialise(self.options["seed"])
        self.training.optimizer.state.clear()

    def accuracy(self):
        model = self.training.model.eval()
        with torch.inference_mode():
            right = sum((model(x.contiguous(memory_format=self.training.layout)).argmax(1) == y).sum().item()
                        for x, y in zip(self.test_images.split(500), self.test_labels.split(500)))
        model.train()
        return right / len(self.test_labels)

    def train(self):
        per_epoch = -(-len(self.labels) // self.batch)
        steps = per_epoch * self.options["epochs"]
        for epoch in range(self.options["epochs"]):
            order = torch.randperm(len(self.labels)).split(self.batch)
            start, losses = time.perf_counter(), []
            for i, indices in enumerate(order):
                rate = learning_rate(self.options, epoch * per_epoch + i, steps)
                losses.append(self.step(indices, rate))
            loss = torch.stack(losses).mean().item()
            seconds = time.perf_counter() - start
            print(f"epoch {epoch + 1} step {(epoch + 1) * per_epoch} {loss} 0 0 {self.accuracy()} {rate}  "
                  f"{seconds:.3f} s  {len(self.labels) / seconds:.0f} images/s", flush=True)


def main():
    kind, path, *options = sys.argv[1:]
    if options not in ([], ["--first-step"]):
        sys.exit(__doc__)
    with open(path, encoding="utf-8") as file:
        run = Run(kind, json.load(file))
    if options:
        run.step(torch.randperm(len(run.labels))[:run.batch], 0.01).item()
        print("step 1", flush=True)
        signal.pause()
    run.compile()
    run.train()


if __name__ == "__main__":
    main()
