"""Fashion-MNIST: where Debian has it, how its files are read, and the recipes that ci/bench.sh trains on it."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import networks

FOLDER = Path("/usr/share/datasets/fashion-mnist")
FILES = [str(FOLDER / f"{name}-ubyte.gz") for name in (
    "train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")]


@dataclass
class Recipe:
    """SGD with Nesterov's momentum of 0.9 and weight decay, the rate up to its peak over a quarter of the steps and
    down to 0; He's normal weights; images normalised over the training set."""
    network: dict
    epochs: int
    peaks: tuple = (0.1, 0.2)  # of the rate; each trainer's is the one that it does better with
    flip: bool = False
    target: float = 0  # accuracy on the test set
    runs: int = 3      # of each peak, with seeds from 1 on, at most
    seconds: tuple = ()  # to the target: what is accepted, what is aimed at


# To accuracies that people know of this data set.
TARGETS = {
    "0.90": Recipe(networks.small_norm(), 1, target=0.90, seconds=(10 / 2, 10 / 3)),
    "0.91": Recipe(networks.small_norm(), 2, target=0.91),
    "0.92": Recipe(networks.small_norm(), 5, flip=True, target=0.92, seconds=(44 / 2, 44 / 3)),
    "0.927": Recipe(networks.small_norm((16, 48, 96)), 16, flip=True, target=0.927, runs=1),
}
# Whose accuracy is compared over seeds: by one recipe, whichever it is.
COMPARED = {
    "small-norm, 2 epochs": Recipe(networks.small_norm(), 2, peaks=(0.2,)),
    "classic, 1 epoch": Recipe(networks.classic(), 1, peaks=(0.02,)),
}


def describe(recipe, peak, threads, seed, files=FILES, batch=128):
    """A description of tests/worker/engine/engine_train.cc."""
    training = {"epochs": recipe.epochs, "batch_size": batch, "precision": "fp32", "seed": seed,
                "schedule": {"kind": "one_cycle", "peak_at": 0.25}, "augmentation": {"flip": recipe.flip},
                "optimizer": {"kind": "sgd", "learning_rate": peak, "momentum": 0.9, "nesterov": True,
                              "weight_decay": 5e-4}}
    return {"network": recipe.network, "training": training, "backend": "cpu", "threads": threads,
            "data": {"idx": list(files)}}


def read_idx(path):
    """-> the file's sizes and its bytes."""
    data = gzip.decompress(Path(path).read_bytes())
    sizes = [int.from_bytes(data[4 + 4 * i:8 + 4 * i], "big") for i in range(data[3])]
    return sizes, data[4 + 4 * len(sizes):]


def learning_rate(training, step, steps):
    """Of one step of all, as worker/engine/schedule.h has it: taken in the middle of the step."""
    at, peak_at = step + 0.5, training["schedule"]["peak_at"] * steps
    return training["optimizer"]["learning_rate"] * (
        at / peak_at if at < peak_at else (steps - at) / (steps - peak_at))
