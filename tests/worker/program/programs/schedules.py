"""Stops early, lowers the learning rate, keeps the best weights and reads them back."""

import numpy as np
import keras

keras.utils.set_random_seed(11)
rng = np.random.default_rng(5)
x = rng.normal(size=(800, 12)).astype("float32")
y = (x @ rng.normal(size=(12,)) + rng.normal(size=800) * 0.3).astype("float32")

inputs = keras.Input((12,))
h = keras.layers.Dense(16, activation="relu")(inputs)
model = keras.Model(inputs, keras.layers.Dense(1)(h))
model.compile(keras.optimizers.SGD(learning_rate=0.01), loss="mse")


def schedule(epoch, rate):
    return rate if epoch < 3 else rate * 0.5


callbacks = [
    keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=2, min_delta=0.2, restore_best_weights=True
    ),
    keras.callbacks.LearningRateScheduler(schedule),
    keras.callbacks.ModelCheckpoint("best.keras", monitor="val_loss", save_best_only=True),
    keras.callbacks.CSVLogger("log.csv"),
]
history = model.fit(x, y, epochs=8, validation_split=0.25, callbacks=callbacks, verbose=0)
print("rates", [round(float(r), 6) for r in history.history["learning_rate"]])
best = keras.models.load_model("best.keras")
print("best", best.evaluate(x[600:], y[600:], verbose=0))
print("lines", len(open("log.csv").read().split()))
