"""Proves that ci/kernel_table.py finds each way in which a page and the compiled kernels disagree."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / "ci" / "kernel_table.py"
PAGE = """Registers by nvcc 13.0.88.

| kernel | op | sm_80 | sm_90 |
| --- | --- | --- | --- |
| `CopyKernel` | copies | 18 to 24 | 20 |

The end.
"""
# As nvcc writes a function in an anonymous namespace: it names the file.
SPACE = "_ZN3our40_GLOBAL__N__0123abcd_7_copy_cu_4567cdef_"
COPY_FLOAT = SPACE + "10CopyKernelIfLb1EEEvPKT_"
COPY_INT = SPACE + "10CopyKernelIiLb0EEEvPKT_"
OTHER_COPY = SPACE + "10CopyKernelIfLb1EEEvPT_"
FILL = SPACE + "10FillKernelEPf"


def used(kernel, architecture, registers, shared=""):
    return (f"ptxas info    : Compiling entry function '{kernel}' for '{architecture}'\n"
            f"ptxas info    : Function properties for {kernel}\n"
            "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
            f"ptxas info    : Used {registers} registers, used 1 barriers{shared}, 384 bytes cmem[0]\n")


COPY = (used(COPY_FLOAT, "sm_80", 24) + used(COPY_INT, "sm_80", 18, ", 64 bytes smem")
        + used(COPY_FLOAT, "sm_90", 20) + used(COPY_INT, "sm_90", 20))


class KernelTableTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.page = Path(self.folder.name) / "page.md"

    def run_table(self, does, page, *reports, version="13.0.88"):
        self.page.write_text(page)
        objects = []
        for number, report in enumerate(reports):
            objects.append(str(Path(self.folder.name) / f"{number}.cu.o"))
            Path(objects[-1] + ".ptxas").write_text(report)
        options = [does] if does == "--list" else [does, self.page, "--nvcc", version]
        ran = subprocess.run([sys.executable, TABLE, *options, *objects], capture_output=True, text=True)
        return ran.returncode, ran.stdout + ran.stderr

    def assert_found(self, page, report, message):
        code, printed = self.run_table("--check", page, report)
        self.assertEqual(code, 1, printed)
        self.assertIn(message, printed)

    def test_a_page_that_agrees_passes(self):
        self.assertEqual(self.run_table("--check", PAGE, COPY), (0, "1 kernels are as the page says\n"))

    def test_other_registers_are_found(self):
        self.assert_found(PAGE.replace("| 20 |", "| 21 |"), COPY,
                          "CopyKernel, sm_90: found '21', compiled with 20")

    def test_another_compiler_has_other_registers(self):
        page = PAGE.replace("| 20 |", "| 21 |")
        self.assertEqual(self.run_table("--check", page, COPY, version="13.1.0")[0], 0)

    def test_a_missing_row_is_found(self):
        self.assert_found(PAGE, COPY + used(FILL, "sm_80", 8), "FillKernel: compiled, but has no row")

    def test_a_stale_row_is_found(self):
        self.assert_found(PAGE, used(FILL, "sm_80", 8), "CopyKernel: has a row, but is not compiled")

    def test_an_empty_cell_is_found(self):
        self.assert_found(PAGE.replace("copies", ""), COPY, "CopyKernel: says nothing of its op")

    def test_two_kernels_of_one_name_are_refused(self):
        code, printed = self.run_table("--check", PAGE, COPY, used(OTHER_COPY, "sm_80", 18))
        self.assertEqual(code, 1)
        self.assertIn("0 and 1 have a CopyKernel each", printed)

    def test_one_kernel_in_two_files_is_one_row(self):
        code, printed = self.run_table("--check", PAGE, COPY, used(COPY_INT, "sm_80", 23))
        self.assertEqual(code, 0, printed)

    def test_writing_keeps_the_words_and_fills_in_the_rest(self):
        report = COPY.replace("sm_90", "sm_121") + used(FILL, "sm_80", 8) + used(FILL, "sm_121", 9)
        code, printed = self.run_table("--write", PAGE.replace("24 |", "99 |"), report, version="13.1.7")
        self.assertEqual(code, 0, printed)
        self.assertEqual(self.page.read_text(), """Registers by nvcc 13.1.7.

| kernel | op | sm_80 | sm_121 |
| --- | --- | --- | --- |
| `CopyKernel` | copies | 18 to 24 | 20 |
| `FillKernel` | | 8 | 9 |

The end.
""")

    def test_the_list_names_every_instantiation(self):
        code, printed = self.run_table("--list", PAGE, COPY)
        self.assertEqual(code, 0, printed)
        self.assertIn("CopyKernel<float, true> (0): 24 (0), 20 (0)", printed)
        self.assertIn("CopyKernel<int, false> (0): 18 (64), 20 (0)", printed)


if __name__ == "__main__":
    unittest.main()
