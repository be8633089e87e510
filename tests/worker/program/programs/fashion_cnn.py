"""Clothes of Fashion-MNIST, sorted by a small CNN."""

import keras
from keras import layers
from keras.datasets import fashion_mnist

keras.utils.set_random_seed(7)

(x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()
x_train = x_train[:3000].astype("float32")[..., None] / 255
y_train = y_train[:3000]
x_test = x_test[:1000].astype("float32")[..., None] / 255
y_test = y_test[:1000]

model = keras.Sequential(
    [
        keras.Input(shape=(28, 28, 1)),
        layers.Conv2D(16, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(32, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=64, epochs=4, validation_split=0.1)
print("epochs", len(history.history["loss"]), history.epoch)

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"Test accuracy: {accuracy:.4f}")
model.save("fashion.keras")
