"""Proves what ci/gpu_check.sh bench says of what it measured, and how it treats those that do not answer.

Needs no PyTorch: what it computes is gpu_contenders_test.py's. Usage: gpu_bench_test.py
"""

import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "ci" / "bench"
sys.path.insert(0, str(BENCH))
import cifar  # noqa: E402
import gpu_table  # noqa: E402
import networks  # noqa: E402
from contenders import Contender, Failed, parse_epochs  # noqa: E402


def row(contender, images_per_second, net="lenet-128", **more):
    """A row as gpu_rounds.py appends it: three rounds, of which the middle one has this speed."""
    rounds = [{"steps": 10, "seconds": 1280 / (images_per_second * factor), "loss": 0.1} for factor in (0.9, 1.2, 1)]
    return {"net": net, "at": "2026-11-30 12:00:00", "device": "a GPU", "contender": contender, "batch": 128,
            "flops": 2.5e6, "loss": 2.4, "memory_bytes": 2**30, "rounds": rounds,
            "profile": {"steps": 10, "kernels": 250, "busy_seconds": 0.0004}, **more}


class TableTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def render(self, *rows):
        with open(self.folder / "bench.jsonl", "a", encoding="utf-8") as file:
            file.writelines(json.dumps(r) + "\n" for r in rows)
        text = gpu_table.render(self.folder)
        self.assertEqual((self.folder / "bench.md").read_text(), text)
        return text

    def test_speed_spread_gap_and_share_of_peak(self):
        (self.folder / "peaks.json").write_text('{"mma_bf16_flops": 1e13}')
        text = self.render(row("trainyard", 1.28e6))
        # 128 images in 100 us, of which 40 are busy; 1.28e6 * 2.5e6 operations of 1e13.
        self.assertIn("| lenet-128 | trainyard | 1,280,000 (1,152,000 to 1,536,000) | 0.1 | 25 | 60 us (60%) | 32.0% |"
                      " 2.40 to 0.100 | 1.0 GiB |", text)

    def test_ratios_are_held_against_what_is_asked(self):
        text = self.render(row("trainyard", 9e5), row("trainyard-own", 4.5e5), row("torch-eager", 1e5),
                           row("torch-compile", 4e5), row("torch-graph", 3e5))
        self.assertIn("| lenet-128 | trainyard | torch-eager | 9.00 | 4 / 8 | pass, as aimed |", text)
        self.assertIn("| lenet-128 | trainyard-own | torch-eager | 4.50 | 4 / 8 | pass |", text)
        self.assertIn("| lenet-128 | trainyard-own | torch-compile | 1.12 | 1.5 / 2.5 | below |", text)
        self.assertIn("| lenet-128 | trainyard | torch-graph | 3.00 | | |", text)

    def test_rows_append_and_the_last_of_a_contender_counts(self):
        self.render(row("torch-eager", 1e5), row("trainyard", 2e5))
        text = self.render(row("torch-eager", 3e5), row("torch-eager", 7e4, net="resnet9-512"))
        self.assertIn("| lenet-128 | torch-eager | 300,000", text)
        self.assertNotIn("100,000 (", text)
        self.assertIn("| lenet-128 | trainyard | 200,000", text)
        self.assertIn("| resnet9-512 | torch-eager | 70,000", text)

    def test_a_contender_that_failed_has_a_row_and_no_ratio(self):
        failed = {"net": "lenet-128", "at": "2026-11-30 12:00:00", "device": "a GPU", "contender": "torch-compile",
                  "failed": "not finished in 300 s"}
        text = self.render(row("trainyard", 2e5), failed)
        self.assertIn("| lenet-128 | torch-compile | not finished in 300 s |", text)
        self.assertNotIn("| trainyard | torch-compile |", text)

    def test_a_loss_that_does_not_go_down_is_told(self):
        for loss in (2.4, float("nan")):
            stuck = row("torch-graph", 1e5, loss=loss)
            stuck["rounds"][-1]["loss"] = 2.3
            text = self.render(row("trainyard", 2e5), stuck)
            self.assertIn("lenet-128: the loss of torch-graph did NOT go down", text)
        self.assertIn("lenet-128: the loss of every contender went down", self.render(row("torch-graph", 1e5)))

    def test_what_check_found_stands_in_the_same_table(self):
        (self.folder / "summary.md").write_text("| part | result |\n| --- | --- |\n| kernels | passed |\n")
        self.assertIn("\n| kernels | passed |\n", self.render(row("trainyard", 2e5)))

    def test_nothing_measured_is_said(self):
        self.assertIn("Nothing was measured.", self.render())


