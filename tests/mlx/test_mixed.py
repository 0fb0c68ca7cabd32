"""A chunk and the rows that decode beside it are read in one pass, and say what they say in two."""

from contextlib import AbstractContextManager, nullcontext

import pytest
from msgspec import structs
from tests.scaffolding.families import VOCABULARY

from allod.core.ids import SegmentId, SequenceId
from allod.core.sampling import Sampling
from allod.core.step import Join, Keep, ModelFacts, Prefill, Restore, StepPlan
from allod.runner.loaded import LoadedModel
from allod.runner.network import Network, NetworkWithin
from allod.runner.step import MlxRunner

pytestmark = pytest.mark.mlx

GREEDY = Sampling(temperature=0.0)
ROW, OTHER = SequenceId(1), SequenceId(2)
FIRST = tuple((5 * place) % VOCABULARY for place in range(12))
SECOND = tuple((3 * place + 2) % VOCABULARY for place in range(40))
CHUNK = 16


class Counting(NetworkWithin):
    """A network that counts passes."""

    passes = 0

    def within(self, rows: int, *, decodes: bool) -> AbstractContextManager[object]:
        """Every pass asks once."""
        self.passes += 1
        return nullcontext()


@pytest.fixture(scope="module")
def model(grouped_llama: tuple[LoadedModel, ModelFacts]) -> tuple[Network, ModelFacts]:
    loaded, facts = grouped_llama
    return loaded.network, facts


def text_of(model: tuple[Network, ModelFacts], *, beside: bool, keeps: bool = False) -> tuple[list[int], int]:
    """What two rows say, of which one is read beside the other, and how many passes its chunks took."""
    network, facts = model
    counting = Counting(network)
    runner = MlxRunner(counting, structs.replace(facts, reads_beside=beside))
    runner.launch(StepPlan(prefill=(Prefill(ROW, FIRST[:-1]),))).collect()
    joined = Join(ROW, ((ROW, GREEDY),), FIRST[-1], ())
    said = [runner.launch(StepPlan(join=(joined,), decode=(ROW,))).collect().sampled[0].token]
    before = counting.passes
    for start in range(0, len(SECOND) - 1, CHUNK):
        chunk = SECOND[:-1][start : start + CHUNK]
        is_last = start + CHUNK >= len(SECOND) - 1
        plan = StepPlan(
            prefill=(Prefill(OTHER, chunk),),
            keep_read=(Keep(SegmentId(start), OTHER, start, start + len(chunk)),) if keeps else (),
            join=(Join(OTHER, ((OTHER, GREEDY),), SECOND[-1], ()),) if is_last else (),
            decode=(ROW, OTHER) if is_last else (ROW,),
        )
        said += [sampled.token for sampled in runner.launch(plan).collect().sampled]
    passes = counting.passes - before
    for _ in range(4):
        said += [each.token for each in runner.launch(StepPlan(decode=(ROW, OTHER))).collect().sampled]
    if keeps:
        parts = tuple(
            (SegmentId(start), min(CHUNK, len(SECOND) - 1 - start))
            for start in range(0, len(SECOND) - 1, CHUNK)
        )
        again = SequenceId(3)
        runner.launch(StepPlan(release=(ROW, OTHER), restore=(Restore(again, parts),))).collect()
        joined = Join(again, ((again, GREEDY),), SECOND[-1], ())
        said += [
            each.token for each in runner.launch(StepPlan(join=(joined,), decode=(again,))).collect().sampled
        ]
    return said, passes


@pytest.mark.parametrize("keeps", [False, True])
def test_a_chunk_costs_no_pass_of_its_own_beside_a_row(
    model: tuple[Network, ModelFacts], keeps: bool
) -> None:
    """The text is the same; what is kept of the prompt too; of six passes three are left."""
    apart, passes = text_of(model, beside=False, keeps=keeps)
    assert text_of(model, beside=True, keeps=keeps) == (apart, passes // 2)
    assert passes == 2 * len(range(0, len(SECOND) - 1, CHUNK))


def test_what_is_kept_of_a_row_is_copied_before_it_reads_on(model: tuple[Network, ModelFacts]) -> None:
    """A prompt that was read before joins and is kept, in a step that reads another: in two passes."""
    network, facts = model
    texts: list[list[int]] = []
    for beside in (False, True):
        runner = MlxRunner(network, structs.replace(facts, reads_beside=beside))
        runner.launch(StepPlan(prefill=(Prefill(ROW, FIRST[:-1]),))).collect()
        joined = Join(ROW, ((ROW, GREEDY),), FIRST[-1], ())
        runner.launch(StepPlan(join=(joined,), decode=(ROW,))).collect()
        third, again = SequenceId(3), SequenceId(4)
        runner.launch(StepPlan(prefill=(Prefill(third, SECOND[:-1]),))).collect()
        plan = StepPlan(
            prefill=(Prefill(OTHER, SECOND[:CHUNK]),),
            keep_read=(Keep(SegmentId(1), third, 0, len(SECOND) - 1),),
            join=(Join(third, ((third, GREEDY),), SECOND[-1], ()),),
            decode=(ROW, third),
        )
        said = [each.token for each in runner.launch(plan).collect().sampled]
        restore = Restore(again, ((SegmentId(1), len(SECOND) - 1),))
        runner.launch(StepPlan(release=(ROW, third, OTHER), restore=(restore,))).collect()
        joined = Join(again, ((again, GREEDY),), SECOND[-1], ())
        for plan in (StepPlan(join=(joined,), decode=(again,)), StepPlan(decode=(again,))):
            said += [each.token for each in runner.launch(plan).collect().sampled]
        texts.append(said)
    assert texts[0] == texts[1]
    assert texts[0][1] == texts[0][2]
