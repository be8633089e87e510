"""How fast Trainyard, PyTorch and Keras train each network on the CPU, and compute it: each is a process of its own on
the same description; they take turns.
"""

import functools
import glob
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import networks
import pictures
from contenders import Contender, Failed

HERE = Path(__file__).resolve().parent
# malloc keeps its pages, in place of giving them back after each step.
KEEP_PAGES = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}
PREPARE_SECONDS, COMPILE_SECONDS, ROUND_SECONDS, WARM_UP_STEPS = 90, 300, 120, 5


@dataclass
class Kind:
    """How a contender is started: its script and what it is told first, or else Trainyard's program."""
    script: str = ""
    arguments: tuple = ()
    environment: dict = field(default_factory=dict)
    preload: str = ""  # an allocator in place of malloc
    prepare_seconds: float = PREPARE_SECONDS


TORCH = functools.partial(Kind, "cpu_torch.py")
CONTENDERS = {
    "trainyard": Kind(),
    "torch-eager": TORCH(("eager",)),
    "torch-eager-tuned": TORCH(("eager-tuned",), KEEP_PAGES),
    "torch-eager-jemalloc": TORCH(("eager-tuned",), preload="libjemalloc.so.2"),
    "torch-eager-tcmalloc": TORCH(("eager-tuned",), preload="libtcmalloc_minimal.so.4"),
    "torch-compile": TORCH(("compile",), prepare_seconds=COMPILE_SECONDS),
    "torch-compile-tuned": TORCH(("compile-tuned",), KEEP_PAGES, prepare_seconds=COMPILE_SECONDS),
    "keras": Kind("cpu_keras.py", environment={"TF_CPP_MIN_LOG_LEVEL": "2"}),
}


def environment(kind, work):
    """Raises Failed where an allocator is not here: the loader would go on without it."""
    variables = {"TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"), **kind.environment}
    if kind.preload:
        found = glob.glob(f"/usr/lib/*/{kind.preload}")
        if not found:
            raise Failed(f"{kind.preload} is not here")
        variables["LD_PRELOAD"] = found[0]
    return variables


def command(name, description, programs):
    kind = CONTENDERS[name]
    if kind.script:
        return [sys.executable, str(HERE / kind.script), *kind.arguments, str(description)]
    return [str(programs / "engine_speed"), str(description), "cpu"]


def describe(net, threads, data):
    channels = net.network["input"][0]
    return {"network": net.network, "training": {**networks.training(net), "precision": "fp32", "seed": 1},
            "data": data, "warm_up_steps": WARM_UP_STEPS, "steps": net.steps, "threads": threads,
            "normalisation": {"mean": [0.5] * channels, "inverse_std": [4.0] * channels}}


class Turns:
    """The contenders of one network. `rows` is what was seen of each: {"failed": why}, or its answers."""

    def __init__(self, net, names, options):
        self.names, self.options, self.work = names, options, Path(options.work)
        self.running, self.rows = {}, {}
        self.description = self.work / "network.json"
        described = describe(net, options.threads, pictures.write(net, self.work))
        self.description.write_text(json.dumps(described), encoding="utf-8")

    def fail(self, name, why):
        print(f"  {name}: {why}", flush=True)
        self.rows[name] = {"failed": why}
        if name in self.running:
            self.running.pop(name).stop()

    def prepare(self, name):
        """One after another, so that nobody measures his choices while another computes."""
        kind = CONTENDERS[name]
        try:
            self.running[name] = Contender(name, command(name, self.description, Path(self.options.programs)),
                                           self.work / f"{name}.log", environment(kind, self.work))
            ready = self.running[name].answer("ready", kind.prepare_seconds)
            self.rows[name] = {**ready, "rounds": [], "inference": []}
        except (Failed, OSError) as failed:
            self.fail(name, str(failed))

    def ask(self, name, what):
        """-> the answer, or nothing of one who failed."""
        try:
            return self.running[name].ask(what, ROUND_SECONDS) if name in self.running else None
        except Failed as failed:
            self.fail(name, f"in {what}: {failed}")

    def round(self, number):
        """Each time another begins."""
        first = number % len(self.names)
        for name in self.names[first:] + self.names[:first]:
            for what, kept in (("round", "rounds"), ("inference", "inference")):
                answer = self.ask(name, what)
                if answer:
                    self.rows[name][kept].append(answer)

    def run(self):
        try:
            for name in self.names:
                self.prepare(name)
            for number in range(self.options.rounds):
                self.round(number)
            profile = self.ask("trainyard", "profile")
            if profile:
                self.rows["trainyard"]["profile"] = profile
        finally:
            for contender in self.running.values():
                contender.stop(seconds=10)
        return self.rows


def measure(options, save):
    """Calls save(network's name, what was seen) after each network."""
    for name, net in networks.cpu_nets(options.tiny).items():
        if name not in options.nets:
            continue
        print(f"{name}: {options.rounds} rounds of {', '.join(options.contenders)}", flush=True)
        rows = Turns(net, options.contenders, options).run()
        save(name, {"batch": net.batch, "tiny": options.tiny, "rows": rows,
                    "training_flops": networks.training_flops(net.network),
                    "inference_flops": networks.forward_flops(net.network["layers"], tuple(net.network["input"]))[0],
                    "training_bytes": networks.training_bytes(net.network)})
