"""What images_per_second measures, in PyTorch: the same network, batches and units of output.

Usage: torch_images_per_second.py [plain|channels_last] [THREADS] [STEPS]
Exit status 77: PyTorch is not here.
"""
import os
import statistics
import sys
import time

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError as error:
    print(f'SKIPPED: {error}', file=sys.stderr)
    sys.exit(77)

BATCH, IMAGES, WARM_UP = 128, 32 * 128, 8


class Classic(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.dense1, self.dense2 = nn.Linear(9216, 128), nn.Linear(128, 10)
        self.dropout1, self.dropout2 = nn.Dropout(.25), nn.Dropout(.5)

    def forward(self, x):
        x = F.relu(self.conv1(x), inplace=True)
        x = F.relu(self.conv2(x), inplace=True)
        x = self.dropout1(F.max_pool2d(x, 2))
        x = F.relu(self.dense1(torch.flatten(x, 1)), inplace=True)
        return self.dense2(self.dropout2(x))


def measure(steps, step):
    for i in range(WARM_UP):
        step(i)
    seconds = []
    for i in range(steps):
        start = time.perf_counter()
        step(i)
        seconds.append(time.perf_counter() - start)
    return BATCH / statistics.median(seconds)


def main():
    layout = torch.channels_last if sys.argv[1:2] == ['channels_last'] else torch.contiguous_format
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 40
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    model = Classic().to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=.02, momentum=.9)
    # Ready to compute with, in memory: reading and normalising cost PyTorch nothing here.
    images = torch.rand(IMAGES, 1, 28, 28) * 2 - 1
    labels = torch.arange(IMAGES) % 10

    def batch(i):
        begin = BATCH * (i % (IMAGES // BATCH))
        return (images[begin:begin + BATCH].contiguous(memory_format=layout),
                labels[begin:begin + BATCH])

    def train(i):
        x, y = batch(i)
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        loss.item()

    def infer(i):
        model(batch(i)[0])

    model.train()
    print(f'training {measure(steps, train):.1f}')
    model.eval()
    with torch.inference_mode():
        print(f'inference {measure(steps, infer):.1f}')


if __name__ == '__main__':
    main()
