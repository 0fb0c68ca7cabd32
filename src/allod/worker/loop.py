"""The engine loop: drain commands, plan, launch, collect, commit, report. It holds no policy.

One step is in flight while the one before it is read, so the device does not wait for Python. All of
it runs on the calling thread, which is the only one that touches MLX.
"""

import gc
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, assert_never

from allod.core.messages import (
    AnyCommand,
    Cancel,
    Drain,
    Embed,
    Inspect,
    LoadFailed,
    Loading,
    Prepare,
    Ready,
    Refused,
    Status,
    Stepped,
    Submit,
    Supply,
)
from allod.core.ports import Encoder, Flight, Preprocessor, Runner
from allod.core.step import StepPlan
from allod.engine.scheduler import Scheduler
from allod.engine.settings import EngineSettings
from allod.worker.channel import Channel

LoadProgress = Callable[[str, float | None], None]
Loader = Callable[[LoadProgress], Runner]
Loaded = TypeVar("Loaded", Runner, Encoder, Preprocessor)

EXIT_ORDERLY = 0
EXIT_LOAD_FAILED = 3
_NOT_HERE = "model: this model generates text and embeds none; ask one that embeds"


class LoadRefused(Exception):
    """A model cannot be loaded; the message is fit for the person who asked for it."""


@dataclass(frozen=True, slots=True)
class _Airborne:
    plan: StepPlan
    flight: Flight


def serve(connection: socket.socket, load: Loader, settings: EngineSettings) -> int:
    """Load a model and serve it until the gateway leaves or asks to drain.

    Args:
        connection: this process's end of the socket pair; closed on return.
        load: makes the runner; may raise LoadRefused.
        settings: scheduling limits.

    Returns:
        The exit code of the process.
    """
    return attend(
        connection,
        load,
        lambda channel, runner: EngineLoop(
            channel, runner, Scheduler(runner.facts, settings, runner.archive)
        ).run(),
    )


def attend(
    connection: socket.socket,
    load: Callable[[LoadProgress], Loaded],
    drive: Callable[[Channel, Loaded], None],
) -> int:
    """Load a model, say what came of it, and let it be driven to the end.

    Args:
        connection: this process's end of the socket pair; closed on return.
        load: makes the model; may raise LoadRefused.
        drive: serves it until the gateway leaves or asks to drain.

    Returns:
        The exit code of the process.
    """
    channel = Channel(connection)
    try:
        loaded = load(lambda stage, fraction: channel.send(Loading(stage, fraction)))
    except LoadRefused as refusal:
        channel.send(LoadFailed(str(refusal)))
        channel.close()
        return EXIT_LOAD_FAILED
    # Nothing that loading made is garbage ever after: to look through all of it once took 108 ms.
    gc.collect()
    gc.freeze()
    channel.send(Ready(loaded.facts))
    drive(channel, loaded)
    channel.close()
    return EXIT_ORDERLY


class EngineLoop:
    """Drives one scheduler and one runner."""

    def __init__(self, channel: Channel, runner: Runner, scheduler: Scheduler) -> None:
        self._channel = channel
        self._runner = runner
        self._scheduler = scheduler
        self._airborne: _Airborne | None = None
        self._draining = False
        self._hungry = False
        self._steps = 0

    def run(self) -> None:
        """Run until the gateway leaves, or until everything is done after a Drain.

        Raises:
            RuntimeError: there is work but nothing to do about it. The process ends, and the
                supervisor starts another: better than a queue that never moves.
        """
        while True:
            wait = (self._is_still and not self._draining) or self._hungry
            if not self._channel.obey_all(self._obey, wait=wait) or (self._draining and self._is_still):
                return
            if self._airborne is not None and self._airborne.plan.join:
                # Somebody's first token. Launching takes about as long as a step, and it would wait for that.
                self._land()
            plan = self._scheduler.plan()
            for wanted in self._scheduler.take_wanted():
                self._channel.send(wanted)
            self._hungry = plan.is_empty and self._airborne is None and self._scheduler.waits
            if plan.is_empty and (self._is_still or self._hungry):
                continue
            if plan.is_empty and self._airborne is None:
                raise RuntimeError("the scheduler holds work that it never plans")
            launched = None if plan.is_empty else _Airborne(plan, self._runner.launch(plan))
            self._land()
            self._airborne = launched

    @property
    def _is_still(self) -> bool:
        return self._airborne is None and self._scheduler.idle

    def _land(self) -> None:
        if self._airborne is None:
            return
        airborne, self._airborne = self._airborne, None
        stepped = self._scheduler.commit(airborne.plan, airborne.flight.collect(), time.monotonic())
        self._steps += 1
        if stepped != Stepped(()):
            self._channel.send(stepped)

    def _obey(self, command: AnyCommand) -> None:
        match command:
            case Submit():
                self._channel.send(self._scheduler.submit(command, time.monotonic()))
            case Supply():
                self._take_picture(command)
            case Embed(request=request) | Prepare(request=request):
                self._channel.send(Refused(request, "invalid", _NOT_HERE))
            case Cancel(sequences=sequences):
                self._scheduler.cancel(sequences)
            case Inspect():
                self._channel.send(self._status())
            case Drain():
                self._draining = True
            case _:
                assert_never(command)

    def _take_picture(self, supply: Supply) -> None:
        if self._scheduler.supply(supply.digest):
            self._runner.receive(supply.digest, supply.tensors)

    def _status(self) -> Status:
        occupancy = self._scheduler.occupancy()
        return Status(
            rows=occupancy.rows,
            prefilling=occupancy.prefilling,
            queued=occupancy.queued,
            queued_tokens=occupancy.queued_tokens,
            reserved_bytes=occupancy.reserved_bytes,
            memory=self._runner.memory(),
            steps=self._steps,
            parked=occupancy.parked,
            picture_bytes=occupancy.picture_bytes,
            seen_pictures=occupancy.seen_pictures,
            prefix_bytes=occupancy.prefix_bytes,
            disk_bytes=archive.used_bytes if (archive := self._runner.archive) else 0,
            drafted_tokens=occupancy.looked_up[0] + occupancy.guessed[0],
            accepted_tokens=occupancy.looked_up[1] + occupancy.guessed[1],
            guessed_tokens=occupancy.guessed[0],
            accepted_guessed_tokens=occupancy.guessed[1],
        )
