from keras.layers import *
from keras.models import Sequential


def Conv2D(title):
    """Draws a picture of a convolution."""
    print(title)


Conv2D("what it would look like")
model = Sequential([Dense(3)])
model.compile(loss="mse")
model.fit([[0.0]], [[0.0] * 3])
