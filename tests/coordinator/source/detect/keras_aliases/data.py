import numpy as np


def images():
    return np.zeros((4, 8, 8, 1)), np.zeros(4)
