"""`spoon webhooks`: subscribe receivers to events, see what they got, and try them out."""

from typing import TYPE_CHECKING, Final

import click
import msgspec

from api.cli.client.client_models import list_items
from api.cli.context import Invocation
from api.cli.options import json_option, limit_option
from api.cli.output import print_json, print_table, print_thing, printable, when
from kernel.protocol.enums import CallbackEvent

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer

    from api.cli.client.callback_receiver import Arrived

PATH: Final = "/v1/webhooks"
JOBS: Final = "/v1/jobs"
job_option = click.option(
    "--job",
    "is_job",
    is_flag=True,
    help="The first id is that of a job, which has a callback URL of its own.",
)
event_option = click.option(
    "--event",
    "events",
    type=click.Choice([event.value for event in CallbackEvent]),
    multiple=True,
    help="An event to be told of; may be repeated. Default: the ends of jobs.",
)


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook as the server shows it."""

    webhook_id: str
    url: str
    events: tuple[str, ...]
    status: str
    created_at: str
    secret: str | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery as the server shows it."""

    delivery_id: str
    event: str
    job_id: str | None
    status: str
    attempts: int
    error: str | None
    created_at: str


class JobSecret(msgspec.Struct, frozen=True, kw_only=True):
    """The secret of the receivers that jobs name."""

    secret: str


@click.group()
def webhooks() -> None:
    """Have other programs told of jobs.

    The server posts to a webhook's URL, signed after Standard Webhooks, until it answers 2xx, for a day.
    """


@webhooks.command()
@click.argument("url")
@event_option
@json_option
@click.pass_obj
def create(invocation: Invocation, url: str, events: tuple[str, ...], as_json: bool) -> None:
    """Subscribe URL, and print the secret that its signatures are checked with.

    \b
    Example:
      spoon webhooks create https://n8n.example.org/webhook/images --event job.finished
    """
    from api.cli.client.rest import read

    with invocation.rest() as rest:
        answer = rest.post(PATH, {"url": url} | ({"events": events} if events else {}))
    found = read(answer, Webhook)
    if as_json:
        print_json(answer)
        return
    click.echo(found.secret)
    click.echo(f"created webhook {found.webhook_id}; keep the secret: it cannot be shown again", err=True)


@webhooks.command()
@click.argument("webhook")
@click.option("--url", help="Where to send from now on.")
@event_option
@json_option
@click.pass_obj
def edit(
    invocation: Invocation, webhook: str, url: str | None, events: tuple[str, ...], as_json: bool
) -> None:
    """Change the URL or the events of a webhook. One that has ended is active again, also without a change.

    \b
    Example:
      spoon webhooks edit 019b --event job.finished --event job.failed
    """
    from api.cli.client.rest import read

    body = ({} if url is None else {"url": url}) | ({"events": events} if events else {})
    with invocation.rest() as rest:
        answer = rest.patch(_path(webhook), body=body)
    if as_json:
        print_json(answer)
        return
    found = read(answer, Webhook)
    click.echo(f"webhook {found.webhook_id} is {found.status}: {', '.join(found.events)} to {found.url}")


@webhooks.command()
@click.argument("webhook")
@json_option
@click.pass_obj
def rotate(invocation: Invocation, webhook: str, as_json: bool) -> None:
    """Replace the secret of a webhook, and print the new one. The old one signs nothing more."""
    from api.cli.client.rest import read

    with invocation.rest() as rest:
        answer = rest.post(f"{_path(webhook)}/rotate")
    if as_json:
        print_json(answer)
        return
    click.echo(read(answer, Webhook).secret)
    click.echo(f"webhook {webhook} has a new secret; keep it: it cannot be shown again", err=True)


@webhooks.command()
@json_option
@click.pass_obj
def secret(invocation: Invocation, as_json: bool) -> None:
    """Print the secret that callbacks to the receivers of your jobs (--callback-url) are signed with."""
    from api.cli.client.rest import read

    with invocation.rest() as rest:
        answer = rest.get("/v1/callbacks/secret")
    if as_json:
        print_json(answer)
    else:
        click.echo(read(answer, JobSecret).secret)


@webhooks.command("list")
@limit_option
@json_option
@click.pass_obj
def list_all(invocation: Invocation, limit: int, as_json: bool) -> None:
    """List webhooks, newest first."""
    from api.cli.client.rest import read

    with invocation.rest() as rest:
        items = list_items(rest, PATH, {}, limit)
    if as_json:
        print_json(msgspec.json.encode(items))
        return
    found = [read(item, Webhook) for item in items]
    rows = [(one.webhook_id, one.status, ", ".join(one.events), one.url) for one in found]
    print_table(("ID", "STATUS", "EVENTS", "URL"), rows)


