"""The API's half of the protocol, told as stories with a clock that is an argument."""

from api.session import Outcome, Patience, Preview, Question, Session
from kernel.protocol import codec
from kernel.protocol.client import (
    ApiCommand,
    BrokerReply,
    Changed,
    DeleteJob,
    Done,
    JobPreview,
    Refused,
    Watch,
    Watching,
)
from kernel.protocol.endpoints import MAX_UNANSWERED
from kernel.protocol.enums import ChangeKind
from kernel.protocol.errors import JobNotFound, ManagerUnreachable, ShuttingDown
from kernel.protocol.ids import Epoch, EventSeq, JobId

DECODER = codec.api_decoder()
REPLIES = codec.reply_decoder()
PATIENCE = Patience()
RESEND_AFTER_S = PATIENCE.resend_after_s
GIVE_UP_AFTER_S = PATIENCE.give_up_after_s
WATCH_EVERY_S = PATIENCE.watch_every_s


class Story:
    """One session, what it sent, and what it answered."""

    def __init__(self) -> None:
        self.session = Session(0.0, PATIENCE)
        self.answers: dict[int, Outcome] = {}
        self.sent: list[bytes] = []
        """Correlations of the questions that were sent, in order."""
        self.watched = 0
        self.send(0.0)

    def ask(self, number: int, now: float) -> None:
        def answer(outcome: Outcome) -> None:
            assert number not in self.answers, "answered twice"
            self.answers[number] = outcome

        command = ApiCommand(key=f"k{number}", digest=b"d", ask=DeleteJob(job_id=JobId(f"j{number}")))
        self.session.ask(Question(correlation_of(number), command, now, answer))

    def send(self, now: float) -> list[int]:
        sent = []
        for frames in self.session.outgoing(now):
            message = DECODER.decode(frames)
            if isinstance(message.body, Watch):
                self.watched += 1
            else:
                sent.append(int.from_bytes(message.head.correlation, "big"))
        return sent

    def hear(self, reply: BrokerReply, number: int, now: float, epoch: int = 1) -> bool:
        frames = codec.encode(reply, correlation_of(number), Epoch(epoch))
        return self.session.hear(REPLIES.decode(frames), now).is_new_epoch


def correlation_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_a_question_is_sent_once_and_answered() -> None:
    story = Story()
    story.ask(1, 0.0)
    assert story.send(0.0) == [1]
    assert story.send(0.1) == []
    story.hear(Done(), 1, 0.2)
    assert story.answers == {1: Done()}
    assert story.session.is_idle


def test_a_refusal_becomes_the_error_it_stands_for() -> None:
    story = Story()
    story.ask(1, 0.0)
    story.send(0.0)
    story.hear(Refused(code="job_not_found", detail="no j1"), 1, 0.1)
    error = story.answers[1]
    assert isinstance(error, JobNotFound)
    assert error.detail == "no j1"


def test_an_unanswered_question_is_sent_again() -> None:
    story = Story()
    story.ask(1, 0.0)
    story.send(0.0)
    assert story.session.next_deadline() == RESEND_AFTER_S
    assert story.send(RESEND_AFTER_S) == [1]
    assert story.send(RESEND_AFTER_S + 0.1) == []
    assert story.session.resent == 1


def test_a_question_is_given_up_after_ten_seconds() -> None:
    story = Story()
    story.ask(1, 0.0)
    now = 0.0
    while 1 not in story.answers:
        story.send(now)
        now = story.session.next_deadline()
    assert isinstance(story.answers[1], ManagerUnreachable)
    assert now - RESEND_AFTER_S <= GIVE_UP_AFTER_S
    assert story.session.given_up == 1


def test_a_late_answer_is_dropped() -> None:
    story = Story()
    story.ask(1, 0.0)
    story.send(0.0)
    story.hear(Done(), 1, 0.1)
    story.hear(Done(), 1, 0.2)
    story.hear(Done(), 99, 0.3)
    assert story.answers == {1: Done()}


def test_at_most_the_window_is_unanswered() -> None:
    story = Story()
    for number in range(1, MAX_UNANSWERED + 11):
        story.ask(number, 0.0)
    assert len(story.send(0.0)) == MAX_UNANSWERED
    assert story.session.unanswered == MAX_UNANSWERED + 10
    story.hear(Done(), 1, 0.1)
    story.hear(Done(), 2, 0.1)
    assert story.send(0.1) == [MAX_UNANSWERED + 1, MAX_UNANSWERED + 2]


