#!/usr/bin/env python3
"""Measures one network: Trainyard and PyTorch by turns, each a process of its own on the same description.

Usage: gpu_rounds.py NET --results FOLDER --work FOLDER --programs FOLDER [OPTION...]

Appends what it saw to FOLDER/bench.jsonl, and writes FOLDER/bench.md anew, the table of all that was appended.
The programs are Trainyard's (engine_device_speed, engine_train). Options:
  --built FILE     the programs are there once this file is: "ok", or why not. PyTorch prepares meanwhile
  --library-path F what LD_LIBRARY_PATH of Trainyard's programs is, in a file that --built waits for
  --seconds N      all of it ends by then (540); who is not prepared by then is not measured
  --rounds N       timed rounds of each (7)
  --cifar FOLDER   of cifar10-94: where data_batch_1.bin to 5 and test_batch.bin are
  --cpu            a test of this script: small networks in fp32 on the CPU and on the emulated machine
  --contenders A,B only these
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import gpu_table
import networks
import pictures
from contenders import Contender, Failed

HERE = Path(__file__).resolve().parent
CIFAR = "cifar10-94"
# Who prepares longest comes first: it does so while Trainyard is being built.
CONTENDERS = ["torch-compile", "torch-eager", "torch-graph", "trainyard", "trainyard-own"]
TORCH_ENVIRONMENT = {
    # Graphs that were captured before the profiler started are seen by it.
    "DISABLE_CUPTI_LAZY_REINIT": "1", "TEARDOWN_CUPTI": "0",
}
PREPARE_SECONDS, COMPILE_SECONDS, ROUND_SECONDS = 90, 300, 60


def describe(net, precision, data, cache_folder):
    channels = net.network["input"][0]
    training = {**networks.training(net), "precision": precision, "seed": 1}
    return {"network": net.network, "training": training, "data": data, "cache_folder": cache_folder,
            "warm_up_steps": 3 if net.steps < 10 else 20,
            "normalisation": {"mean": [0.5] * channels, "inverse_std": [4.0] * channels}, "steps": net.steps}


class Bench:
    def __init__(self, options):
        self.options, self.net_name = options, options.net
        self.results, self.work = Path(options.results), Path(options.work)
        self.until = time.monotonic() + options.seconds
        self.running, self.rows, self.failed = {}, {}, []

    def left(self):
        return self.until - time.monotonic()

    def append(self, **row):
        row = {"net": self.net_name, "at": time.strftime("%Y-%m-%d %H:%M:%S"), "device": device(self.options.cpu),
               "tiny": self.options.cpu, **row}
        with open(self.results / "bench.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def wait_for_programs(self):
        """-> what is wrong with them, or nothing."""
        built = self.options.built
        while built and not Path(built).exists():
            if self.left() < 60:
                return "the build was not finished in time"
            time.sleep(0.2)
        said = Path(built).read_text(encoding="utf-8").strip() if built else "ok"
        return "" if said == "ok" else said

    def command(self, name, description):
        if name.startswith("torch-"):
            kind = name.removeprefix("torch-")
            device_option = ["--device", "cpu"] if self.options.cpu else []
            return [sys.executable, str(HERE / "torch_gpu.py"), kind, str(description), *device_option]
        programs = Path(self.options.programs)
        if self.options.cpu:  # without NVIDIA's libraries, a backend of the CPU takes the first place
            if name == "trainyard":
                return [str(programs / "engine_speed"), str(description), self.options.cpu_backend]
            return [str(programs / "engine_emulated_speed"), str(description), "own"]
        return [str(programs / "engine_device_speed"), str(description), "own" if name.endswith("own") else "libraries"]

    def environment(self, name):
        """PyTorch brings its own libraries, and must not get others."""
        if name.startswith("torch-"):
            return {"TORCHINDUCTOR_CACHE_DIR": str(self.work / "inductor"), **TORCH_ENVIRONMENT}
        if not self.options.library_path:
            return {}
        ours = Path(self.options.library_path).read_text(encoding="utf-8").strip()
        return {"LD_LIBRARY_PATH": ":".join(filter(None, [ours, os.environ.get("LD_LIBRARY_PATH")]))}

    def start(self, name, command):
        """Raises OSError where there is no such program."""
        return Contender(name, command, self.work / f"{name}.log", self.environment(name))

    def prepare(self, name, description):
        """Starts one; it prepares by itself."""
        print(f"{name}: prepares", flush=True)
        try:
            self.running[name] = self.start(name, self.command(name, description))
        except OSError as error:
            self.fail(name, str(error))

    def fail(self, name, why):
        print(f"{name}: {why}", flush=True)
        self.append(contender=name, failed=why)
        self.failed.append(name)
        if name in self.running:
            self.running.pop(name).stop()

    def finish_preparing(self, name, seconds):
        if name not in self.running:
            return
        start = time.monotonic()
        try:
            ready = self.running[name].answer("ready", max(1, min(seconds, self.left() - 30)))
        except Failed as failed:
            return self.fail(name, str(failed))
        print(f"{name}: ready after {time.monotonic() - start:.0f} s more, {ready['version'][:100]}", flush=True)
        self.rows[name] = {**ready, "rounds": []}

    def prepare_all(self, description):
        """One after another, so that none measures its choices while another computes; PyTorch before the programs
        are needed."""
        names = [name for name in CONTENDERS if name in self.options.contenders]
        for name in (name for name in names if name.startswith("torch-")):
            self.prepare(name, description)
            self.finish_preparing(name, COMPILE_SECONDS if name == "torch-compile" else PREPARE_SECONDS)
        wrong = self.wait_for_programs()
        for name in (name for name in names if not name.startswith("torch-")):
            if wrong:
                self.fail(name, wrong)
                continue
            self.prepare(name, description)
            self.finish_preparing(name, PREPARE_SECONDS)

    def ask_all(self, command, seconds):
        """-> {contender: answer}; who fails leaves a row and is asked no more."""
        answers = {}
        for name in list(self.running):
            try:
                answers[name] = self.running[name].ask(command, min(seconds, max(1, self.left())))
            except Failed as failed:
                self.fail(name, f"in a {command}: {failed}")
        return answers

    def measure(self, rounds):
        for number in range(rounds if self.running else 0):
            if number and self.left() < 40:
                print(f"no time for more than {number} of {rounds} rounds", flush=True)
                break
            for name, answer in self.ask_all("round", ROUND_SECONDS).items():
                self.rows[name]["rounds"].append(answer)
            print(f"round {number + 1} of {rounds}", flush=True)
        for name, answer in (self.ask_all("profile", ROUND_SECONDS) if self.left() > 15 else {}).items():
            self.rows[name]["profile"] = answer

    def run(self):
        net = networks.gpu_nets(tiny=self.options.cpu)[self.net_name]
        description = self.work / f"{self.net_name}.json"
        precision = "fp32" if self.options.cpu else "bf16"
        plans = self.work / "plans"  # what a worker keeps, too: which of cuDNN's engines were chosen
        plans.mkdir(exist_ok=True)
        described = describe(net, precision, pictures.write(net, self.work), str(plans))
        description.write_text(json.dumps(described), encoding="utf-8")
        try:
            self.prepare_all(description)
            self.measure(self.options.rounds)
        finally:
            self.save(net, precision)

    def save(self, net, precision):
        for name, row in self.rows.items():
            if row["rounds"]:
                self.append(contender=name, batch=net.batch, precision=precision,
                            flops=networks.training_flops(net.network), **row)
        for contender in self.running.values():
            contender.stop(seconds=10)


def measure_peaks(bench):
    """What the device can do, once, with nobody else computing: for the shares of peak."""
    if bench.options.cpu or (bench.results / "peaks.json").exists() or bench.left() < 10:
        return
    command = [str(Path(bench.options.programs) / "kernels_device_table"), str(bench.results), "--peaks"]
    try:
        subprocess.run(command, check=True, timeout=bench.left(), env={**os.environ, **bench.environment("peaks")})
    except (OSError, subprocess.SubprocessError) as error:
        print(f"the peaks were not measured: {error}", flush=True)


@functools.cache
def device(cpu):
    if cpu:
        return "cpu"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    asked = subprocess.run(query, capture_output=True, text=True)
    return asked.stdout.strip().splitlines()[0] if asked.stdout.strip() else "an unknown GPU"


def parse():
    parser = argparse.ArgumentParser(usage=__doc__)
    names = [*networks.gpu_nets(), CIFAR]
    parser.add_argument("net")
    for folder in ("--results", "--work", "--programs"):
        parser.add_argument(folder, required=True)
    parser.add_argument("--built")
    parser.add_argument("--library-path")
    parser.add_argument("--cifar")
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--cpu-backend", default="reference")
    parser.add_argument("--contenders", type=lambda text: text.split(","), default=CONTENDERS)
    options = parser.parse_args()
    if options.net not in names:
        sys.exit(f"error: found the network '{options.net}', expected {', '.join(names)}")
    for name in options.contenders:
        if name not in CONTENDERS:
            sys.exit(f"error: found the contender '{name}', expected {', '.join(CONTENDERS)}")
    return options


def main():
    options = parse()
    for folder in (options.results, options.work):
        Path(folder).mkdir(parents=True, exist_ok=True)
    try:
        import torch  # noqa: F401
    except ImportError as error:
        print(f"SKIPPED: {error}")
        sys.exit(77)
    bench = Bench(options)
    if options.net == CIFAR:
        import cifar
        cifar.run(bench)
    else:
        bench.run()
    measure_peaks(bench)
    text = gpu_table.render(Path(options.results))
    print(text)
    if any(name.startswith("trainyard") for name in bench.failed):
        sys.exit(1)  # a rival that fails is a row; we are what this proves


if __name__ == "__main__":
    main()
