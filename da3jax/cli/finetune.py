"""`da3jax finetune CONFIG [key=value …]`."""

from da3jax.cli.train import training_command

DEFAULTS = {"optimizer": {"freeze": ["^backbone/"], "learning_rate": 2e-5, "warmup_steps": 100}}

command = training_command(
    "As train, from weights (start_from), with a frozen backbone and a small rate unless the configuration says otherwise.",
    DEFAULTS,
    from_weights=True,
)
