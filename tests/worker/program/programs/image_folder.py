"""Images sorted by the folder they lie in: today's way to write what ImageDataGenerator was for."""

import os
import sys

import keras
from keras import layers

FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "images")
SIZE = (24, 24)
keras.utils.set_random_seed(3)  # Three plain colours: one start in ten is right before it has learned.

train, validation = keras.utils.image_dataset_from_directory(
    FOLDER, validation_split=0.25, subset="both", seed=1, image_size=SIZE, batch_size=16
)
names = train.class_names
train = train.prefetch(2)

augmentation = keras.Sequential(
    [layers.RandomFlip("horizontal"), layers.RandomTranslation(0.1, 0.1)]
)

model = keras.Sequential()
model.add(augmentation)
model.add(layers.Rescaling(1.0 / 255))
model.add(layers.Conv2D(8, 3, activation="relu", padding="same"))
model.add(layers.MaxPooling2D())
model.add(layers.Conv2D(16, 3, activation="relu", padding="same"))
model.add(layers.GlobalAveragePooling2D())
model.add(layers.Dense(len(names)))

model.compile(
    optimizer=keras.optimizers.Adam(learning_rate=0.02),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
history = model.fit(train, validation_data=validation, epochs=4, verbose=2)
print("validation accuracy: %.3f" % history.history["val_accuracy"][-1])
