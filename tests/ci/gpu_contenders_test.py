"""Proves that PyTorch's contenders of ci/gpu_check.sh bench see the images that they should, and runs the whole
benchmark on the CPU, where no speed means anything. That they train Trainyard's networks is bench_networks_test.py's.

Usage: gpu_contenders_test.py PROGRAMS (the folder of engine_speed and engine_emulated_speed).
Exit status 77: PyTorch is not here.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "ci" / "bench"
sys.path.insert(0, str(BENCH))
try:
    import torch
except ImportError as error:
    print(f"SKIPPED: {error}")
    sys.exit(77)
import gpu_rounds  # noqa: E402
import networks  # noqa: E402
import pictures  # noqa: E402
from torch_gpu import Augment, Training, busy_seconds  # noqa: E402

PROGRAMS = Path(sys.argv.pop()).resolve() if len(sys.argv) > 1 else Path()
torch.set_num_threads(1)


class AugmentTest(unittest.TestCase):
    """Each image is one that a flip, a shift and a square of zeros can make of the image asked for."""

    def augmented(self, **augmentation):
        torch.manual_seed(7)
        images = torch.randint(1, 256, (3, 6, 5, 2), dtype=torch.uint8)
        description = {"training": {"augmentation": augmentation},
                       "normalisation": {"mean": [0.5, 0.25], "inverse_std": [2.0, 4.0]}}
        indices = torch.arange(60) % 3
        out = Augment(images, description)(indices)
        normal = (images / 255.0 - torch.tensor([0.5, 0.25])) * torch.tensor([2.0, 4.0])
        return out.permute(0, 2, 3, 1), normal[indices]

    def test_nothing_asked_leaves_the_normalised_image(self):
        found, images = self.augmented()
        torch.testing.assert_close(found, images)

    def test_flips_and_shifts(self):
        found, images = self.augmented(flip=True, shift=1)
        seen = set()
        for one, image in zip(found, images):
            candidates = {}
            for flip in (False, True):
                padded = torch.zeros(8, 7, 2)
                padded[1:7, 1:6] = image
                for dy in range(3):
                    for dx in range(3):
                        moved = padded[dy:dy + 6, dx:dx + 5]
                        candidates[flip, dy, dx] = moved.flip(1) if flip else moved
            matching = [key for key, moved in candidates.items() if torch.allclose(one, moved, atol=1e-6)]
            self.assertTrue(matching)
            seen.update(matching)
        self.assertGreater(len(seen), 10)

    def test_a_square_is_cut_out(self):
        found, images = self.augmented(cutout=3)
        kept = torch.isclose(found, images, atol=1e-6).all(-1)
        self.assertTrue(((found == 0).all(-1) | kept).all())
        self.assertEqual((~kept).sum((1, 2)).max().item(), 9)


class GraphTest(unittest.TestCase):
    """Without a GPU nothing can be captured: stand-ins for torch.cuda's calls show what would be, and when."""

    def test_the_whole_step_is_captured_once_and_replayed(self):
        with tempfile.TemporaryDirectory() as name:
            net = networks.gpu_nets(tiny=True)["lenet-128"]
            files = pictures.write(net, Path(name))
            training = Training("graph", gpu_rounds.describe(net, "fp32", files, name), torch.device("cpu"))
        steps, graph = [], mock.Mock()
        real_step = training.step_on
        training.step_on = lambda indices: steps.append(indices.clone()) or real_step(indices)
        with mock.patch.multiple(torch.cuda, Stream=mock.Mock(), current_stream=mock.Mock(),
                                 stream=mock.MagicMock(), graph=mock.MagicMock(), CUDAGraph=lambda: graph):
            training.prepare()
            computed = len(steps)
            self.assertEqual(computed, 1 + 3 + 1)  # the first step, a warm-up, the capture
            self.assertTrue((steps[-1] == steps[-2]).all())
            training.round()
            self.assertEqual(len(steps), computed)
        # 3 to warm up; 3 and 3 in the round. Each takes its own images.
        self.assertEqual(graph.replay.call_count, 9)
        self.assertFalse((training.graph_indices == steps[-1]).all())


class BusyTest(unittest.TestCase):
    def test_overlaps_count_once(self):
        self.assertAlmostEqual(busy_seconds([(10, 20), (0, 5), (12, 15), (18, 30)]), 25e-6)
        self.assertEqual(busy_seconds([]), 0)


class BenchTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def bench(self, net, *options, code=0):
        ran = subprocess.run(
            [ROOT / "ci" / "gpu_check.sh", "bench", net, "--no-gpu", "--programs", PROGRAMS, "--build",
             self.folder / "build", *options], capture_output=True, text=True,
            env={**os.environ, "PYTHON": sys.executable, "OUT": str(self.folder / "out")})
        self.assertEqual(ran.returncode, code, ran.stdout + ran.stderr)
        rows = [json.loads(line) for line in (self.folder / "out" / "bench.jsonl").read_text().splitlines()]
        return ran.stdout, rows

    def test_contenders_by_turns_one_of_which_fails(self):
        self.bench("lenet-128", "--only", "torch-eager,torch-graph,trainyard,trainyard-own")
        printed, rows = self.bench("resnet9-512", "--only", "torch-eager,trainyard")
        seen = {(row["net"], row["contender"]): row for row in rows}
        self.assertIn("a graph is captured on a GPU only", seen["lenet-128", "torch-graph"]["failed"])
        for key in [("lenet-128", "torch-eager"), ("lenet-128", "trainyard"), ("lenet-128", "trainyard-own"),
                    ("resnet9-512", "torch-eager"), ("resnet9-512", "trainyard")]:
            row = seen[key]
            self.assertEqual(len(row["rounds"]), 2)
            self.assertTrue(all(r["seconds"] > 0 and 0 < r["loss"] < 50 for r in row["rounds"]), row)
            self.assertIn(f"| {key[0]} | {key[1]} |", printed)
        # The emulated machine and the reference start from the same weights on the same images.
        self.assertAlmostEqual(seen["lenet-128", "trainyard"]["loss"], seen["lenet-128", "trainyard-own"]["loss"], 4)
        self.assertTrue(printed.endswith((self.folder / "out" / "bench.md").read_text() + "\n"))

    def test_it_fails_where_trainyard_does(self):
        _, rows = self.bench("lenet-128", "--only", "trainyard", "--programs", self.folder, code=1)
        self.assertIn("No such file", rows[0]["failed"])

    def test_cifar_10_is_skipped_aloud_where_it_is_not(self):
        _, rows = self.bench("cifar10-94")
        self.assertEqual({row["failed"] for row in rows}, {"not run: no folder of CIFAR-10 was given"})
        printed, _ = self.bench("cifar10-94", "--cifar", self.folder)
        self.assertIn("found no data_batch_1.bin", printed)

    def test_cifar_10_is_trained_on_by_both(self):
        image = bytes([3]) + os.urandom(3072)
        for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
            (self.folder / f"{name}.bin").write_bytes(image * 4)
        _, rows = self.bench("cifar10-94", "--cifar", self.folder)
        self.assertEqual({row["contender"] for row in rows}, {"torch-eager", "trainyard"})
        self.assertTrue(all(row.get("epochs") == 1 for row in rows), rows)


if __name__ == "__main__":
    unittest.main()
