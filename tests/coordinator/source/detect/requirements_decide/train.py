import pickle

model = pickle.load(open("pipeline.pkl", "rb"))
model.fit([[0.0]], [0])
