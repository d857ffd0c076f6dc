"""When each move of the state machines is made, in words. The moves themselves are the tables of the code."""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from engine_worker.session.states import Cause
from kernel.core.state.tables import WorkerState
from kernel.protocol.enums import DeliveryState, EngineState, JobState, ModelState, Phase

Words = Mapping[tuple[Enum, Enum], str]


MODEL: Final[Words] = {
    (ModelState.DOWNLOADING, ModelState.READY): "a fetch worker found it to be what it is said to be",
    (
        ModelState.DOWNLOADING,
        ModelState.ERROR,
    ): "it cannot be used, or fetch workers died over it or could not start",
    (ModelState.READY, ModelState.ERROR): "its files are gone, or newer rules refuse it",
    (ModelState.READY, ModelState.DOWNLOADING): "a person asked to inspect it again",
    (ModelState.ERROR, ModelState.DOWNLOADING): "a person asked to try again, or its files are there again",
}

_STOPPED: Final = "a person stops it, or the Manager stops"
_CLOSED_FOR_ANOTHER: Final = f"{_STOPPED}, or it was idle too long, or another engine needs its room"
_DIED: Final = "its last loaded worker is gone, another one is on its way"
_UNWANTED: Final = "its last worker is gone and nothing wants it any more; or the Manager was started again"
_HOPELESS: Final = "a worker says that it cannot be loaded, or three died in a row with no job to blame"

ENGINE: Final[Words] = {
    (EngineState.CLOSED, EngineState.STARTING): (
        "a person starts it, or a job waits for it and there is room, or an invited worker came"
    ),
    (EngineState.CLOSED, EngineState.ERROR): (
        "a job waits for it, and its device is not there, or none is large enough for it"
    ),
    (EngineState.STARTING, EngineState.READY): "a worker has loaded it, and no job waits",
    (EngineState.STARTING, EngineState.WORKING): "a worker has loaded it, and got a job at once",
    (EngineState.STARTING, EngineState.STOPPING): _STOPPED,
    (EngineState.STARTING, EngineState.CLOSED): _UNWANTED,
    (EngineState.STARTING, EngineState.ERROR): _HOPELESS,
    (EngineState.READY, EngineState.WORKING): "a worker got a job",
    (EngineState.READY, EngineState.STARTING): _DIED,
    (EngineState.READY, EngineState.STOPPING): _CLOSED_FOR_ANOTHER,
    (EngineState.READY, EngineState.CLOSED): _UNWANTED,
    (EngineState.READY, EngineState.ERROR): _HOPELESS,
    (EngineState.WORKING, EngineState.READY): "its workers hold no job any more",
    (EngineState.WORKING, EngineState.STARTING): _DIED,
    (EngineState.WORKING, EngineState.STOPPING): _STOPPED,
    (EngineState.WORKING, EngineState.CLOSED): _UNWANTED,
    (EngineState.WORKING, EngineState.ERROR): _HOPELESS,
    (EngineState.STOPPING, EngineState.CLOSED): "its last worker is gone",
    (EngineState.ERROR, EngineState.STARTING): (
        "it is tried again while jobs wait for it, or a person starts it, or a model of it is ready again"
    ),
}

JOB: Final[Words] = {
    (JobState.WAITING, JobState.PROCESSING): "it is given to a worker, under a new lease",
    (JobState.WAITING, JobState.FINISHED): "its last picture came to the disk after its worker had gone",
    (
        JobState.WAITING,
        JobState.FAILED,
    ): "it has waited for an engine in error as long as it would, or a picture could not be written",
    (JobState.WAITING, JobState.CANCELLED): "a person cancels it",
    (JobState.PROCESSING, JobState.WAITING): (
        "its worker died, left, or was stopped at once; or it made no progress; or the Manager started again"
    ),
    (JobState.PROCESSING, JobState.FINISHED): "its worker is done, and every picture is on the disk",
    (JobState.PROCESSING, JobState.FAILED): (
        "its worker cannot make it, or it was there at the third crash, or a picture could not be written"
    ),
    (JobState.PROCESSING, JobState.CANCELLED): "a person cancels it",
}

