"""Chunks of prompts with pictures, in any cut, with any of the pictures seen."""

from hypothesis import given
from hypothesis import strategies as st

from allod.core.ids import RequestId, SequenceId, TenantId
from allod.core.pictures import Digest, PictureSpan
from allod.core.sampling import Sampling
from allod.core.step import Prefill
from allod.engine.sequence import Job, Phase


def digest(number: int) -> Digest:
    return Digest(bytes([number] * 32))


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """Words and pictures in any order, adjacent ones and the same one twice included; a word comes last."""
    spans: list[PictureSpan] = []
    position = 0
    for number, words, length in draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(1, 30)), max_size=5)
    ):
        position += words
        spans.append(PictureSpan(position, length, digest(number), 10))
        position += length
    tokens = tuple(range(position + draw(st.integers(1, 9))))
    job = Job(RequestId("r"), TenantId("t"), tokens, 3, frozenset(), ticket=1, pictures=tuple(spans))
    job.add(SequenceId(1), Sampling())
    job.move(Phase.READY if job.is_planned else Phase.PREFILLING)
    return job


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=5)


def chunks_of(job: Job, sizes: list[int], seen: set[Digest], *, whole: bool) -> list[Prefill]:
    """Chunks of these sizes in turn, until the prompt is read or a picture is missing."""
    chunks: list[Prefill] = []
    while not job.is_planned:
        size = sizes[len(chunks) % len(sizes)]
        chunk = job.next_chunk(size, lambda each: each in seen, whole_spans=whole)
        if chunk is None:
            break
        chunks.append(chunk)
    return chunks


EVERYTHING = {digest(number) for number in range(4)}


@given(job=jobs(), sizes=SIZES, whole=st.booleans())
def test_chunks_are_the_prompt_without_its_last_token(job: Job, sizes: list[int], whole: bool):
    """Nothing is left out, nothing comes twice, and what is read is ready to join."""
    chunks = chunks_of(job, sizes, EVERYTHING, whole=whole)
    assert sum((chunk.tokens for chunk in chunks), ()) == job.tokens[:-1]
    assert all(chunk.tokens for chunk in chunks)
    assert job.choices[0].phase is Phase.READY


@given(job=jobs(), sizes=SIZES, whole=st.booleans())
def test_parts_make_each_picture_exactly(job: Job, sizes: list[int], whole: bool):
    """Every token of every span is shown once, by its own picture, at its own place in it."""
    shown: dict[int, tuple[Digest, int]] = {}
    start = 0
    for chunk in chunks_of(job, sizes, EVERYTHING, whole=whole):
        for part in chunk.pictures:
            for place in range(part.length):
                assert start + part.start + place not in shown
                shown[start + part.start + place] = part.digest, part.offset + place
        start += len(chunk.tokens)
    assert shown == {
        span.start + place: (span.digest, place) for span in job.pictures for place in range(span.length)
    }


@given(job=jobs(), sizes=SIZES)
def test_a_chunk_is_longer_than_asked_for_only_for_a_picture_alone(job: Job, sizes: list[int]):
    """Where pictures are read whole no part is a part, and memory is asked for no more than the picture."""
    lengths = {span.digest: [] for span in job.pictures}
    for span in job.pictures:
        lengths[span.digest].append(span.length)
    for place, chunk in enumerate(chunks_of(job, sizes, EVERYTHING, whole=True)):
        for part in chunk.pictures:
            assert part.offset == 0
            assert part.length in lengths[part.digest]
        if len(chunk.tokens) > sizes[place % len(sizes)]:
            assert [part.length for part in chunk.pictures] == [len(chunk.tokens)]


@given(job=jobs(), sizes=SIZES, whole=st.booleans(), seen=st.sets(st.sampled_from(sorted(EVERYTHING))))
def test_what_was_not_looked_at_is_not_read(job: Job, sizes: list[int], whole: bool, seen: set[Digest]):
    """All before it is; there the prompt waits, and goes on from there once it was seen."""
    chunks = chunks_of(job, sizes, seen, whole=whole)
    missing = next((span for span in job.pictures if span.digest not in seen), None)
    assert job.planned_tokens == (len(job.tokens) - 1 if missing is None else missing.start)
    assert job.planned_tokens == sum(len(chunk.tokens) for chunk in chunks)
    if missing is not None:
        assert job.next_chunk(7, None, whole_spans=whole) is None
        assert job.unread_pictures[0] is missing
        chunks_of(job, sizes, EVERYTHING, whole=whole)
        assert job.is_planned
