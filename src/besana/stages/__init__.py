"""The way of the data: the stages in their order, one module a verb.

Each module has a header with `Reads:` and `Writes:`, a `Config`, an `EXAMPLE` and a
`run(workspace, config, engine) -> Report`. Command line, status page and docs are made from this.
"""

from __future__ import annotations

# Verb -> what it does, as the first line of its module says.
STAGES = {
    "collect": "Take images from folders into the workspace.",
    "clean": "Judge every frame: quality, duplicates, a moved camera.",
    "prepare": "Undistort, cut regions, fuse bands and pack samples into shards.",
    "label": "Take labels from people's files and tell where they disagree.",
    "split": "Freeze a dataset whose groups never cross from training to test.",
    "train": "Train a classifier on a dataset: probe, finetune or scratch.",
    "evaluate": "Measure a trained model on the test split, with honest intervals.",
    "register": "Let a trained model through the gate: challenger or champion.",
    "predict": "Classify samples with a registered model.",
    "monitor": "Tell whether cameras still show what the model was trained on, and what a change"
    " costs.",
    "answers": "Add predictions up to hours per bed and day, or shares of a field.",
}
