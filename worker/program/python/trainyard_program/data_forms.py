"""Reads the forms in which the MNIST family and CIFAR lie about, into the arrays that Keras'
load_data returns.

IDX (gzipped or not), NPZ, CIFAR binary, CIFAR's Python pickles; as folders, or as zip and tar
archives.
"""

import gzip
import io
import os
import pickle
import re
import tarfile

import numpy

IDX = re.compile(r"(train|t10k|test)[-_.]?(images|labels)[-_.]idx[13][-_.]ubyte(\.gz)?$")
NPZ_NAMES = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
)
CIFAR_SIDE = 32
CIFAR_BYTES = 3 * CIFAR_SIDE * CIFAR_SIDE


def load(name, path, label_mode="fine"):
    """((x_train, y_train), (x_test, y_test)) of the data set `name`, from a file or folder."""
    files = _Files(path)
    arrays = _from_npz(files)
    if arrays is None and name in ("mnist", "fashion_mnist"):
        arrays = _from_idx(files)
    elif arrays is None:
        arrays = _from_cifar(files, name == "cifar100", label_mode)
    if arrays is None:
        found = ", ".join(sorted(files.names())[:8]) or "nothing"
        wanted = (
            "IDX files or an NPZ"
            if "mnist" in name
            else "CIFAR's binary or Python files, or an NPZ"
        )
        raise ValueError(f"{path}: expected {wanted}, found {found}")
    x_train, y_train, x_test, y_test = arrays
    for part, x, y in (("training", x_train, y_train), ("test", x_test, y_test)):
        if len(x) != len(y) or not len(x):
            raise ValueError(f"{path}: {len(x)} {part} images and {len(y)} labels")
    if name in ("cifar10", "cifar100"):
        kind = "uint8" if name == "cifar10" else "int64"
        y_train, y_test = (numpy.reshape(y, (-1, 1)).astype(kind) for y in (y_train, y_test))
    return (x_train, y_train), (x_test, y_test)


class _Files:
    """The files of a folder, a tar or a single file, by their names without folders."""

    def __init__(self, path):
        self._tar = None
        self._paths = {}
        if os.path.isdir(path):
            for folder, _, names in os.walk(path, followlinks=True):
                self._paths.update({name: os.path.join(folder, name) for name in names})
            archives = [name for name in self._paths if name.endswith((".tar", ".tar.gz", ".tgz"))]
            if len(self._paths) == 1 and archives:
                self._open_tar(self._paths[archives[0]])
        elif tarfile.is_tarfile(path):
            self._open_tar(path)
        else:
            self._paths[os.path.basename(path)] = path

    def _open_tar(self, path):
        self._tar = tarfile.open(path)
        self._paths = {os.path.basename(m.name): m for m in self._tar.getmembers() if m.isfile()}

    def names(self):
        return list(self._paths)

    def read(self, name):
        if self._tar is not None:
            return self._tar.extractfile(self._paths[name]).read()
        with open(self._paths[name], "rb") as file:
            return file.read()


def _from_npz(files):
    names = [name for name in files.names() if name.endswith(".npz")]
    if not names and len(files.names()) == 1 and files.read(files.names()[0])[:4] == b"PK\x03\x04":
        names = files.names()
    for name in names:
        with numpy.load(io.BytesIO(files.read(name)), allow_pickle=False) as npz:
            for keys in NPZ_NAMES:
                if all(key in npz.files for key in keys):
                    return [npz[key] for key in keys]
    return None


def _from_idx(files):
    found = {}
    for name in files.names():
        match = IDX.match(name)
        if match:
            part = "train" if match[1] == "train" else "test"
            found.setdefault((part, match[2]), name)
    order = [("train", "images"), ("train", "labels"), ("test", "images"), ("test", "labels")]
    if not all(key in found for key in order):
        return None
    return [_idx(files, found[key]) for key in order]


def _idx(files, name):
    raw = files.read(name)
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    if len(raw) < 8 or raw[:3] != b"\x00\x00\x08" or raw[3] not in (1, 3):
        raise ValueError(f"{name}: expected an IDX file of bytes")
    rank = raw[3]
    shape = numpy.frombuffer(raw, ">u4", rank, 4).astype(int)
    body = numpy.frombuffer(raw, numpy.uint8, offset=4 + 4 * rank)
    if len(body) != shape.prod():
        raise ValueError(f"{name}: its head promises {shape.prod()} bytes, it has {len(body)}")
    return body.reshape(shape)


def _from_cifar(files, is_100, label_mode):
    names = files.names()
    train = ["train"] if is_100 else [f"data_batch_{i}" for i in range(1, 6)]
    test = ["test"] if is_100 else ["test_batch"]
    for end, read in ((".bin", _cifar_binary), ("", _cifar_pickle)):
        if all(name + end in names for name in train + test):
            parts = [
                [read(files, name + end, is_100, label_mode) for name in group]
                for group in (train, test)
            ]
            return [numpy.concatenate([one[i] for one in part]) for part in parts for i in (0, 1)]
    return None


def _images(rows):
    return numpy.ascontiguousarray(
        rows.reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE).transpose(0, 2, 3, 1)
    )


def _cifar_binary(files, name, is_100, label_mode):
    labels = 2 if is_100 else 1
    raw = numpy.frombuffer(files.read(name), numpy.uint8)
    if len(raw) % (labels + CIFAR_BYTES):
        raise ValueError(f"{name}: {len(raw)} bytes are no whole number of images")
    rows = raw.reshape(-1, labels + CIFAR_BYTES)
    return _images(rows[:, labels:]), rows[:, labels - 1 if label_mode == "fine" else 0]


def _cifar_pickle(files, name, is_100, label_mode):
    try:
        batch = pickle.loads(files.read(name), encoding="bytes")
    except pickle.UnpicklingError as error:
        raise ValueError(f"{name}: {error}") from None
    key = f"{label_mode}_labels" if is_100 else "labels"
    return _images(numpy.asarray(batch[b"data"], numpy.uint8)), numpy.asarray(batch[key.encode()])
