"""What a model is trained for, beyond one class per image: masks as a model needs them, and how they are scored.

Pure code, which the rounds do not use yet: see `TargetKind` in `splitmodel.imagery`.
"""
