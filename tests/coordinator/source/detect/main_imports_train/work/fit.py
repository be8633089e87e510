def fit(model):
    for _ in range(3):
        model.compile(loss="mse")
        model.fit(None)
