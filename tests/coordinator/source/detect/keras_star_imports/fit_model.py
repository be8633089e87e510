from common import *

model = Sequential()
model.add(Conv2D(32, (3, 3), input_shape=(64, 64, 3)))
model.add(Dense(1))
model.compile(optimizer="adam", loss="binary_crossentropy")
model.fit_generator(batches())
