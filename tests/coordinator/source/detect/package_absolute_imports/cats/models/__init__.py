from cats.models.cnn import build
