"""`skysplit cuts`: what it costs to run blocks of the backbone on board, behind the embedding.

What pulls in torch is imported where it is used.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from mission.schema import Scenario
from orbit.contact_plan import ContactPlan
from skysplit.commands.arguments import ScenarioArgument, SetOption, TextFormat, fail, read_scenario
from skysplit.commands.orbits import planned_contacts
from skysplit.planning_inputs import costs_of, samples_of
from skysplit.terminal import Terminal
from splitmodel.costs.published import Profile

_TABLE_WIDTH = 110  # no figure is cut, whatever the terminal wraps


def cuts(
    scenario: ScenarioArgument,
    settings: SetOption = None,
    at: Annotated[float, typer.Option(min=0.0, help="Start of the round, seconds of mission time.")] = 0.0,
    output: Annotated[
        TextFormat, typer.Option("--format", help="How the answer is printed.")
    ] = TextFormat.TABLE,
) -> None:
    """For every place to cut the model: what crosses, what is computed and held on board, how long a round takes.

    Example: `skysplit cuts demo`; on real sizes: `skysplit cuts paper`
    """
    resolved = read_scenario(scenario, settings)
    if resolved.training.mode not in ("head", "lora"):
        fail(f"training.mode: found {resolved.training.mode!r}, which splits nothing; allowed: head, lora")
    if resolved.training.augment == "token-dihedral":
        fail(
            'training.augment: found "token-dihedral", which has one place to cut, behind the embedding; allowed: '
            '"none", "dihedral"'
        )
    uncut = resolved.model_copy(update={"split": resolved.split.model_copy(update={"onboard_blocks": 0})})
    contacts = planned_contacts(resolved)
    try:
        costs = costs_of(uncut)
        samples = samples_of(uncut, contacts)
        rows = [_row(resolved, contacts, costs, samples, blocks, at) for blocks in range(costs.blocks)]
    except ValueError as error:
        fail(str(error))
    if output is TextFormat.JSON:
        print(json.dumps(rows))
        return
    table = Table(
        "blocks on board",
        "features, kB/image",
        "on board, GFLOP/image",
        "on the ground, GFLOP/image",
        "held on board, MB",
        "adapter, kB",
        "round, s",
        title=f"{resolved.name}: where to cut {costs.name}",
    )
    for row in rows:
        table.add_row(
            str(row["onboard_blocks"]),
            f"{row['feature_bytes'] / 1e3:.1f}",
            f"{row['onboard_flops'] / 1e9:.3g}",
            f"{row['ground_flops'] / 1e9:.3g}",
            f"{row['onboard_bytes'] / 1e6:.3g}",
            f"{row['adapter_bytes'] / 1e3:.3g}",
            f"{row['round_s']:.1f}",
        )
    console = Terminal()
    Terminal(width=max(console.width, _TABLE_WIDTH)).print(table)


def _row(
    scenario: Scenario, contacts: ContactPlan, uncut: Profile, samples: list[int], blocks: int, at_s: float
) -> dict[str, Any]:
    """A cut: FLOPs of an image and a step, bytes, planned seconds of one round."""
    from server_app.planning.round_planner import (
        framing_of,
        problem_of,
        quorum_of,
        strategy_config_of,
    )
    from server_app.planning.workloads import MissionWorkloads, variant_of
    from splitmodel.crossing.codecs import encoded_bytes
    from strategies.aggregation.quorum import cut
    from strategies.checker.check import require_feasible
    from strategies.planner.round_planner import plan_round

    costs = uncut.cut(blocks)
    workloads = MissionWorkloads(scenario, costs, samples=samples, framing=framing_of(contacts))
    workload = workloads.of_round(variant_of(scenario))
    problem = problem_of(scenario, contacts, workload, start_s=at_s)
    planned = plan_round(problem, strategy_config_of(scenario))
    require_feasible(planned, problem)
    planned = cut(planned, quorum_of(scenario, contacts, samples).end_s(planned))
    trains = scenario.training.mode == "lora"
    return {
        "onboard_blocks": blocks,
        "feature_bytes": encoded_bytes((1, costs.tokens, costs.hidden), scenario.crossings.features),
        "onboard_flops": costs.embedding_flops + 3 * costs.head_flops,
        "ground_flops": costs.backbone_flops + trains * costs.lora_backward_flops,
        "onboard_bytes": 4 * (costs.embedding_params + costs.head_params),
        "adapter_bytes": trains * costs.adapter_bytes,
        "round_s": planned.makespan_s,
    }
