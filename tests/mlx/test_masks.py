"""Rows that follow a grammar, through the runner itself: a random model says what it was not taught."""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import pytest
from tests.scaffolding.families import DEVICE, VOCABULARY, write_byte_tokenizer, write_random_model
from tests.scaffolding.timings import UNMEASURED
from tokenizers import Tokenizer

from allod.core.formats import AnswerForm, JsonObject, JsonSchema
from allod.core.ids import SequenceId
from allod.core.sampling import Sampling
from allod.core.step import Join, ModelFacts, Prefill, Sampled, StepPlan
from allod.device.choose import choose
from allod.runner.load import load
from allod.runner.loaded import LoadedModel
from allod.runner.masks import Masks
from allod.runner.probe import measure
from allod.runner.settings import RunnerSettings
from allod.runner.step import MlxRunner
from allod.text.grammar import GrammarBuilder, GrammarWish
from allod.text.lark import TokenFacts
from allod.text.tokenizer import FileTokenCodec

pytestmark = [pytest.mark.mlx]

END = 257
PROMPT = tuple(range(40, 52))
FREE = Sampling(temperature=0.0)
SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["in", "out"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "name": {"type": "string", "maxLength": 8},
        "flags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["kind", "count", "name", "flags"],
    "additionalProperties": False,
}


@dataclass
class Bench:
    """A runner, and what its rows said. Every step is launched before the last one is collected."""

    runner: MlxRunner
    builder: GrammarBuilder
    codec: FileTokenCodec
    said: dict[int, list[Sampled]] = field(default_factory=dict)

    def grammar(self, form: AnswerForm) -> str:
        return self.builder.build(GrammarWish(form))

    def generate(self, rows: dict[int, tuple[Sampling, str]], steps: int) -> dict[int, list[int]]:
        """The tokens of rows that join together and leave, each, one step after their end token came."""
        joins: list[Join] = []
        for number, (sampling, grammar) in rows.items():
            self.runner.launch(StepPlan(prefill=(Prefill(SequenceId(number), PROMPT[:-1]),))).collect()
            entering = ((SequenceId(number), sampling),)
            prompt = PROMPT if sampling.needs_history else ()
            ends = (END,) if grammar else ()
            joins.append(Join(SequenceId(number), entering, PROMPT[-1], prompt, grammar, stop_tokens=ends))
        living, tokens = list(rows), {number: list[int]() for number in rows}
        self.said = {number: [] for number in rows}
        flight = self.runner.launch(StepPlan(join=tuple(joins), decode=tuple(map(SequenceId, living))))
        for _ in range(steps):
            over = [number for number in living if END in tokens[number][:-1] and rows[number][1]]
            living = [number for number in living if number not in over]
            if not living:
                flight.collect()
                self.runner.launch(StepPlan(release=tuple(map(SequenceId, over)))).collect()
                return tokens
            plan = StepPlan(release=tuple(map(SequenceId, over)), decode=tuple(map(SequenceId, living)))
            following = self.runner.launch(plan)
            for sampled in flight.collect().sampled:
                tokens[sampled.sequence].append(sampled.token)
                self.said[sampled.sequence].append(sampled)
            flight = following
        flight.collect()
        self.runner.launch(StepPlan(release=tuple(map(SequenceId, living)))).collect()
        return tokens

    def text(self, tokens: list[int]) -> str:
        return self.codec.decode(tokens[: tokens.index(END)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks") / "llama"
    write_random_model("llama", folder)
    write_byte_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def measured(folder: Path) -> tuple[LoadedModel, ModelFacts]:
    loaded = load(folder, RunnerSettings(), choose(DEVICE), 2**31, UNMEASURED)
    return loaded, measure(loaded, choose(DEVICE), 2**31, 2048)


@pytest.fixture
def bench(folder: Path, measured: tuple[LoadedModel, ModelFacts]) -> Bench:
    loaded, facts = measured
    path = str(folder / "tokenizer.json")
    codec = FileTokenCodec(Tokenizer.from_file(path))
    names = TokenFacts(
        path, codec.added_tokens, codec.special_tokens, codec.vocabulary_size, VOCABULARY, (END,)
    )
    runner = MlxRunner(loaded.network, facts, Masks(folder / "tokenizer.json", facts.vocabulary))
    return Bench(runner, GrammarBuilder(names), codec)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.0),
        Sampling(temperature=1.0),
        Sampling(temperature=2.0, top_p=0.9, top_k=40),
        Sampling(temperature=1.0, min_p=0.05, repetition_penalty=1.3, frequency_penalty=0.5),
        Sampling(temperature=1.0, logit_bias=((80, 50.0), (END, 100.0), (30, -100.0))),
    ],
    ids=["greedy", "temperature", "filters", "penalties", "bias"],
)
def test_a_random_model_answers_in_form(bench: Bench, sampling: Sampling):
    """Whatever the sampling, the text is JSON of the schema and ends where it is complete."""
    grammar = bench.grammar(JsonSchema(json.dumps(SCHEMA)))
    for answer in bench.generate(dict.fromkeys(range(1, 9), (sampling, grammar)), 200).values():
        jsonschema.validate(json.loads(bench.text(answer)), SCHEMA)


