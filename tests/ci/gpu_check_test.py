"""Proves that ci/gpu_check.sh packs, builds and tests without a GPU, and says what is missing.

Usage: gpu_check_test.py FOLDER (where it packs and builds).
"""

import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "ci" / "gpu_check.sh"
FOLDER = Path(sys.argv.pop())
PACK = FOLDER / "pack"


def gpu_check(*arguments, **environment):
    ran = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True,
                         env={**os.environ, "OUT": str(FOLDER / "results"), **environment})
    return ran.returncode, ran.stdout + ran.stderr


class GpuCheckTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        code, printed = gpu_check("pack", PACK)
        assert code == 0, printed
        assert "packed" in printed and "googletest" in printed, printed

    def assert_refused(self, message, *arguments, **environment):
        code, printed = gpu_check(*arguments, **environment)
        self.assertEqual((code, printed.count("\n")), (1, 1), printed)
        self.assertIn(message, printed)

    def test_without_a_gpu_the_rest_is_built_and_tested(self):
        code, printed = gpu_check("check", PACK, "--no-gpu", "--quick", "--build", FOLDER / "build")
        self.assertEqual(code, 0, printed)
        # Where it was built, results stay for the next call.
        self.assertTrue((FOLDER / "gpu_check" / "summary.md").exists())
        summary = (FOLDER / "results" / "summary.md").read_text()
        self.assertTrue(printed.endswith(summary), printed)
        self.assertIn("| build with nvcc | passed |", summary)
        self.assertIn("| tests on the CPU | passed |", summary)
        self.assertIn("| on the GPU | not run: --no-gpu |", summary)

    def test_what_is_missing_is_said_in_one_line(self):
        self.assert_refused("found no pack in", "check", FOLDER / "nowhere")
        self.assert_refused("found no nvcc", "check", PACK, PATH="/usr/bin:/bin", CUDA_HOME="/nowhere")
        self.assert_refused("found 'race', expected pack, check or bench", "race")
        self.assert_refused("bench takes the name of a network", "bench")
        self.assert_refused("with --no-gpu, name --programs", "bench", "lenet-128", PACK, "--no-gpu")
        self.assert_refused("unknown option '--fast'", "check", "--fast")

    @unittest.skipIf(shutil.which("nvidia-smi"), "there may be a GPU")
    def test_a_gpu_is_asked_for_unless_told_otherwise(self):
        self.assert_refused("found no GPU", "check", PACK)


if __name__ == "__main__":
    unittest.main()
