"""What was searched until weight decay was: alpha, beta and gamma around the published coefficients.

For tests that say what they expect of coefficients by these three names, and for the storage that was written then.
"""

THREE_COEFFICIENTS = (
    "method=moda_published",
    "search.space.alpha={low: 0.1, high: 10.0, log: true, zero: false}",
    "search.space.beta={low: 0.1, high: 10.0, log: true, zero: false}",
    "search.space.gamma={low: 0.01, high: 3.0, log: true}",
    "~search.space.learning_rate",
    "~search.space.weight_decay",
    "search.baselines=[{alpha: 1.0, beta: 1.0, gamma: 0.3}, {alpha: 0.0, beta: 0.0, gamma: 0.0}]",
)
# Without any dimension, to which a test adds its own.
NO_SPACE = tuple(f"~search.space.{name}" for name in ("alpha", "beta", "gamma", "learning_rate", "weight_decay"))
