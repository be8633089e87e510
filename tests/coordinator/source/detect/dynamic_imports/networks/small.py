from tensorflow.keras.layers import Conv2D


def build(keras):
    return keras.Sequential([Conv2D(2, 3)])
