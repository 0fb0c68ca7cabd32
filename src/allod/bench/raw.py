"""The raw loop of a model: its rates without HTTP, and the least time that its bytes allow.

A decode step reads every weight it uses and every row's state once, so it takes at least their bytes over
the memory's bandwidth (Williams et al. 2009, Roofline). What a server loses of that rate is its own.
"""

import msgspec

from allod.bench.figures import median


class WeightBytes(msgspec.Struct, frozen=True):
    """What a decode step reads of the weights.

    Attributes:
        every_step: bytes that each step reads, whatever the rows.
        experts: bytes of all experts together; 0 for a dense model.
        expert_count: how many experts a layer has; 0 for a dense model.
        experts_per_token: how many of them a token goes through.
    """

    every_step: int
    experts: int = 0
    expert_count: int = 0
    experts_per_token: int = 0

    def read(self, rows: int) -> float:
        """Bytes read in a step of so many rows, of experts those that some row is likely to choose."""
        if not self.expert_count:
            return float(self.every_step)
        untouched = (1 - self.experts_per_token / self.expert_count) ** rows
        return self.every_step + self.experts * (1 - untouched)


class Bandwidth(msgspec.Struct, frozen=True):
    """Bytes per second of the device's memory, by three ways of moving much of it; the best one counts."""

    sum_bytes_per_second: float
    copy_bytes_per_second: float
    product_bytes_per_second: float

    @property
    def best_bytes_per_second(self) -> float:
        """The highest."""
        return max(self.sum_bytes_per_second, self.copy_bytes_per_second, self.product_bytes_per_second)


class RawRows(msgspec.Struct, frozen=True):
    """Decoding with so many rows.

    Attributes:
        rows: in the batch.
        context_tokens: of each row, in the middle of the measurement.
        decode_tokens_per_second: of all rows together, one number for each repeat.
        step_seconds: the median step.
        step_bytes: weights and state that a step reads.
        least_seconds: these bytes over the bandwidth.
        reached: least over actual seconds; 1 is the roofline.
    """

    rows: int
    context_tokens: int
    decode_tokens_per_second: tuple[float, ...]
    step_seconds: float
    step_bytes: float
    least_seconds: float
    reached: float

    @property
    def tokens_per_second(self) -> float:
        """The median rate of all rows together."""
        return self.rows / self.step_seconds if self.step_seconds else 0.0


class RawLoop(msgspec.Struct, frozen=True):
    """What `allod bench loop` found.

    Attributes:
        prefill_tokens_per_second: one prompt alone, one number for each repeat.
        left_out: row counts that were not run, with the reason.
    """

    model: str
    device: str
    compute: str
    weights: WeightBytes
    weights_bytes: int
    bandwidth: Bandwidth
    prompt_tokens: int
    prefill_tokens_per_second: tuple[float, ...]
    rows: tuple[RawRows, ...]
    left_out: tuple[str, ...] = ()

    def at(self, rows: int) -> RawRows | None:
        """The measurement with so many rows, if there is one."""
        return next((found for found in self.rows if found.rows == rows), None)


def raw_rows(
    rows: int, context_tokens: int, step_seconds: tuple[float, ...], step_bytes: float, bandwidth: Bandwidth
) -> RawRows:
    """The figures of one row count.

    Args:
        rows: in the batch.
        context_tokens: of each row.
        step_seconds: of a step, one mean for each repeat; at least one.
        step_bytes: weights and state that a step reads.
        bandwidth: of the device.
    """
    middle = median(step_seconds) or 0.0
    least = step_bytes / bandwidth.best_bytes_per_second
    rates = tuple(rows / seconds for seconds in step_seconds)
    return RawRows(rows, context_tokens, rates, middle, step_bytes, least, least / middle if middle else 0.0)
