import jax

gradient = jax.grad(lambda w: (w * w).sum())
