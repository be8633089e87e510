from keras import layers, models


def build():
    return models.Sequential([layers.Conv2D(8, 3), layers.Dense(2)])
