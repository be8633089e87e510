import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def train(images, labels, weights, rate=0.1):
    for _ in range(100):
        weights -= rate * images.T @ (sigmoid(images @ weights) - labels)
    return weights


if __name__ == "__main__":
    weights = train(np.ones((4, 3)), np.ones(4), np.zeros(3))
    print("accuracy=%.2f" % np.mean(sigmoid(np.ones((4, 3)) @ weights) > 0.5))
