"""A model of a class of its own, data by a generator, one epoch at a call of fit."""

import numpy as np
import keras


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, **kwargs):
        super().__init__(**kwargs)
        self.x, self.y, self.batch_size = x, y, batch_size

    def __len__(self):
        return -(-len(self.x) // self.batch_size)

    def __getitem__(self, index):
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self.x[part], self.y[part]


class Net(keras.Model):
    def __init__(self, classes):
        super().__init__()
        self.hidden = keras.layers.Dense(16, activation="relu")
        self.drop = keras.layers.Dropout(0.1)
        self.top = keras.layers.Dense(classes, activation="softmax")

    def call(self, inputs, training=False):
        return self.top(self.drop(self.hidden(inputs), training=training))


rng = np.random.default_rng(0)
x = rng.normal(size=(600, 8)).astype("float32")
y = x[:, :3].argmax(axis=1)
model = Net(3)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["sparse_categorical_accuracy"])
rates = []
for _ in range(4):
    history = model.fit(Batches(x[:400], y[:400], 20), verbose=0)
    rates.append(history.history["sparse_categorical_accuracy"][0])
print("epochs", len(rates), model.evaluate(x[400:], y[400:], verbose=0)[1] > 0.3)
