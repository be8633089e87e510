"""Programs without Keras run as if nothing were there; notebooks; the forms of data sets. Needs
NumPy only.
"""

import gzip
import io
import json
import os
import pathlib
import pickle
import shutil
import sys
import tarfile
import tempfile
import unittest

import numpy
import support

sys.path.insert(0, str(support.PACKAGE))

from trainyard_program import data_forms  # noqa: E402

SEEN = (
    "import sys, signal, json; json.dump([sorted(m for m in sys.modules if 'trainyard' in m), "
    "len(sys.meta_path), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "
    "getattr(sys, 'environment_was_customized', False), 'keras' in sys.modules], sys.stdout)"
)


class Untouched(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def run_words(self, *words, **how):
        attempt = support.Attempt(self.folder / "attempt", list(words))
        attempt.code = attempt.run(**how)
        return attempt

    def test_nothing_is_loaded_without_the_environment(self):
        attempt = self.run_words("-c", SEEN, hooked=False)
        self.assertEqual(json.loads(attempt.stdout)[0], [])
        self.assertEqual(json.loads(attempt.stdout)[2:], [True, True, False])
        self.assertEqual(attempt.stderr, "")

    def test_a_program_without_keras_gets_one_finder_and_the_environments_own_sitecustomize(self):
        attempt = self.run_words("-c", SEEN)
        loaded, _, default, customized, keras = json.loads(attempt.stdout)
        self.assertEqual(loaded, ["trainyard_program", "trainyard_program.hook"])
        self.assertEqual((default, customized, keras), (True, True, False))
        self.assertEqual((attempt.stderr, attempt.lines()), ("", []))

    def test_a_module_of_the_programs_own_named_keras_is_left_alone(self):
        (self.folder / "keras.py").write_text("answer = 42\n")
        (self.folder / "main.py").write_text("import keras\nprint(keras.answer)\n")
        attempt = self.run_words(self.folder / "main.py")
        self.assertEqual((attempt.stdout, attempt.stderr, attempt.lines()), ("42\n", "", []))

    def notebook(self, *cells):
        path = self.folder / "book.ipynb"
        made = [{"cell_type": "markdown", "source": "# Words"}]
        made += [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
        path.write_text(json.dumps({"cells": made, "nbformat": 4}))
        return self.run_words("-m", "trainyard_program.notebook", path)

    def test_a_notebook_runs_its_code_cells_in_one_namespace(self):
        attempt = self.notebook(
            "%matplotlib inline\n!pip install x\na = 6", "if a:\n    !ls\nprint(a * 7, __name__)"
        )
        self.assertEqual((attempt.code, attempt.stdout), (0, "42 __main__\n"), attempt.stderr)
        notes = [line["note"] for line in attempt.lines("note")]
        self.assertEqual(notes[1], "cell 1, line 2 is left out: !pip install x")
        self.assertEqual(len(notes), 3)

    def test_a_modulo_in_a_notebook_is_no_magic(self):
        attempt = self.notebook(
            'print("a=%d" % (\n    1))\nprint("b=%d"\n      % 2)', "%matplotlib inline\nx = !ls\nprint(3)"
        )
        self.assertEqual(attempt.stdout, "a=1\nb=2\n3\n")

    def test_an_error_in_a_notebook_names_cell_and_line(self):
        attempt = self.notebook("a = 1", "b = 2\nprint(a / 0)")
        self.assertEqual(attempt.code, 1)
        last = attempt.stderr.strip().split("\n")[-1]
        self.assertEqual(last, "book.ipynb cell 2, line 2: ZeroDivisionError: division by zero")
        attempt = self.notebook("def f(:\n")
        self.assertIn("book.ipynb cell 1, line 1: SyntaxError", attempt.stderr)

    def test_what_is_no_notebook_is_an_error_in_one_line(self):
        path = self.folder / "no.ipynb"
        path.write_text("[1")
        attempt = self.run_words("-m", "trainyard_program.notebook", path)
        self.assertEqual(attempt.code, 1)
        self.assertRegex(attempt.stderr, r"^trainyard: error: .*no\.ipynb is no notebook: .*\n$")

    def test_changes_that_are_none_are_refused(self):
        for text, word in (
            ('{"epochs": 1.5, "width": 0}', "epochs"),
            ("[]", "object"),
            ('{"dropout": 1.5}', "between 0 and 1"),
        ):
            (self.folder / "params").write_text(text)
            attempt = self.run_words(
                "-c",
                "from trainyard_program.changes import Changes; Changes.from_environment()",
                more={"TRAINYARD_PARAMS_FILE": str(self.folder / "params")},
            )
            self.assertEqual(attempt.code, 70)
            self.assertIn(word, attempt.lines("error")[-1]["error"])


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return head + array.tobytes()


class DataForms(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        rng = numpy.random.default_rng(1)
        self.grey = rng.integers(0, 255, (4, 28, 28), numpy.uint8)
        self.rows = rng.integers(0, 255, (4, 3072), numpy.uint8)
        self.labels = numpy.array([3, 1, 0, 2], numpy.uint8)

    def write(self, name, content):
        with open(os.path.join(self.folder, name), "wb") as file:
            file.write(content)

    def test_idx_with_and_without_gzip(self):
        for part, pack in (("train", gzip.compress), ("t10k", bytes)):
            self.write(
                f"{part}-images-idx3-ubyte" + (".gz" if pack is gzip.compress else ""),
                pack(idx(self.grey)),
            )
            self.write(
                f"{part}-labels-idx1-ubyte" + (".gz" if pack is gzip.compress else ""),
                pack(idx(self.labels)),
            )
        (x, y), (x_test, y_test) = data_forms.load("mnist", self.folder)
        numpy.testing.assert_array_equal(x, self.grey)
        numpy.testing.assert_array_equal(y_test, self.labels)
        self.write("train-images-idx3-ubyte.gz", gzip.compress(idx(self.grey)[:-5]))
        with self.assertRaisesRegex(ValueError, "promises"):
            data_forms.load("mnist", self.folder)

    def test_npz_whatever_its_name(self):
        packed = io.BytesIO()
        numpy.savez(
            packed, x_train=self.grey, y_train=self.labels, x_test=self.grey, y_test=self.labels
        )
        self.write("mnist", packed.getvalue())
        (x, _), _ = data_forms.load("mnist", os.path.join(self.folder, "mnist"))
        numpy.testing.assert_array_equal(x, self.grey)

    def test_cifar_binary(self):
        content = b"".join(
            bytes([label]) + row.tobytes() for label, row in zip(self.labels, self.rows)
        )
        for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
            self.write(name, content)
        (x, y), (x_test, _) = data_forms.load("cifar10", self.folder)
        self.assertEqual(
            (x.shape, y.shape, x_test.shape), ((20, 32, 32, 3), (20, 1), (4, 32, 32, 3))
        )
        self.assertEqual(x[1, 2, 3, 1], self.rows[1, 1024 + 2 * 32 + 3])
        self.assertEqual(y[1, 0], 1)

    def test_cifar_100_as_a_tar_of_pickles_without_an_ending(self):
        batch = {b"data": self.rows, b"fine_labels": [9, 8, 7, 6], b"coarse_labels": [1, 2, 3, 4]}
        with tarfile.open(os.path.join(self.folder, "cifar100"), "w:gz") as tar:
            for name in ("train", "test", "meta"):
                content = pickle.dumps(batch)
                member = tarfile.TarInfo(f"cifar-100-python/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        for mode, first in (("fine", 9), ("coarse", 1)):
            (x, y), _ = data_forms.load("cifar100", os.path.join(self.folder, "cifar100"), mode)
            self.assertEqual((x.shape, y[0, 0]), ((4, 32, 32, 3), first))

    def test_anything_else_is_an_error_that_says_what_was_found(self):
        self.write("readme.txt", b"hello")
        for name in ("mnist", "cifar10"):
            with self.assertRaisesRegex(ValueError, "found readme.txt"):
                data_forms.load(name, self.folder)


if __name__ == "__main__":
    unittest.main()
