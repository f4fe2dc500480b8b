"""Open what a scenario names for training: its imagery, its task and its model.

``mission`` has the scenario and does not import torch; ``splitmodel`` has the models and does not know scenarios. The
ground, the satellites and the command line all come through here, so they cannot read the same scenario differently.
"""