def test_a_question_outside_of_the_window_is_given_up_in_time_too() -> None:
    story = Story()
    for number in range(1, MAX_UNANSWERED + 2):
        story.ask(number, 0.0)
    story.send(0.0)
    story.send(GIVE_UP_AFTER_S)
    assert len(story.answers) == MAX_UNANSWERED + 1
    assert all(isinstance(answer, ManagerUnreachable) for answer in story.answers.values())


def test_a_new_manager_is_asked_everything_again_at_once() -> None:
    story = Story()
    assert not story.hear(Watching(seq=EventSeq(0)), 0, 0.1)
    story.ask(1, 0.2)
    story.send(0.2)
    assert not story.hear(Watching(seq=EventSeq(1)), 0, 0.3)
    watched = story.watched
    assert story.hear(Watching(seq=EventSeq(1)), 0, 0.4, epoch=2)
    assert story.send(0.4) == [1]
    assert story.watched == watched + 1
    assert story.session.epoch == 2


def test_a_line_that_comes_back_is_used_at_once() -> None:
    story = Story()
    story.ask(1, 0.0)
    story.send(0.0)
    story.session.reconnected(0.5)
    assert story.session.next_deadline() <= 0.5
    assert story.send(0.5) == [1]


def test_an_idle_session_says_one_word_in_ten_seconds() -> None:
    story = Story()
    now = 0.0
    while now < 60.0:
        story.send(now)
        story.hear(Watching(seq=EventSeq(0)), 0, now)
        now = story.session.next_deadline()
    assert story.watched == 60 / WATCH_EVERY_S


def test_news_are_handed_on() -> None:
    story = Story()
    change = Changed(seq=EventSeq(5), kind=ChangeKind.JOB, id="j1", state="waiting", at_ms=1)
    frames = codec.encode(change, epoch=Epoch(1))
    assert story.session.hear(REPLIES.decode(frames), 0.1).news == change


def test_a_manager_that_was_asked_and_says_nothing_makes_the_line_suspect() -> None:
    story = Story()
    assert not story.session.is_deaf(WATCH_EVERY_S)
    assert story.session.is_deaf(WATCH_EVERY_S + RESEND_AFTER_S)
    story.session.redialled(20.0)
    assert not story.session.is_deaf(21.0)


def test_at_the_end_every_open_question_is_answered() -> None:
    story = Story()
    for number in range(1, MAX_UNANSWERED + 2):
        story.ask(number, 0.0)
    story.send(0.0)
    story.session.give_up(ShuttingDown())
    assert len(story.answers) == MAX_UNANSWERED + 1
    assert story.session.is_idle


def test_the_blobs_of_a_question_go_with_it_each_time() -> None:
    session = Session(0.0, PATIENCE)
    command = ApiCommand(key="k", digest=b"d", ask=DeleteJob(job_id=JobId("j1")))
    session.ask(Question(correlation_of(1), command, 0.0, lambda outcome: None, (b"one", b"two")))
    for now in (0.0, RESEND_AFTER_S):
        (frames,) = [frames for frames in session.outgoing(now) if len(frames) > 2]
        assert DECODER.decode(frames).blobs == (b"one", b"two")


def test_a_preview_is_news_with_its_picture() -> None:
    session = Session(0.0, PATIENCE)
    told = JobPreview(job_id=JobId("j1"), index=1, step=3)
    frames = codec.encode(told, epoch=Epoch(1), blobs=(b"a jpeg",))
    heard = session.hear(REPLIES.decode(frames), 0.0)
    assert heard.news == Preview(JobId("j1"), index=1, step=3, data=b"a jpeg")


def test_a_preview_without_its_picture_is_no_news() -> None:
    session = Session(0.0, PATIENCE)
    frames = codec.encode(JobPreview(job_id=JobId("j1"), index=1, step=3), epoch=Epoch(1))
    assert session.hear(REPLIES.decode(frames), 0.0).news is None


def test_the_manager_is_silent_from_the_first_question_that_it_has_not_heard() -> None:
    story = Story()
    story.hear(Watching(seq=EventSeq(0)), 0, 1.0)
    assert story.session.silence_s(100.0) == 0.0
    story.ask(1, 100.0)
    story.send(100.0)
    story.ask(2, 101.0)
    story.send(101.0)
    assert story.session.silence_s(103.0) == 3.0
    story.hear(Done(), 1, 103.0)
    assert story.session.silence_s(104.0) == 1.0
    story.hear(Done(), 2, 104.0)
    assert story.session.silence_s(200.0) == 0.0
