"""A dense network on numbers, in a class, with a main function."""

import numpy as np
import keras


class Classifier:
    def __init__(self):
        self.model = keras.models.Sequential(name="mlp")
        self.model.add(keras.layers.Dense(24, activation="relu", name="first"))
        self.model.add(keras.layers.Dense(24, activation="relu", name="second"))
        self.model.add(keras.layers.Dense(1, activation="sigmoid", name="last"))
        self.model.compile(
            loss="binary_crossentropy", optimizer="rmsprop", metrics=["binary_accuracy"]
        )

    def train(self, x, y):
        return self.model.fit(x, y, epochs=3, batch_size=32, validation_split=0.2, verbose=0)


def main():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1500, 10)).astype("float32")
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype("float32")
    classifier = Classifier()
    history = classifier.train(x, y)
    print("last", round(history.history["val_binary_accuracy"][-1], 3))


if __name__ == "__main__":
    main()
