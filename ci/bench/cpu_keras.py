"""Trains a network in Keras 3 on TensorFlow on the CPU and says how fast: a contender of ci/bench/cpu_rounds.py.

Usage: cpu_keras.py DESCRIPTION.json

The description is that of tests/worker/engine/engine_speed.cc. Timed are `fit` and `predict` over images that lie in
memory as floats, as Keras' own examples call them.
"""

import json
import os
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

import protocol  # noqa: E402
from keras_network import make_model  # noqa: E402


def load_set(data, shape):
    """-> bytes (count, height, width, channels) and labels."""
    pixels = np.fromfile(data["pixels"], np.uint8).reshape(-1, *shape)
    return pixels.transpose(0, 2, 3, 1), np.fromfile(data["labels"], np.int32)


class Speed:
    def __init__(self, description):
        tf.config.threading.set_intra_op_parallelism_threads(description["threads"])
        keras.utils.set_random_seed(description["training"]["seed"])
        self.steps, self.batch = description["steps"], description["training"]["batch_size"]
        self.warm_up_steps = description["warm_up_steps"]
        images, self.labels = load_set(description["data"], description["network"]["input"])
        normalisation = description["normalisation"]
        mean, inverse_std = (np.array(normalisation[of], np.float32) for of in ("mean", "inverse_std"))
        self.images = (images / np.float32(255) - mean) * inverse_std
        self.model = make_model(description["network"])
        options = description["training"]["optimizer"]
        # Weight decay is left out: Keras would decay everything, or take a list of what not to.
        self.model.compile(
            keras.optimizers.SGD(options["learning_rate"], options["momentum"], options["nesterov"]),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def some(self, steps):
        """As many whole batches, from the start as often as it takes."""
        indices = np.arange(steps * self.batch) % (len(self.labels) // self.batch * self.batch)
        return self.images[indices], self.labels[indices]

    def train(self, x, y):
        return self.model.fit(x, y, batch_size=self.batch, epochs=1, verbose=0).history["loss"][-1]

    def prepare(self):
        """-> the first step's loss."""
        first = self.train(*self.some(1))
        self.train(*self.some(self.warm_up_steps))
        self.model.predict(self.some(1)[0], batch_size=self.batch, verbose=0)
        return float(first)

    def round(self):
        x, y = self.some(self.steps)
        start = time.perf_counter()
        loss = self.train(x, y)
        return {"steps": self.steps, "seconds": time.perf_counter() - start, "loss": float(loss)}

    def inference(self):
        x, _ = self.some(self.steps)
        start = time.perf_counter()
        self.model.predict(x, batch_size=self.batch, verbose=0)
        return {"steps": self.steps, "seconds": time.perf_counter() - start}


def main():
    path, = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        speed = Speed(json.load(file))
    loss = speed.prepare()
    protocol.say("ready", version=f"keras {keras.__version__}, tensorflow {tf.__version__}", loss=loss)
    protocol.answer({"round": speed.round, "inference": speed.inference})


if __name__ == "__main__":
    main()
