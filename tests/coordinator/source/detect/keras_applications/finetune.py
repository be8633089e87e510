from keras.applications.mobilenet_v2 import MobileNetV2, preprocess_input
from keras import layers, models, utils

base = MobileNetV2(include_top=False, weights=None)
model = models.Sequential([base, layers.GlobalAveragePooling2D(), layers.Dense(2)])
train = utils.image_dataset_from_directory("data/train").map(lambda x, y: (preprocess_input(x), y))
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(train)
