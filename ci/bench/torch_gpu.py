"""Trains a network in PyTorch and says how fast: a contender of ci/bench/gpu_rounds.py.

Usage: torch_gpu.py eager|compile|graph DESCRIPTION.json [--device cpu]

The description is that of tests/worker/engine/engine_speed.cc. PyTorch gets what makes it fast: images that stay
on the GPU, channels_last, bf16 autocast, cuDNN that chooses by measuring, a fused optimizer. Timed is what
Trainyard's step does: gather, flip and shift, forward, loss, backward, update. `compile` is
torch.compile(mode="max-autotune") of all up to the loss; `graph` captures a whole eager step by hand.
"""

import json
import math
import sys
import time

import torch
import torch.nn.functional as F

import protocol
from torch_network import Network


def load_set(data, shape, device):
    """-> bytes (count, height, width, channels), which makes channels_last images by a gather, and labels."""
    with open(data["pixels"], "rb") as file:
        pixels = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8).reshape(-1, *shape)
    with open(data["labels"], "rb") as file:
        labels = torch.frombuffer(bytearray(file.read()), dtype=torch.int32).long()
    return pixels.permute(0, 2, 3, 1).contiguous().to(device), labels.to(device)


class Augment:
    """Images by their numbers: each flipped by chance, shifted by up to `shift` pixels, zeros moving in, and with a
    square of zeros cut out."""

    def __init__(self, images, description):
        augmentation = description["training"]["augmentation"]
        self.images, self.shift = images, augmentation.get("shift", 0)
        self.flip, self.cutout = augmentation.get("flip", False), augmentation.get("cutout", 0)
        device, normalisation = images.device, description["normalisation"]
        self.rows = torch.arange(images.shape[1], device=device)
        self.columns = torch.arange(images.shape[2], device=device)
        inverse_std = torch.tensor(normalisation["inverse_std"], device=device)
        self.scale = inverse_std / 255
        self.offset = -torch.tensor(normalisation["mean"], device=device) * inverse_std

    def shifted(self, at, size, count):
        moved = at + torch.randint(-self.shift, self.shift + 1, (count, 1), device=at.device)
        return moved.clamp(0, size - 1), (moved >= 0) & (moved < size)

    def square(self, at, size, count):
        """-> along one axis, where the square lies; it may reach over the edge."""
        first = torch.randint(0, size, (count, 1), device=at.device) - self.cutout // 2
        return (at >= first) & (at < first + self.cutout)

    def __call__(self, indices, training=True):
        if not training:
            x = self.images[indices] * self.scale + self.offset
            return x.permute(0, 3, 1, 2)
        count, (_, height, width, _) = len(indices), self.images.shape
        rows, rows_inside = self.shifted(self.rows, height, count)
        columns, columns_inside = self.shifted(self.columns, width, count)
        if self.flip:
            flipped = torch.rand(count, 1, device=indices.device) < 0.5
            columns = torch.where(flipped, width - 1 - columns, columns)
        x = self.images[indices[:, None, None], rows[:, :, None], columns[:, None, :]]
        x = x * self.scale + self.offset
        inside = rows_inside[:, :, None, None] & columns_inside[:, None, :, None]
        if self.cutout:
            rows, columns = self.square(self.rows, height, count), self.square(self.columns, width, count)
            inside = inside & ~(rows[:, :, None, None] & columns[:, None, :, None])
        return torch.where(inside, x, 0.0).permute(0, 3, 1, 2)


