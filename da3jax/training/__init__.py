"""Training and fine-tuning: `scenes` draws what is learned from, `losses` says what is minimised."""
