import tensorflow as tf

mnist = tf.keras.datasets.mnist
(x, y), _ = mnist.load_data()
net = tf.keras.models.Sequential()
net.add(tf.keras.layers.Conv2D(8, (3, 3)))
net.add(tf.keras.layers.Dense(10))
net.compile(loss="mse")
net.fit(x, y)
