"""Pictures that can be told apart: each class has a coarse pattern of its own, in noise."""

import random
import sys


def pattern(draws, shape):
    """-> the bytes of one class, below 128: 4 x 4 squares of one brightness."""
    channels, height, width = shape
    planes = []
    for _ in range(channels):
        squares = [[draws.randrange(128) for _ in range(4)] for _ in range(4)]
        planes += [bytes(squares[y * 4 // height][x * 4 // width] for x in range(width)) for y in range(height)]
    return b"".join(planes)


def write(net, folder):
    """Writes a Net's images (raw_dataset.h) into the folder. A network of many classes is shown ten of them.
    -> {"pixels", "labels"}, the files."""
    files = {"pixels": str(folder / "pixels.bin"), "labels": str(folder / "labels.bin")}
    draws = random.Random(5)
    patterns = [int.from_bytes(pattern(draws, net.network["input"]), "little") for _ in range(10)]
    size = len(pattern(draws, net.network["input"]))
    below_128 = int.from_bytes(b"\x7f" * size, "little")
    with open(files["pixels"], "wb") as pixels, open(files["labels"], "wb") as labels:
        for image in range(net.images):
            label = image % 10
            # Both are below 128 in each byte, so no byte of the sum carries into the next.
            noise = int.from_bytes(draws.randbytes(size), "little") & below_128
            pixels.write((noise + patterns[label]).to_bytes(size, "little"))
            labels.write(label.to_bytes(4, sys.byteorder))
    return files
