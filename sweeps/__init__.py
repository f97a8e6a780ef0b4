"""Configuration as data: Hydra config groups. ``moda sweep --cfg`` prints what a set of choices comes to."""
