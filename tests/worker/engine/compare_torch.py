"""Trains the same networks from the same weights in Trainyard and in PyTorch (in float64) and
compares logits, loss, every gradient, every weight after a few optimizer steps and the running
statistics, by relative L2 norm.

Usage: compare_torch.py ENGINE_DUMP BACKEND
Exit status 77: PyTorch is not here, nothing was compared.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
except ImportError as error:
    print(f'SKIPPED: {error}')
    sys.exit(77)

TOLERANCE = 1e-5
STEPS = 3


def read_safetensors(path):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], 'little')
    header = json.loads(data[8:8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == '__metadata__':
            continue
        begin, end = entry['data_offsets']
        values = np.frombuffer(data[8 + length + begin:8 + length + end], '<f4')
        tensors[name] = torch.tensor(values.astype(np.float64).reshape(entry['shape']))
    return tensors


def conv(filters, kernel=3, stride=1, padding='same', groups=1, bias=True):
    pair = lambda v: list(v) if isinstance(v, (list, tuple)) else [v, v]
    return {'conv': {'filters': filters, 'kernel': pair(kernel), 'stride': pair(stride),
                     'padding': padding, 'groups': groups, 'bias': bias}}


def pool(kind, kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 0)):
    return {kind: {'kernel': list(kernel), 'stride': list(stride),
                   'padding': padding if padding == 'same' else list(padding)}}


BN, RELU, FLATTEN, GLOBAL = {'batch_norm': {}}, {'relu': {}}, {'flatten': {}}, {'global_avg_pool': {}}


def dense(units, bias=True):
    return {'dense': {'units': units, 'bias': bias}}


def residual(body, shortcut=()):
    return {'residual': {'body': list(body), 'shortcut': list(shortcut)}}


def conv_bn(filters, kernel=3, stride=1, **more):
    return [conv(filters, kernel, stride, bias=False, **more), BN]


SGD = {'kind': 'sgd', 'learning_rate': 0.05, 'momentum': 0.9, 'nesterov': True,
       'weight_decay': 5e-4}
HEAVY = {**SGD, 'nesterov': False, 'clip_norm': 0.05, 'weight_decay': 0.01}
ADAMW = {'kind': 'adamw', 'learning_rate': 1e-3, 'weight_decay': 0.01, 'epsilon': 1e-6}

CASES = {
    'plain': ([1, 14, 14], 10, 16, SGD, [
        conv(8, 5), RELU, pool('max_pool'), conv(16, 3, padding=[0, 0, 0, 0]), RELU, FLATTEN,
        dense(32), RELU, dense(10)]),
    'classic': ([1, 16, 16], 10, 8, ADAMW, [
        conv(16, 3, padding=[0, 0, 0, 0]), RELU, conv(24, 3, padding=[0, 0, 0, 0]), RELU,
        pool('max_pool'), FLATTEN, dense(48), RELU, dense(10)]),
    'residual': ([3, 12, 12], 7, 16, SGD, [
        *conv_bn(16), RELU,
        residual([*conv_bn(24, 3, 2), RELU,
                  residual([*conv_bn(24), RELU, *conv_bn(24)]), RELU,
                  *conv_bn(24)],
                 conv_bn(24, 1, 2)),
        RELU, GLOBAL, dense(7)]),
    'groups': ([4, 11, 13], 5, 12, SGD, [
        conv(8, (3, 4), (2, 1), [1, 0, 2, 1], groups=2), RELU,
        conv(8, 3, groups=8), RELU,
        conv(12, (1, 3), (1, 2), [0, 0, 0, 2], groups=4), RELU, FLATTEN, dense(5, bias=False)]),
    'pools': ([2, 13, 11], 6, 10, HEAVY, [
        conv(8), {'relu': {'slope': 0.1}}, pool('avg_pool', (3, 3), (2, 2), 'same'),
        conv(12), {'relu': {'slope': 0.3}}, pool('max_pool', (3, 2), (2, 1), [1, 0, 0, 1]),
        *conv_bn(8), {'relu': {'slope': 0.01}}, pool('avg_pool', (2, 3), (1, 2), [0, 1, 1, 0]),
        GLOBAL, dense(6)]),
    'adamw': ([3, 10, 10], 4, 16, ADAMW, [
        *conv_bn(8), RELU, pool('max_pool', (3, 3), (2, 2), 'same'),
        residual([*conv_bn(8), RELU, *conv_bn(8)]), RELU, FLATTEN, dense(12, bias=False), BN, RELU,
        dense(4)]),
}


def same_axis(size, kernel, stride):
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pad_of(options, x):
    """(left, right, top, bottom), as F.pad wants it."""
    if options['padding'] == 'same':
        top, bottom = same_axis(x.shape[2], options['kernel'][0], options['stride'][0])
        left, right = same_axis(x.shape[3], options['kernel'][1], options['stride'][1])
    else:
        top, bottom, left, right = options['padding']
    return left, right, top, bottom


def forward(layers, path, x, tensors, training):
    for i, layer in enumerate(layers):
        kind, options = next(iter(layer.items()))
        name = f'{path}.{i}'
        get = lambda suffix: tensors.get(f'{name}.{suffix}')
        if kind == 'conv':
            x = F.conv2d(F.pad(x, pad_of(options, x)), get('weight'), get('bias'),
                         options['stride'], 0, 1, options['groups'])
        elif kind == 'batch_norm':
            x = F.batch_norm(x, get('running_mean'), get('running_var'), get('gamma'),
                             get('beta'), training, 0.1, 1e-5)
        elif kind == 'relu':
            x = F.leaky_relu(x, options.get('slope', 0))
        elif kind == 'max_pool':
            x = F.max_pool2d(F.pad(x, pad_of(options, x), value=-torch.inf), options['kernel'],
                             options['stride'])
        elif kind == 'avg_pool':
            pad = pad_of(options, x)
            args = options['kernel'], options['stride']
            counted = F.avg_pool2d(F.pad(torch.ones_like(x), pad), *args)
            x = F.avg_pool2d(F.pad(x, pad), *args) / counted
        elif kind == 'global_avg_pool':
            x = x.mean((2, 3), keepdim=True)
        elif kind == 'flatten':
            x = x.flatten(1)[:, :, None, None]
        elif kind == 'dense':
            x = F.linear(x.flatten(1), get('weight'), get('bias'))[:, :, None, None]
        elif kind == 'residual':
            x = (forward(options['body'], f'{name}.body', x, tensors, training) +
                 forward(options['shortcut'], f'{name}.shortcut', x, tensors, training))
        else:
            raise ValueError(kind)
    return x


def logits_of(layers, x, tensors):
    with torch.no_grad():
        return forward(layers, 'layers', x, tensors, False).flatten(1)


def make_optimizer(options, tensors):
    trained = {n: t for n, t in tensors.items() if t.requires_grad}
    weights = [t for n, t in trained.items() if n.endswith('.weight')]
    others = [t for n, t in trained.items() if not n.endswith('.weight')]
    groups = [{'params': weights, 'weight_decay': options['weight_decay']},
              {'params': others, 'weight_decay': 0}]
    if options['kind'] == 'sgd':
        return torch.optim.SGD(groups, lr=options['learning_rate'], momentum=options['momentum'],
                               nesterov=options['nesterov'])
    return torch.optim.AdamW(groups, lr=options['learning_rate'], eps=options['epsilon'])


def clip(tensors, limit):
    """Exactly limit / norm; torch's own adds 1e-6 to the norm."""
    grads = [t.grad for t in tensors.values() if t.requires_grad]
    norm = torch.sqrt(sum((g * g).sum() for g in grads))
    if limit and norm > limit:
        for g in grads:
            g *= limit / norm
    return norm.item()


