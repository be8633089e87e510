"""A network with a residual branch, in the functional way."""

import numpy as np
from keras import Input, Model, layers, optimizers

rng = np.random.default_rng(0)
y = rng.integers(0, 4, 1200)
x = rng.normal(size=(1200, 16, 16, 1)).astype("float32")
for image, label in zip(x, y):  # a bright corner tells the class
    image[8 * (label // 2) : 8 * (label // 2) + 8, 8 * (label % 2) : 8 * (label % 2) + 8] += 0.3

inputs = Input((16, 16, 1), name="image")
h = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(inputs)
shortcut = h
h = layers.Conv2D(8, 3, padding="same", name="branch_1")(h)
h = layers.BatchNormalization()(h)
h = layers.Activation("relu")(h)
h = layers.Conv2D(8, 3, padding="same", name="branch_2")(h)
h = layers.add([h, shortcut], name="sum")
h = layers.MaxPooling2D(4)(h)
h = layers.Flatten(name="flat")(h)
outputs = layers.Dense(4, activation="softmax", name="class")(h)
model = Model(inputs, outputs, name="residual")

model.compile(
    optimizers.SGD(0.02, momentum=0.9), "sparse_categorical_crossentropy", metrics=["acc"]
)
model.fit(x[:1000], y[:1000], epochs=4, validation_data=(x[1000:], y[1000:]), verbose=0)
print(model.evaluate(x[1000:], y[1000:], verbose=0, return_dict=True))
