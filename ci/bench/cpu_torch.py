"""Trains a network in PyTorch on the CPU and says how fast: a contender of ci/bench/cpu_rounds.py.

Usage: cpu_torch.py eager|eager-tuned|compile|compile-tuned DESCRIPTION.json

The description is that of tests/worker/engine/engine_speed.cc. The images lie in memory as floats, ready to compute
with: Trainyard's step gathers and normalises bytes, PyTorch's does not. `tuned` is channels_last, a fused optimizer
and, compiled, mode="max-autotune" and weights frozen for inference; the allocator is its environment's.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F

import protocol
from torch_gpu import load_set
from torch_network import Network

KINDS = ("eager", "eager-tuned", "compile", "compile-tuned")


def groups(model, weight_decay):
    """Decays weights only, as Trainyard does."""
    decayed = [t for name, t in model.named_tensors() if name.endswith(".weight")]
    others = [t for name, t in model.named_tensors() if name.endswith((".bias", ".gamma", ".beta"))]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


class Training:
    """A model, its optimizer and one step of both."""

    def __init__(self, kind, description):
        if kind not in KINDS:
            sys.exit(f"error: found the kind '{kind}', expected {', '.join(KINDS)}")
        self.tuned, self.compiled = kind.endswith("tuned"), kind.startswith("compile")
        torch.set_num_threads(description["threads"])
        torch.manual_seed(description["training"]["seed"])
        self.layout = torch.channels_last if self.tuned else torch.contiguous_format
        self.model = Network(description["network"])
        self.model.initialise(description["training"]["seed"])
        self.model.to(memory_format=self.layout)
        options = description["training"]["optimizer"]
        self.optimizer = torch.optim.SGD(
            groups(self.model, options["weight_decay"]), lr=options["learning_rate"], momentum=options["momentum"],
            nesterov=options["nesterov"], **({"fused": True} if self.tuned else {}))
        self.forward = self.model
        if self.compiled:
            if self.tuned:
                from torch._inductor import config  # is loaded for those who compile only
                config.freezing = True
            self.forward = torch.compile(self.model, **({"mode": "max-autotune"} if self.tuned else {}))

    def step(self, x, labels):
        """-> the loss, a tensor."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.forward(x), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class Speed:
    def __init__(self, kind, description):
        self.training, self.steps = Training(kind, description), description["steps"]
        self.warm_up_steps, self.batch = description["warm_up_steps"], description["training"]["batch_size"]
        images, self.labels = load_set(description["data"], description["network"]["input"], torch.device("cpu"))
        normalisation = description["normalisation"]
        x = (images / 255 - torch.tensor(normalisation["mean"])) * torch.tensor(normalisation["inverse_std"])
        self.images = x.permute(0, 3, 1, 2).contiguous(memory_format=self.training.layout)
        self.at = 0

    def next_batch(self):
        at = self.at if self.at + self.batch <= len(self.labels) else 0
        self.at = at + self.batch
        return self.images[at:at + self.batch], self.labels[at:at + self.batch]

    def train(self, steps):
        self.training.model.train()
        for _ in range(steps):
            loss = self.training.step(*self.next_batch())
        return loss.item()

    def infer(self, steps):
        self.training.model.eval()
        with torch.inference_mode():
            for _ in range(steps):
                self.training.forward(self.next_batch()[0])

    def prepare(self):
        """-> the first step's loss."""
        first = self.train(1)
        self.train(self.warm_up_steps)
        self.infer(3)
        return first

    def round(self):
        self.train(min(self.steps, 3))
        start = time.perf_counter()
        loss = self.train(self.steps)
        return {"steps": self.steps, "seconds": time.perf_counter() - start, "loss": loss}

    def inference(self):
        self.infer(min(self.steps, 3))
        start = time.perf_counter()
        self.infer(self.steps)
        return {"steps": self.steps, "seconds": time.perf_counter() - start}


def main():
    kind, path = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        speed = Speed(kind, json.load(file))
    loss = speed.prepare()
    protocol.say("ready", version=f"torch {torch.__version__}", loss=loss)
    protocol.answer({"round": speed.round, "inference": speed.inference})


if __name__ == "__main__":
    main()