def relative(found, expected):
    found, expected = torch.as_tensor(found), torch.as_tensor(expected)
    scale = expected.norm().item()
    return (found - expected).norm().item() / (scale if scale else 1)


class Comparison:
    def __init__(self, case):
        self.case, self.worst, self.failed = case, (0, ''), False

    def check(self, what, found, expected):
        error = relative(found, expected)
        self.worst = max(self.worst, (error, what))
        if not error <= TOLERANCE:
            self.failed = True
            print(f'  FAILED {self.case}: {what}: relative L2 {error:.2e}')


def compare(case, dump, backend, folder):
    shape, classes, count, optimizer_options, layers = CASES[case]
    random = np.random.default_rng(len(case) * 7 + count)
    images = random.integers(0, 256, (count, *shape), np.uint8)
    labels = random.integers(0, classes, count, np.int32)
    training = {'optimizer': optimizer_options, 'label_smoothing': 0.1, 'seed': 5}
    description = {'network': {'input': shape, 'classes': classes, 'layers': layers},
                   'training': training, 'backend': backend, 'threads': 2, 'steps': STEPS}
    (folder / 'description.json').write_text(json.dumps(description))
    (folder / 'images.bin').write_bytes(images.tobytes())
    (folder / 'labels.bin').write_bytes(labels.tobytes())
    subprocess.run([dump, str(folder)], check=True)

    x = torch.tensor(images.astype(np.float64) / 255)
    x = (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), unbiased=False, keepdim=True)
    targets = torch.tensor(labels.astype(np.int64))
    tensors = read_safetensors(folder / 'before.safetensors')
    for name, tensor in tensors.items():
        tensor.requires_grad_('.running_' not in name)
    read_logits = lambda name: np.fromfile(folder / name, '<f4').astype(
        np.float64).reshape(count, classes)
    result = json.loads((folder / 'result.json').read_text())
    comparison = Comparison(case)
    comparison.check('logits before', read_logits('logits_before.bin'),
                     logits_of(layers, x, tensors))
    optimizer = make_optimizer(optimizer_options, tensors)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(forward(layers, 'layers', x, tensors, True).flatten(1), targets,
                               label_smoothing=training['label_smoothing'])
        loss.backward()
        comparison.check(f'loss of step {step}', result['losses'][step], loss.item())
        if step == 0:
            for name, gradient in read_safetensors(folder / 'gradients.safetensors').items():
                if tensors[name].requires_grad:
                    comparison.check(f'gradient of {name}', gradient, tensors[name].grad)
        norm = clip(tensors, optimizer_options.get('clip_norm', 0))
        comparison.check(f'gradient norm of step {step}', result['gradient_norms'][step], norm)
        optimizer.step()
    for name, value in read_safetensors(folder / 'after.safetensors').items():
        comparison.check(f'{name} after {STEPS} steps', value, tensors[name].detach())
    comparison.check('logits after', read_logits('logits_after.bin'), logits_of(layers, x, tensors))
    error, what = comparison.worst
    print(f'{"FAILED" if comparison.failed else "ok":6} {case}: worst {error:.1e} ({what})')
    return not comparison.failed


def main():
    dump, backend = sys.argv[1:]
    good = True
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            good = compare(case, dump, backend, pathlib.Path(folder)) and good
    sys.exit(0 if good else 1)


if __name__ == '__main__':
    main()
