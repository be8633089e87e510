from network import model

model.fit(None)
