import numpy as np
import tensorflow as tf

tf.random.set_seed(1)
(train_images, train_labels), (test_images, test_labels) = tf.keras.datasets.mnist.load_data()
train_images, train_labels = train_images[:6000], train_labels[:6000]
test_images, test_labels = test_images[:1000], test_labels[:1000]
train_images, test_images = train_images / 255.0, test_images / 255.0

model = tf.keras.models.Sequential(
    [
        tf.keras.layers.Input(shape=(28, 28)),
        tf.keras.layers.Reshape((28, 28, 1)),
        tf.keras.layers.Conv2D(8, (3, 3), activation="relu"),
        tf.keras.layers.MaxPooling2D((2, 2)),
        tf.keras.layers.Flatten(),
        tf.keras.layers.Dense(16, activation="relu"),
        tf.keras.layers.Dense(10),
    ]
)
model.compile(
    optimizer=tf.keras.optimizers.Adam(),
    loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
dataset = tf.data.Dataset.from_tensor_slices((train_images, train_labels)).shuffle(1000).batch(50)
history = model.fit(dataset, epochs=3, validation_data=(test_images, test_labels))
print("epochs", history.epoch)
probabilities = tf.keras.Sequential([model, tf.keras.layers.Softmax()])
print("sums to", float(np.sum(probabilities.predict(test_images[:1], verbose=0))))
