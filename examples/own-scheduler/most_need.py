"""A space-ground strategy: serve the group with most to send, by the pass that still carries most of it."""

import numpy as np

from strategies.beam_scheduling import SpaceGroundStrategy


class MostNeed(SpaceGroundStrategy):
    """Keep the sessions that stand; give free beams to the groups with most need."""

    every_s = 60.0

    def choose(self, moment):
        """Return the sessions, then the open passes by need and by how much of it they still carry."""
        useful_s = np.maximum(moment.left_s() - moment.setup_s, 0.0)
        carried = np.minimum(moment.rate[moment.open] * useful_s, moment.need_of_open())
        order = np.lexsort([-carried, -moment.need_of_open()])
        return [*moment.held, *moment.open[order]]
