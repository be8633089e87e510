"""Proves that PyTorch and Keras compute the networks that Trainyard computes, in ci/bench.sh cpu and in ci/gpu_check.sh
bench: the same weights and images, the same logits.

Usage: bench_networks_test.py PROGRAMS (the folder of engine_dump). A framework that is not here is skipped aloud; exit
status 77: none is.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "ci" / "bench"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import networks  # noqa: E402

PROGRAMS = Path(sys.argv.pop()).resolve()
missing = []
try:
    import torch
    import torch_network
    torch.set_num_threads(1)
except ImportError as error:
    missing.append(f"PyTorch: {error}")
    torch = None
try:
    import numpy
    import keras_network
except ImportError as error:
    missing.append(f"Keras: {error}")
    keras_network = None

RELU = networks.RELU
# Every kind of layer that a description can have, where others' differ from ours most easily.
EVERY_KIND = {"input": [3, 13, 12], "classes": 5, "layers": [
    {"conv": {"filters": 8, "padding": "same"}}, {"relu": {"slope": 0.1}},
    {"avg_pool": {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1, 1, 1]}},
    {"conv": {"filters": 12, "kernel": [3, 2], "stride": [2, 1], "padding": [1, 1, 0, 0], "groups": 4}},
    {"batch_norm": {"epsilon": 1e-3}}, {"dropout": {"rate": 0.3}},
    {"residual": {"body": [RELU, {"conv": {"filters": 12, "kernel": [1, 1], "bias": False}}],
                  "shortcut": [{"batch_norm": {}}]}},
    {"max_pool": {}}, {"flatten": {}}, {"dense": {"units": 7, "bias": False}}, RELU, {"dense": {"units": 5}}]}
# Keras has no pools with a given number of pixels around them.
KERAS_KINDS = {**EVERY_KIND, "layers": [
    {kind: {**options, "padding": "same"} if kind == "avg_pool" else options}
    for layer in EVERY_KIND["layers"] for kind, options in layer.items()]}


def reference(network, folder):
    """Random weights of Trainyard's, as folder/before.safetensors. -> pixels (bytes, NCHW), logits of each."""
    channels, height, width = network["input"]
    count = 4
    pixels = bytearray(count * channels * height * width)
    for i in range(len(pixels)):
        pixels[i] = (i * 2654435761 >> 11) % 256
    labels = b"".join((i % network["classes"]).to_bytes(4, sys.byteorder) for i in range(count))
    description = {"network": network, "training": {"batch_size": count}, "backend": "reference", "threads": 1,
                   "steps": 0}
    (folder / "description.json").write_text(json.dumps(description))
    (folder / "images.bin").write_bytes(bytes(pixels))
    (folder / "labels.bin").write_bytes(labels)
    subprocess.run([PROGRAMS / "engine_dump", folder], check=True)
    return pixels, bytearray((folder / "logits_before.bin").read_bytes())


def all_networks():
    yield from ((name, net.network) for name, net in networks.cpu_nets(tiny=True).items())
    yield from ((name, net.network) for name, net in networks.gpu_nets(tiny=True).items())


@unittest.skipUnless(torch, "PyTorch is not here")
class TorchTest(unittest.TestCase):
    def assert_same_logits(self, network):
        with tempfile.TemporaryDirectory() as folder:
            pixels, logits = reference(network, Path(folder))
            model = torch_network.Network(network)
            model.load(Path(folder) / "before.safetensors")
        expected = torch.frombuffer(logits, dtype=torch.float32)
        x = torch.frombuffer(pixels, dtype=torch.uint8).reshape(-1, *network["input"]).double() / 255
        x = ((x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), unbiased=False, keepdim=True)).float()
        model.eval()
        with torch.no_grad():
            found = model(x.contiguous(memory_format=torch.channels_last)).flatten()
        self.assertLess(((found - expected).norm() / expected.norm()).item(), 1e-4)

    def test_the_same_weights_give_the_logits_of_the_reference(self):
        for name, network in [*all_networks(), ("every kind of layer", EVERY_KIND)]:
            with self.subTest(name):
                self.assert_same_logits(network)

    def test_what_pytorch_cannot_do_alike_is_refused(self):
        layers = [{"conv": {"filters": 4, "padding": [1, 0, 1, 0]}}]
        with self.assertRaisesRegex(ValueError, "conv: found a padding of .*, expected the same on both sides"):
            torch_network.Network({"input": [1, 8, 8], "layers": layers})
        with self.assertRaisesRegex(ValueError, "found a layer 'attention'"):
            torch_network.Network({"input": [1, 8, 8], "layers": [{"attention": {}}]})


@unittest.skipUnless(keras_network, "Keras is not here")
class KerasTest(unittest.TestCase):
    def assert_same_logits(self, network):
        with tempfile.TemporaryDirectory() as folder:
            pixels, logits = reference(network, Path(folder))
            model = keras_network.make_model(network)
            keras_network.load(model, Path(folder) / "before.safetensors")
        expected = numpy.frombuffer(logits, numpy.float32)
        x = numpy.frombuffer(pixels, numpy.uint8).reshape(-1, *network["input"]) / 255
        x = (x - x.mean((0, 2, 3), keepdims=True)) / x.std((0, 2, 3), keepdims=True)
        found = numpy.array(model(x.transpose(0, 2, 3, 1).astype(numpy.float32), training=False)).flatten()
        self.assertLess(numpy.linalg.norm(found - expected) / numpy.linalg.norm(expected), 1e-4)

    def test_the_same_weights_give_the_logits_of_the_reference(self):
        for name, net in networks.cpu_nets(tiny=True).items():
            with self.subTest(name):
                self.assert_same_logits(net.network)
        with self.subTest("every kind of layer"):
            self.assert_same_logits(KERAS_KINDS)

    def test_what_keras_cannot_do_alike_is_refused(self):
        layers = [{"max_pool": {"padding": [1, 1, 1, 1]}}]
        with self.assertRaisesRegex(ValueError, "max_pool: found a padding of .*, expected none or \"same\""):
            keras_network.make_model({"input": [1, 8, 8], "layers": layers})
        with self.assertRaisesRegex(ValueError, "found a layer 'attention'"):
            keras_network.make_model({"input": [1, 8, 8], "layers": [{"attention": {}}]})


if __name__ == "__main__":
    for one in missing:
        print(f"SKIPPED: {one}", flush=True)
    if len(missing) == 2:
        sys.exit(77)
    unittest.main(argv=sys.argv[:1])
