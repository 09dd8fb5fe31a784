"""The stage that sends what lies in the outbox, and the loop around the channels that do it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from flows.console import Step, plural
from flows.context import RunContext
from flows.run import StageResult
from pipelines.base.site import Site
from warehouse import outbox
from warehouse.guard import guarded, transaction
from warehouse.outbox import Message
from warehouse.store import Store

#: Sends one message. Whatever it returns is an acknowledgement, whatever it raises is none.
Channel = Callable[[Message], None]

#: A channel that failed so often in a night is left alone until the next one: each try may have to
#: wait for an answer. More than one, lest a message that is never taken stop those after it.
GIVE_UP_AFTER = 3


def announce(context: RunContext, step: Step) -> StageResult:
    """Send the messages that wait; one that a channel does not take waits for the next run."""
    from flows.channels import channels_of

    messages = synchronise(context)
    if not messages:
        return StageResult("announce", note="nothing to send")
    step.expect(len(messages))
    failed = send(context.site, messages, channels_of(context.site), lambda: step.advance())
    synchronise(context)
    for text in _remarks(failed):
        context.remark(text)
    n_sent = len(messages) - sum(failed.values())
    return StageResult("announce", len(messages), n_sent, note=plural(n_sent, "message") + " sent")


def synchronise(context: RunContext) -> list[Message]:
    """Bring the store's outbox and the file beside it to one state; return what waits."""
    site = context.site
    doing = guarded("reading the outbox", outbox.journal(site))
    with Store(site, say=context.console.say) as store, doing, transaction(store.con):
        outbox.synchronise(store.con, site)
        return outbox.waiting(store.con)


def send(
    site: Site,
    messages: Sequence[Message],
    channels: Mapping[str, Channel],
    told: Callable[[], None] = lambda: None,
) -> Counter[tuple[str, str]]:
    """Send messages in their order; the store is not open meanwhile.

    Returns:
        of the messages that still wait, how many by channel and cause.

    Errors:
        StorageError: what was sent cannot be noted; nothing more is sent then.
    """
    failed: Counter[tuple[str, str]] = Counter()
    n_failures: Counter[str] = Counter()
    for message in messages:
        name = message.channel
        channel = channels.get(name)
        if channel is None:
            failed[name, "it is not configured"] += 1
        elif n_failures[name] >= GIVE_UP_AFTER:
            failed[name, "it was given up for tonight"] += 1
        elif cause := _try(site, message, channel):
            failed[name, cause] += 1
            n_failures[name] += 1
        else:
            told()
    return failed


def _try(site: Site, message: Message, channel: Channel) -> str:
    """Send one message; return why it could not be sent, an empty text where it was."""
    with guarded("noting what is sent", outbox.journal(site)):
        outbox.note_attempt(site, message)
    try:
        channel(message)
    except Exception as error:  # whatever a channel fails with, it must not cost the night
        # No more than the class: texts of libraries quote what they were given.
        return type(error).__name__
    with guarded("noting what was sent", outbox.journal(site)):
        outbox.acknowledge(site, message)
    return ""


def _remarks(failed: Counter[tuple[str, str]]) -> list[str]:
    return [
        f"{plural(count, 'message waits', 'messages wait')} to be sent by channel {name}: {cause}. "
        "The next run tries again."
        for (name, cause), count in sorted(failed.items())
    ]
