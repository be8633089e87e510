from keras import Sequential
from keras.layers import Conv2D, Dense


def build_cnn():
    return Sequential([Conv2D(8, 3), Dense(3)])


def build_dense():
    return Sequential([Dense(3)])


model = build_dense()
model.compile(loss="mse")
model.fit([[0.0]], [[0.0] * 3])
