import keras

model = keras.Sequential([keras.layers.Dense(2)])
model.compile(loss="mse")
x = = 3
model.fit(None)
