"""Runs FOLDER/model.onnx in onnxruntime on the images in FOLDER/pixels, as they are, and compares with
FOLDER/logits; checks that model.onnx and model.safetensors are what they should be.

Usage: onnx_check.py FOLDER CHANNELS HEIGHT WIDTH CLASSES
Exit code 0: the same within 1e-4; 1: not; 77: a Python package is missing.
"""

import sys

try:
    import numpy as np
    import onnx
    import onnxruntime
    import safetensors
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)

MOST = 1e-4


def main():
    folder = sys.argv[1]
    channels, height, width, classes = map(int, sys.argv[2:])
    pixels = np.fromfile(f"{folder}/pixels", np.uint8).reshape(-1, channels, height, width)
    expected = np.fromfile(f"{folder}/logits", np.float32).reshape(-1, classes)

    onnx.checker.check_model(onnx.load(f"{folder}/model.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(
        f"{folder}/model.onnx", providers=["CPUExecutionProvider"])
    found = np.concatenate([
        session.run(["logits"], {"input": pixels[at:at + 700].astype(np.float32)})[0]
        for at in range(0, len(pixels), 700)])

    with safetensors.safe_open(f"{folder}/model.safetensors", framework="numpy") as weights:
        finite = all(np.isfinite(weights.get_tensor(name)).all() for name in weights.keys())
        named = weights.metadata().get("key") == "value"

    difference = np.abs(found - expected).max()
    agree = int((found.argmax(1) == expected.argmax(1)).sum())
    spread = np.abs(expected).max()
    print(f"{len(pixels)} images, logits up to {spread:.3g}: max abs difference {difference:.3g}, "
          f"{agree} predictions agree")
    right = found.shape == expected.shape and difference <= MOST and spread > 0.1
    return 0 if right and finite and named else 1


sys.exit(main())