DELIVERY: Final[Words] = {
    (DeliveryState.WAITING, DeliveryState.SENDING): "its time has come, and there is a place for it",
    (DeliveryState.WAITING, DeliveryState.FAILED): "its receiver has answered 410 to another one",
    (DeliveryState.SENDING, DeliveryState.WAITING): (
        "its receiver did not answer 2xx, or its worker died, or the Manager started again"
    ),
    (DeliveryState.SENDING, DeliveryState.DELIVERED): "its receiver answered 2xx",
    (DeliveryState.SENDING, DeliveryState.FAILED): "its receiver answered 410, or it was the last attempt",
    (DeliveryState.DELIVERED, DeliveryState.WAITING): "a person has it sent again",
    (DeliveryState.FAILED, DeliveryState.WAITING): "a person has it sent again",
}

_PROCESS_GONE: Final = "its process has ended"

WORKER: Final[Words] = {
    (WorkerState.IDLE, WorkerState.LOADING): "an engine of its pool wants it, or it came back with one",
    (WorkerState.IDLE, WorkerState.DRAINING): "it is asked to leave, or says goodbye",
    (WorkerState.IDLE, WorkerState.TERMINATING): "it is silent, or the Manager shuts down",
    (WorkerState.IDLE, WorkerState.GONE): "it was revoked",
    (WorkerState.LAUNCHED, WorkerState.LOADING): "an engine worker said hello, and was told what to load",
    (WorkerState.LAUNCHED, WorkerState.READY): "a fetch worker said hello",
    (WorkerState.LAUNCHED, WorkerState.TERMINATING): "it never said hello, or is not wanted any more",
    (WorkerState.LAUNCHED, WorkerState.GONE): _PROCESS_GONE,
    (WorkerState.LOADING, WorkerState.READY): "its engine is loaded",
    (WorkerState.LOADING, WorkerState.DRAINING): "it said goodbye by itself",
    (WorkerState.LOADING, WorkerState.TERMINATING): (
        "it loads for too long, was silent, cannot load, or is not wanted any more"
    ),
    (WorkerState.LOADING, WorkerState.GONE): _PROCESS_GONE,
    (WorkerState.READY, WorkerState.DRAINING): (
        "it is told to leave after its jobs or at once, or said goodbye by itself"
    ),
    (WorkerState.READY, WorkerState.TERMINATING): "it was silent, did not drop a job, or its engine failed",
    (WorkerState.READY, WorkerState.GONE): _PROCESS_GONE,
    (
        WorkerState.DRAINING,
        WorkerState.TERMINATING,
    ): "it did not leave in time, was silent, or did not drop a job",
    (WorkerState.DRAINING, WorkerState.GONE): _PROCESS_GONE,
    (WorkerState.TERMINATING, WorkerState.GONE): "its process has ended, or on another host it is given up",
}

MANAGER: Final[Words] = {
    (Phase.RUNNING, Phase.DRAINING): "it is asked to stop, or the API died again and again",
    (Phase.DRAINING, Phase.CLOSING): "no worker is left, and no picture is on its way to the disk",
    (Phase.CLOSING, Phase.EXITED): "the API has ended",
}

CAUSES: Final[Mapping[Cause, str]] = {
    Cause.OPENED: "its socket is there",
    Cause.WELCOMED: "the Manager knows it",
    Cause.REFUSED: "the Manager knows neither its key nor its token",
    Cause.PUT_OFF: "the Manager does not admit it now",
    Cause.UNANSWERED: "no answer to its Hello for too long",
    Cause.LOST: "the Manager fell silent, or does not know it any more; a worker of a pool",
    Cause.DRAIN_ORDERED: "told to finish and leave",
    Cause.LEAVE_ORDERED: "told to leave at once",
    Cause.STOP_ASKED: "a signal",
    Cause.EMPTIED: "it holds nothing any more",
    Cause.DRAINED: "it holds nothing any more, and was told to leave for good",
    Cause.SILENCE: "the Manager fell silent",
    Cause.BROKE: "a defect in the engine's loop",
}
