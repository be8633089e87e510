import helper
import keras

model = keras.Sequential([keras.layers.Dense(2)])
helper.train_model(model)