def make_optimizer(model, training, device):
    """Decays weights only, as Trainyard does."""
    options = training["optimizer"]
    decayed = [t for name, t in model.named_tensors() if name.endswith(".weight")]
    others = [t for name, t in model.named_tensors() if name.endswith((".bias", ".gamma", ".beta"))]
    groups = [{"params": decayed, "weight_decay": options["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    fused = {"fused": True} if device.type == "cuda" else {}
    return torch.optim.SGD(groups, lr=options["learning_rate"], momentum=options["momentum"],
                           nesterov=options["nesterov"], **fused)


class Training:
    def __init__(self, kind, description, device):
        self.kind, self.description, self.device = kind, description, device
        self.bf16 = description["training"]["precision"] == "bf16"
        torch.manual_seed(1)
        torch.backends.cudnn.benchmark = True
        if description["training"]["precision"] == "fp32":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self.images, self.labels = load_set(description["data"], description["network"]["input"], device)
        self.augment = Augment(self.images, description)
        self.model = Network(description["network"])
        self.model.initialise(1)
        self.model.to(device, memory_format=torch.channels_last)
        self.optimizer = make_optimizer(self.model, description["training"], device)
        self.batch = description["training"]["batch_size"]
        self.smoothing = description["training"].get("label_smoothing", 0.0)
        self.order = torch.randperm(len(self.labels), device=device)
        self.at = 0
        self.loss_of = self.eager_loss
        if kind == "compile":
            self.loss_of = torch.compile(self.eager_loss, mode="max-autotune")
        self.graph = None

    def eager_loss(self, indices):
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.model(self.augment(indices))
        return F.cross_entropy(logits.float(), self.labels[indices], label_smoothing=self.smoothing)

    def next_batch(self):
        if self.at + self.batch > len(self.order):
            self.order, self.at = torch.randperm(len(self.labels), device=self.device), 0
        self.at += self.batch
        return self.order[self.at - self.batch:self.at]

    def step_on(self, indices):
        if self.kind == "compile":
            torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(indices)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def step(self):
        """-> the loss, on the device: it is overwritten by the next step."""
        indices = self.next_batch()
        if self.graph is None:
            return self.step_on(indices)
        self.graph_indices.copy_(indices)
        self.graph.replay()
        return self.graph_loss

    def capture(self):
        """The whole step as one graph, as PyTorch's documentation captures it."""
        self.graph_indices = self.next_batch().clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step_on(self.graph_indices)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self.graph_loss = self.step_on(self.graph_indices)
        self.graph = graph

    def prepare(self):
        """Warms up. -> the first step's loss."""
        first = self.step().item()
        if self.kind == "graph":
            self.capture()
        for _ in range(self.description["warm_up_steps"]):
            self.step()
        self.wait()
        return first

    def restart(self):
        """From fresh weights, compiled as it is."""
        self.model.initialise(1)
        self.optimizer.state.clear()
        self.at = len(self.order)

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def round(self):
        steps = self.description["steps"]
        for _ in range(min(steps, 3)):
            self.step()
        self.wait()
        start = time.perf_counter()
        for _ in range(steps):
            loss = self.step()
        self.wait()
        seconds = time.perf_counter() - start
        return {"steps": steps, "seconds": seconds, "loss": loss.item()}

    def profile(self):
        """Time in kernels and copies, by the profiler, overlaps counted once."""
        steps = min(self.description["steps"], 10)
        activities = [torch.profiler.ProfilerActivity.CUDA] if self.device.type == "cuda" else [
            torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities) as profiler:
            for _ in range(steps):
                self.step()
            self.wait()
        spans = device_spans(profiler) if self.device.type == "cuda" else []
        return {"steps": steps, "kernels": len(spans), "busy_seconds": busy_seconds(spans)}


def device_spans(profiler):
    """-> (start, end) in us of everything that ran on the GPU."""
    return [(e.time_range.start, e.time_range.end) for e in profiler.events()
            if str(e.device_type).endswith("CUDA") and not getattr(e, "is_user_annotation", False)]


def busy_seconds(spans):
    """Of spans in us: the time in which at least one was running."""
    busy, until = 0.0, -math.inf
    for start, end in sorted(spans):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy * 1e-6


def memory_bytes(device):
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else 0


def main():
    kind, path, *options = sys.argv[1:]
    if kind not in ("eager", "compile", "graph") or options not in ([], ["--device", "cpu"]):
        sys.exit(__doc__)
    device = torch.device("cpu" if options else "cuda")
    if kind == "graph" and device.type == "cpu":
        sys.exit("error: a graph is captured on a GPU only")
    if device.type == "cpu":
        torch.set_num_threads(1)
    with open(path, encoding="utf-8") as file:
        training = Training(kind, json.load(file), device)
    loss = training.prepare()
    protocol.say("ready", version=f"torch {torch.__version__}", loss=loss, memory_bytes=memory_bytes(device))
    protocol.answer({"round": training.round, "profile": training.profile})


if __name__ == "__main__":
    main()
