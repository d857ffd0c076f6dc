"""One connection: its state, its deadlines, and the responses that it gets when they pass."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from waitress.adjustments import Adjustments
from waitress.channel import ClientDisconnected, HTTPChannel

from api.http.contract.errors import RequestTimeout
from api.http.framework.body_intake import BodyIntake
from api.http.framework.connection_limits import Doing, Standing, origin_of
from api.http.framework.deferral import (
    MAX_BYTES,
    Environment,
    OpenStream,
    Parked,
    ShortRequest,
    Streaming,
    Wait,
)
from api.http.framework.request_parser import Parser
from api.http.framework.response_tasks import AnswerTask, ProblemTask, Served
from api.http.framework.thread_pools import Pool, pool_of
from api.http.proxies.sender import Proxies
from api.session import Outcome
from kernel.protocol.errors import SpoonError

BURST_BYTES: Final = 1 << 20
"""Sent at once. A client that takes a large file as fast as it comes must not keep others waiting."""
LINGER_BYTES: Final = 16 << 20
"""Bytes from a refused client that are read and dropped."""


def channel_class(intake: BodyIntake, proxies: Proxies) -> type["Channel"]:
    """The class of connections whose bodies go to this intake, and of which these may be proxies."""
    return type("Channel", (Channel,), {"intake": intake, "proxies": proxies})


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A waitress connection that knows its state, and since when."""

    error_task_class = ProblemTask
    intake: BodyIntake
    proxies: Proxies
    task_class = AnswerTask
    request: Parser | None
    requests: list[Parser]
    connected: bool
    total_outbufs_len: int
    close_when_flushed: bool
    is_refused = False
    """Its last response refuses a request that the client may still be sending."""

    def __init__(
        self, server: object, sock: object, addr: tuple[str, int], adj: object, sockets: object
    ) -> None:
        self.origin = origin_of(addr[0])
        self._waiting_since = time.monotonic()
        self._is_new = True
        self._timed: Parser | None = None
        """The request that these two are about."""
        self._head_since: float | None = None
        self._body_since: float | None = None
        self._backlog_since: float | None = None
        self._lingers_since: float | None = None
        self._thrown_away_bytes = 0
        self._sent_bytes = 0
        self._burst_bytes = 0
        """Bytes sent in this turn."""
        self._held: list[bytes] | None = None
        """Output that leaves in one piece; None: output leaves at once."""
        self.began_s = 0.0
        """When its request was whole, by the performance counter."""
        self._begun: Environment | None = None
        """The environment of a request that was parked."""
        self._outcome: Outcome | None = None
        """What the Manager has answered to the request that was begun."""
        self.wait: Wait | None = None
        """What its parked request waits for: a change, or something to send to the stream."""
        self._stream: tuple[AnswerTask, OpenStream] | None = None
        """The stream that it sends, and the task that writes it."""
        self._resumes_in: Pool | None = None
        """The pool in which its parked request runs again."""
        self._is_behind = False
        """The stream waits until the client has taken what it was sent."""
        super().__init__(server, sock, addr, adj, map=sockets)

    def standing(self, now: float) -> Standing:
        """Its state. Called by the loop only."""
        if self._lingers_since is not None:
            return Standing(self.origin, Doing.LEAVING, self._lingers_since)
        if not self.total_outbufs_len:
            self._backlog_since = None
        else:
            if self._backlog_since is None:
                self._backlog_since, self._sent_bytes = now, 0
            return Standing(self.origin, Doing.SENDING, self._backlog_since, self._sent_bytes)
        request = self.request
        if self.requests:
            return Standing(self.origin, Doing.WORKING, now)
        if request is not None and self._body_since is not None:
            return Standing(self.origin, Doing.RECEIVING, self._body_since, request.body_bytes_received)
        return Standing(
            self.origin, Doing.WAITING, self._waiting_since, head_since=self._head_since, is_new=self._is_new
        )

    def give_up(self) -> None:
        """Its deadline has passed: disconnect; if a request has begun and no other is being answered, respond
        first."""
        with self.requests_lock:
            request = self.request
            is_told = (
                request is not None and request.has_begun and not self.requests and not self.total_outbufs_len
            )
            is_told = is_told and self._lingers_since is None
        if request is not None and is_told:
            self._answer_with(request, RequestTimeout())
        else:
            self.handle_close()

    def _answer_with(self, request: Parser, error: SpoonError) -> None:
        """Refuse a request before its end."""
        with self.requests_lock:
            request.refuse(error)
            self.request = None
            self.requests.append(request)
            if len(self.requests) == 1:
                self.server.add_task(self)

    def send_continue(self) -> None:
        super().send_continue()
        if self.total_outbufs_len:  # the loop did that itself, and has to learn what is left
            self._look_again()

    def _look_again(self) -> None:
        """Have the loop check which events this connection wants. Called by any thread."""
        self.server.look_at(self)

    def parser_class(self, adj: Adjustments) -> Parser:
        """Called by waitress to create each request."""
        return Parser(adj, self.intake, self.proxies, str(self.addr[0]), self._look_again)

    def readable(self) -> bool:
        """True if more is to be read. A failed request is refused without waiting for the rest of it."""
        request = self.request
        if self._lingers_since is not None:
            return True
        if self.wait is not None:  # read on, to notice if the client leaves
            return request is None and len(self.requests) == 1
        if request is not None and request.failure is not None:
            self._answer_with(request, request.failure)
        is_full = request is not None and request.is_full
        return not is_full and bool(super().readable())

    def handle_write(self) -> None:
        """Send pending output. After the last response to a refused client the connection is closed
        gently."""
        if self.is_refused and self.close_when_flushed:
            self._flush_exception(self._flush_some)
            if self.connected and not self.total_outbufs_len:
                self._linger()
                return
        super().handle_write()

    def _linger(self) -> None:
        """Shut down sending, and read on until the client has seen it: closing a connection with unread bytes
        resets it, and the reset may overtake the response."""
        self._lingers_since = time.monotonic()
        self.close_when_flushed = False
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the client has gone
            self.handle_close()

    def received(self, data: bytes) -> bool:
        if self._lingers_since is not None:
            self._thrown_away_bytes += len(data)
            if self._thrown_away_bytes > LINGER_BYTES:
                self.handle_close()
            return False
        taken: bool = super().received(data)
        request = self.request
        if request is not self._timed:
            self._timed, self._head_since, self._body_since = request, None, None
        if request is not None and request.headers_finished:
            self._body_since = self._body_since or time.monotonic()
        elif request is not None and request.has_begun:
            self._head_since = self._head_since or time.monotonic()
        return taken

    # From here on: called by the thread of its request.

    def pool(self) -> Pool:
        """The pool whose thread its request waits for."""
        if self._resumes_in is not None:
            return self._resumes_in
        request = self.requests[0]
        if request.error is not None:
            return Pool.QUICK
        return pool_of(request.command, request.path, request.body_bytes_received)

    def refuse(self, error: SpoonError) -> None:
        """Turn its request into one that is only refused."""
        self.requests[0].refuse(error)

    def service(self) -> None:
        self.server.serving(self)
        if self._stream is not None:
            self._go_on_streaming(*self._stream)
            return
        self._resumes_in = None
        self.requests[0].settle()
        try:
            super().service()
        except Parked as parked:
            self._begun = parked.environment
            self._park(parked.wait)
        except Streaming as streaming:
            self._park(streaming.stream)
        self._is_new = False
        self._waiting_since = time.monotonic()

    def _park(self, wait: Wait) -> None:
        """Keep its request until the wait rings."""
        self.wait, self._resumes_in = wait, wait.pool
        self.server.park(self)
        wait.bell.call(self._resume)
        if not self.connected:
            wait.drop()

    def _resume(self) -> None:
        """Have the parked request run again, or its stream go on. Called by any thread."""
        if self._stream is None:
            self.wait = None
        self.server.threads.add_task(self)

    def stream(self, task: AnswerTask, stream: OpenStream) -> None:
        """From now on its response is this stream, which the task has begun to write."""
        self._stream = task, stream

    def _go_on_streaming(self, task: AnswerTask, stream: OpenStream) -> None:
        """Send the stream's next part. If that fails, the connection is closed."""
        is_fine = False
        try:
            self._send_part(task, stream)
            is_fine = True
        except ClientDisconnected:
            pass
        finally:
            if not is_fine:
                stream.drop()
                self.will_close = True
                self._look_again()

    def _send_part(self, task: AnswerTask, stream: OpenStream) -> None:
        """Send what there is, if the client has taken the part before; if not, go on when it has."""
        with self.outbuf_lock:
            self._is_behind = self.total_outbufs_len > 0
        if self._is_behind:
            return
        part = stream.take()
        task.write(part.data)
        if part.is_last:
            self._end_stream(task, stream)
        else:
            stream.bell.call(self._resume)

    def _end_stream(self, task: AnswerTask, stream: OpenStream) -> None:
        """Close the connection when all is sent, as waitress does after every response without a length."""
        self.wait = None
        stream.drop()
        task.finish()
        with self.requests_lock:
            self.close_when_flushed = True
            for request in self.requests:
                request.close()
            self.requests = []
        self.server.pull_trigger()

    def begin(self) -> bool:
        """Answer its request without a thread (`api.http.framework.deferral`). False, if it needs one."""
        request = self.requests[0]
        if request.error is not None or not 0 < request.body_bytes_received <= MAX_BYTES:
            return False
        body = request.get_body_stream().read()
        short = ShortRequest(request.command, request.path, request.query, request.headers, body)
        is_begun: bool = self.server.deferral.begin(short, self._go_on)
        return is_begun

    def served(self, one: Served) -> None:
        """Have a response counted."""
        self.server.observe(msgspec.structs.replace(one, seconds=time.perf_counter() - self.began_s))

    def take_begun(self) -> Environment | None:
        """The environment in which its request has begun, once; None, if it has not."""
        begun, self._begun = self._begun, None
        return begun

    def take_outcome(self) -> Outcome | None:
        """What the Manager has answered already, once; None, if its request was not begun."""
        outcome, self._outcome = self._outcome, None
        return outcome

    def _go_on(self, outcome: Outcome) -> None:
        """The Manager has answered. Called by any thread."""
        self._outcome = outcome
        self.server.go_on(self)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Output in the block leaves in one piece. Blocks must not be nested."""
        held = self._held = []
        try:
            yield
        finally:
            self._held = None
        self.write_soon(b"".join(held))

    def write_soon(self, data: bytes) -> int:
        if self._held is None:
            taken: int = super().write_soon(data)
            return taken
        self._held.append(data)
        return len(data)

    # From here on: called from both sides.

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send what the socket takes, unless this connection has had its turn."""
        if self._burst_bytes >= BURST_BYTES:
            return 0
        count: int = super().send(data, do_close)
        self._burst_bytes += count
        return count

    def _flush_some(self, do_close: bool = True) -> bool:
        before, self._burst_bytes = self.total_outbufs_len, 0
        flushed: bool = super()._flush_some(do_close)
        self._sent_bytes += max(0, before - self.total_outbufs_len)
        if not self.total_outbufs_len:
            self._backlog_since = None
            if self._is_behind:
                self._is_behind = False
                self._resume()
        return flushed

    def handle_close(self) -> None:
        if self.request is not None:
            self.request.close()  # a client that left during an upload leaves no file behind
        wait, self.wait = self.wait, None
        if wait is not None:
            wait.drop()
        super().handle_close()

    def add_channel(self, map: object = None) -> None:  # noqa: A002  waitress' word
        super().add_channel(map)
        self.server.crowd.enter(self.origin)

    def del_channel(self, map: object = None) -> None:  # noqa: A002  waitress' word
        if self._fileno is not None:
            self.server.crowd.leave(self.origin)
        super().del_channel(map)
