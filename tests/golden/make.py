"""Records what the official network gives for two tiny configurations: `python -m tests.golden.make` from the root of a clone.

Writes, beside this file, a folder in the released layout for each, and `NAME.npz` with the outputs of each case. Needs the parity extra.
"""

import pathlib

import numpy as np

from convert.verify import official_outputs
from tests.golden.cases import CASES, CONFIGS, thin
from tests.parity.checkpoints import write_checkpoint

HERE = pathlib.Path(__file__).parent

if __name__ == "__main__":
    for name, config in CONFIGS.items():
        folder = write_checkpoint(config, HERE / name)
        cases = CASES[name]
        outputs = official_outputs(folder, list(cases.values()))
        arrays = {f"{case}/{key}": thin(key, array) for case, found in zip(cases, outputs, strict=True) for key, array in found.items()}
        np.savez_compressed(HERE / f"{name}.npz", **arrays)
