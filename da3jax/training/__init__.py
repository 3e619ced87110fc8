"""Training and fine-tuning; `losses` says what is minimised."""