def test_rows_of_a_batch_follow_each_its_own_grammar(bench: Bench):
    """Rows with different grammars share every step, and rows that are over leave the others alone."""
    forms = [JsonSchema(json.dumps(SCHEMA)), JsonSchema('{"enum": [1, 22, 333]}'), JsonSchema("true")]
    bias = ((END, 9.0), *((token, 4.0) for token in bench.codec.encode('"]}', special=False)))
    sampling = Sampling(temperature=1.0, logit_bias=bias)
    rows = {number: (sampling, bench.grammar(forms[number % 3])) for number in range(1, 10)}
    answers = bench.generate(rows, 600)
    for number, answer in answers.items():
        if END in answer:
            value = json.loads(bench.text(answer))
            jsonschema.validate(value, json.loads(forms[number % 3].schema))
    assert sum(END in answer for answer in answers.values()) >= 6


def test_free_rows_do_not_notice(bench: Bench):
    """A free row says the same beside constrained rows as beside free ones, to the last log probability."""
    free = Sampling(temperature=1.0, seed=5, top_logprobs=2)
    grammar = bench.grammar(JsonObject())
    bench.generate({1: (free, ""), 2: (FREE, ""), 3: (free, "")}, 30)
    alone = bench.said[1], bench.said[3]
    bench.generate({1: (free, ""), 2: (FREE, grammar), 3: (free, "")}, 30)
    for before, after in zip(alone, (bench.said[1], bench.said[3]), strict=True):
        assert [each.token for each in before] == [each.token for each in after]
        for one, other in zip(before, after, strict=True):
            assert one.scores is not None
            assert other.scores is not None
            assert one.scores.chosen == pytest.approx(other.scores.chosen, abs=1e-4)


def test_log_probabilities_are_the_models_own(bench: Bench):
    """A token that the grammar forces may be one the model holds unlikely, and its score says so."""
    greedy = Sampling(temperature=0.0, top_logprobs=1)
    bench.generate({1: (greedy, bench.grammar(JsonObject()))}, 3)
    first = bench.said[1][0]
    assert bench.codec.token_bytes(first.token) == b"{"
    assert first.scores is not None
    assert first.scores.chosen < first.scores.alternatives[0][1]


def test_a_row_goes_on_from_what_it_said(bench: Bench):
    """A row that was given up and comes back with what it said follows the grammar from there."""
    grammar = bench.grammar(JsonSchema('{"enum": ["abc", "xyz"]}'))
    said = bench.codec.encode('"a', special=False)
    bench.runner.launch(StepPlan(prefill=(Prefill(SequenceId(1), (*PROMPT, *said[:-1])),))).collect()
    back = Join(SequenceId(1), ((SequenceId(1), FREE),), said[-1], (), grammar, said=said, stop_tokens=(END,))
    results = [bench.runner.launch(StepPlan(join=(back,), decode=(SequenceId(1),))).collect()]
    results += [bench.runner.launch(StepPlan(decode=(SequenceId(1),))).collect() for _ in range(3)]
    tokens = [result.sampled[0].token for result in results]
    assert bench.codec.decode(tokens[:3]) == 'bc"'
    assert tokens[3] == END


def test_what_cannot_be_followed_ends(bench: Bench):
    """A grammar that does not compile leaves the end token alone, and the worker lives."""
    answer = bench.generate({1: (Sampling(temperature=1.0), "start: nowhere")}, 3)[1]
    assert answer[0] == END


def test_ids_beyond_the_tokenizer_never_come(bench: Bench):
    """A model may score more ids than its tokenizer has; a grammar lets none of them through."""
    anything = "start: /(?s:.*)/"
    known = bench.codec.vocabulary_size
    bias = tuple((token, 50.0) for token in range(known, VOCABULARY))
    seed = random.Random(1).randrange(1000)
    answer = bench.generate({1: (Sampling(logit_bias=bias, seed=seed), anything)}, 20)[1]
    assert all(token < known for token in answer)
