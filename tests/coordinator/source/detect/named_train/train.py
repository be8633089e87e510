from model import build

model = build()
model.fit(None)