class ContenderTest(unittest.TestCase):
    def start(self, script):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        contender = Contender("one", ["sh", "-c", script], Path(folder.name) / "log")
        self.addCleanup(contender.stop)
        return contender

    def assert_fails(self, script, why):
        with self.assertRaisesRegex(Failed, why):
            self.start(script).answer("ready", 0.5 if "sleep" in script else 30)

    def test_answers_are_found_among_other_lines(self):
        contender = self.start("""echo noise; echo '{"ready": {"loss": 1}}'
                                  read what; echo "{\\"$what\\": {\\"steps\\": 2}}" """)
        self.assertEqual(contender.answer("ready", 30), {"loss": 1})
        self.assertEqual(contender.ask("round", 30), {"steps": 2})
        with self.assertRaisesRegex(Failed, "exit status 0"):
            contender.ask("round", 30)

    def test_how_one_ended_is_told_with_its_last_line(self):
        self.assert_fails("echo first >&2; echo out of memory >&2; exit 3", "exit status 3: out of memory")
        self.assert_fails("kill -9 $$", "signal 9")

    def test_one_that_hangs_is_given_up(self):
        self.assert_fails("sleep 100", "not finished in 0 s")


class NetworksTest(unittest.TestCase):
    def test_operations_are_those_of_the_published_networks(self):
        # 4.09 G multiply-adds forward, of convolutions and the dense layer (He et al. 2016 round them to 3.8 and 4.1).
        resnet50 = networks.gpu_nets()["resnet50-224-256"].network
        flops = networks.forward_flops(resnet50["layers"], tuple(resnet50["input"]))[0]
        self.assertAlmostEqual(flops / 2e9, 4.09, delta=0.01)
        # 5x5: 28x28x6 of 1, 10x10x16 of 6; then 400x120, 120x84, 84x10. Of the first, the image has no gradient.
        lenet = 4 * 784 * 6 * 25 + 6 * (100 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10)
        self.assertEqual(networks.training_flops(networks.gpu_nets()["lenet-128"].network), lenet)

    def test_an_unknown_network_is_named_with_those_that_are_known(self):
        folders = [f"--{name}=/nowhere" for name in ("results", "work", "programs")]
        ran = subprocess.run([sys.executable, BENCH / "gpu_rounds.py", "alexnet", *folders], capture_output=True, text=True)
        self.assertEqual(ran.returncode, 1)
        self.assertRegex(ran.stderr, "^error: found the network 'alexnet', expected lenet-128, .*, cifar10-94\n$")


class CifarTest(unittest.TestCase):
    def test_the_first_epoch_that_reaches_the_target_counts(self):
        lines = [f"epoch {i} step {10 * i} 1.5 0.5 1.2 {accuracy} 0.1 2 0 0  2.5 s  900 images/s"
                 for i, accuracy in enumerate((0.5, 0.941, 0.93), 1)]
        epochs = parse_epochs("\n".join(["not exact", *lines]))
        self.assertEqual(cifar.summary(epochs), {"epoch": 2, "seconds": 5.0, "epochs": 3, "accuracy": 0.93})
        self.assertEqual(cifar.summary(epochs[:1])["epoch"], 0)

    def test_records_become_pixels_and_labels(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "a.bin").write_bytes(b"".join(bytes([label]) + bytes([label + 1]) * 3072 for label in (7, 2)))
            pixels, labels = cifar.convert(folder, folder, "train", ["a.bin"])
            self.assertEqual(Path(pixels).read_bytes(), bytes([8]) * 3072 + bytes([3]) * 3072)
            written = Path(labels).read_bytes()
            self.assertEqual([int.from_bytes(written[i:i + 4], sys.byteorder) for i in (0, 4)], [7, 2])
            (folder / "b.bin").write_bytes(b"short")
            with self.assertRaisesRegex(SystemExit, re.escape("found 5 bytes, expected records of 3073")):
                cifar.convert(folder, folder, "test", ["b.bin"])


if __name__ == "__main__":
    unittest.main()