@webhooks.command()
@click.argument("webhook")
@json_option
@click.pass_obj
def show(invocation: Invocation, webhook: str, as_json: bool) -> None:
    """Show a webhook, by its id."""
    with invocation.rest() as rest:
        answer = rest.get(_path(webhook))
    (print_json if as_json else print_thing)(answer)


@webhooks.command()
@click.argument("webhook")
@click.pass_obj
def delete(invocation: Invocation, webhook: str) -> None:
    """Delete a webhook, with its deliveries."""
    with invocation.rest() as rest:
        rest.delete(_path(webhook))
    click.echo(f"deleted webhook {webhook}")


@webhooks.command()
@click.argument("webhook")
@click.pass_obj
def test(invocation: Invocation, webhook: str) -> None:
    """Send a test to a webhook; `spoon webhooks deliveries` shows what became of it."""
    from api.cli.client.rest import read

    with invocation.rest() as rest:
        found = read(rest.post(f"{_path(webhook)}/test"), Delivery)
    click.echo(f"sending {found.delivery_id}")


@webhooks.command()
@click.argument("owner", metavar="WEBHOOK|JOB")
@job_option
@limit_option
@json_option
@click.pass_obj
def deliveries(invocation: Invocation, owner: str, is_job: bool, limit: int, as_json: bool) -> None:
    """List what was sent to a webhook, or with --job to a job's callback URL: newest first, with the error of
    the last attempt."""
    from api.cli.client.rest import read

    with invocation.rest() as rest:
        items = list_items(rest, f"{_path(owner, is_job)}/deliveries", {}, limit)
    if as_json:
        print_json(msgspec.json.encode(items))
        return
    rows = [
        (one.delivery_id, one.status, one.event, one.job_id, one.attempts, when(one.created_at), one.error)
        for one in (read(item, Delivery) for item in items)
    ]
    print_table(("ID", "STATUS", "EVENT", "JOB", "ATTEMPTS", "CREATED", "ERROR"), rows)


@webhooks.command()
@click.argument("owner", metavar="WEBHOOK|JOB")
@click.argument("delivery")
@job_option
@click.pass_obj
def redeliver(invocation: Invocation, owner: str, delivery: str, is_job: bool) -> None:
    """Send a delivery of a webhook, or with --job of a job, again, once it has ended."""
    from api.cli.client.rest import quoted

    with invocation.rest() as rest:
        rest.post(f"{_path(owner, is_job)}/deliveries/{quoted(delivery)}/redeliver")
    click.echo(f"sending {delivery}")


@webhooks.command()
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8790, show_default=True, help="Port to listen on."
)
@event_option
@click.pass_obj
def listen(invocation: Invocation, port: int, events: tuple[str, ...]) -> None:
    """Print callbacks as they arrive, until Ctrl-C; a line of JSON for each.

    Subscribes this machine for as long as it runs, and checks the signatures. A server on this machine sends
    here only if its configuration says so: callbacks.allow_hosts = ["127.0.0.1:8790"].

    \b
    Example:
      spoon webhooks listen --event job.created --event job.finished
    """
    from api.cli.client.rest import read

    secrets: list[str] = []
    with _receiver(port, secrets) as receiver, invocation.rest() as rest:
        url = f"http://127.0.0.1:{receiver.server_port}/"
        body = {"url": url} | ({"events": events} if events else {})
        found = read(rest.post(PATH, body), Webhook)
        secrets.append(found.secret or "")
        click.echo(f"listening on {url} as webhook {found.webhook_id}", err=True)
        try:
            receiver.serve_forever()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
        finally:
            rest.delete(_path(found.webhook_id))


def _receiver(port: int, secrets: list[str]) -> "ThreadingHTTPServer":
    from api.cli.client.callback_receiver import open_receiver

    try:
        return open_receiver(port, _tell, lambda: secrets[0])
    except OSError as error:
        raise click.ClickException(f"cannot listen on port {port}: {error.strerror}") from error


def _tell(arrived: "Arrived") -> None:
    if arrived.is_genuine:
        click.echo(printable(arrived.body.decode(errors="replace")))
    else:
        click.echo("something arrived that is not signed with the secret: refused", err=True)


def _path(owner: str, is_job: bool = False) -> str:
    from api.cli.client.rest import quoted

    return f"{JOBS if is_job else PATH}/{quoted(owner)}"
