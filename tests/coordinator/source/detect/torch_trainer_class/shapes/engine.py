import torch


class Trainer:
    def __init__(self, model, arguments):
        self.model = model
        self.optimizer = torch.optim.AdamW(model.parameters())

    def run(self):
        for batch in []:
            self.step(batch)

    def step(self, batch):
        self.model(batch).mean().backward()
        self.optimizer.step()
