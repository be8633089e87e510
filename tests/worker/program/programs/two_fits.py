"""A frozen base first, then all of it: the usual fine-tuning."""

import numpy as np
import keras
from keras import layers

keras.utils.set_random_seed(2)
rng = np.random.default_rng(1)
y = rng.integers(0, 3, 900)
x = rng.normal(size=(900, 12, 12, 1)).astype("float32") + y[:, None, None, None] * 0.7

base = keras.Sequential(
    [layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D()], name="base"
)
base.trainable = False
inputs = keras.Input((12, 12, 1))
h = base(inputs)
h = layers.GlobalAveragePooling2D()(h)
h = layers.Dense(12, activation="relu", name="hidden")(h)
model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="top")(h))

model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
first = model.fit(x[:700], y[:700], epochs=2, batch_size=50, verbose=0)
print("first", first.epoch, model.evaluate(x[700:], y[700:], verbose=0)[1] > 0)

base.trainable = True
model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"])
second = model.fit(
    x[:700], y[:700], epochs=4, batch_size=50, validation_data=(x[700:], y[700:]), verbose=0
)
print("second", second.epoch, len(second.history["val_accuracy"]))
print("trained", len(model.trainable_weights))
