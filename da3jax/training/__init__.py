"""Training and fine-tuning.

`config` says what a run is and `loop` runs it: `scenes` and `data` give batches, `losses` says what is minimised, `optimizer` how
parameters change, `step` puts these together, `checkpoints` and `metrics_log` write it down, `starting_point` says where parameters
come from.
"""
