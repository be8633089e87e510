"""A checkpoint of ours is read by the `safetensors` package, with the same names, shapes and values.

Usage: read_with_safetensors.py ENGINE_DUMP. The package is looked for in the virtual environment
$TRAINYARD_VENV, or build/venv below the source tree. Exit status 77: it is not there.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
DESCRIPTION = {
    'network': {'input': [1, 8, 8], 'classes': 3, 'layers': [
        {'conv': {'filters': 4, 'bias': False}}, {'batch_norm': {}}, {'relu': {}}, {'flatten': {}},
        {'dense': {'units': 3}}]},
    'training': {'optimizer': {'kind': 'adamw', 'learning_rate': 0.001}},
    'backend': 'reference', 'threads': 1, 'steps': 1,
}
TRAINED = {'layers.0.weight': (4, 1, 3, 3), 'layers.1.gamma': (4,), 'layers.1.beta': (4,),
           'layers.4.weight': (3, 144), 'layers.4.bias': (3,)}
STATISTICS = {'layers.1.running_mean': (4,), 'layers.1.running_var': (4,)}


def in_environment():
    """Goes on in the virtual environment's Python, if there is one."""
    if os.environ.get('TRAINYARD_IN_VENV'):
        return
    python = pathlib.Path(os.environ.get('TRAINYARD_VENV') or ROOT / 'build/venv') / 'bin/python'
    if not python.exists():
        print(f'SKIPPED: no {python}')
        sys.exit(77)
    os.environ['TRAINYARD_IN_VENV'] = '1'
    os.execv(python, [str(python), *sys.argv])


def main():
    in_environment()
    try:
        from safetensors import safe_open
        import numpy
    except ImportError as error:
        print(f'SKIPPED: {error}')
        sys.exit(77)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / 'description.json').write_text(json.dumps(DESCRIPTION))
        (folder / 'images.bin').write_bytes(bytes(range(256)))
        (folder / 'labels.bin').write_bytes(numpy.array([0, 1, 2, 0], '<i4').tobytes())
        subprocess.run([sys.argv[1], name], check=True)
        path = folder / 'checkpoint.safetensors'
        data = path.read_bytes()
        length = int.from_bytes(data[:8], 'little')
        header = json.loads(data[8:8 + length])
        expected = {**TRAINED, **STATISTICS}
        for moment in ('moment1', 'moment2'):
            expected.update({f'optimizer.{moment}.{n}': s for n, s in TRAINED.items()})
        with safe_open(path, 'numpy') as file:
            assert set(file.keys()) == set(expected), sorted(file.keys())
            assert file.metadata()['format'] == 'trainyard-checkpoint-1', file.metadata()
            for tensor, shape in expected.items():
                values = file.get_tensor(tensor)
                assert values.shape == shape and values.dtype == numpy.float32, tensor
                begin, end = header[tensor]['data_offsets']
                raw = data[8 + length + begin:8 + length + end]
                assert values.tobytes() == raw, tensor
            assert numpy.abs(file.get_tensor('optimizer.moment1.layers.4.weight')).max() > 0
    print(f'read {len(expected)} tensors')


if __name__ == '__main__':
    main()
