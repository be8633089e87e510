import tensorflow as tf

model = tf.keras.Sequential([tf.keras.layers.Conv1D(4, 3)])
optimizer = tf.keras.optimizers.Adam()
for step in range(10):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(tf.zeros((1, 8, 1))))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
