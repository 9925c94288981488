"""Step `verify-restore`: the very same restore that people use, into the scratch cluster, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from steps.backup.restore import restore
from steps.backup.verify_record import ORDER, RESTORATION, Order, Restoration, dump, load, now
from steps.declare import artifact, input_file, option, outputs_folder, parameter, step
from steps.errors import BadParameters, Refused, StepError, Temporary
from steps.log import log
from steps.parameters import NAMESPACE_NAME


@dataclass(frozen=True)
class RestoreTried:
    """How it ended."""

    restored: bool = parameter("Whether the restore came to its end.")
    restoration: Path = artifact("When it began and ended, and why it failed where it did.", RESTORATION)


@step("verify-restore")
@option("--namespace", required=True, type=NAMESPACE_NAME, help="Namespace of the scratch cluster.")
@input_file("--order", ORDER, "The order of verify-prepare.")
def verify_restore(namespace: str, order: Path) -> RestoreTried:
    """Restore the backup into the scratch cluster. A backup that does not restore is a result, not an error."""
    given = load(Order, order)
    started, rows, why, refused = now(), 0, "", False
    try:
        rows = restore_as_people_do(given, namespace)
    except Temporary:
        raise  # S3 or the server is away: this tells nothing of the backup, and the restore goes on where it stopped
    except StepError as error:
        why, refused = str(error), isinstance(error, (Refused, BadParameters))
        log("not restored", error=type(error).__name__, message=why)
    path = outputs_folder() / RESTORATION
    path.write_bytes(dump(Restoration(started, now(), rows, why, refused)))
    return RestoreTried(not why, path)


def restore_as_people_do(order: Order, namespace: str) -> int:
    """Run the step `restore` with the options that a person would give, and return the number of rows.

    Raises:
        StepError: as the step raises it.
    """
    options = [f"--namespace={namespace}", f"--cluster={order.scratch}", f"--backup={order.backup}"]
    options.append(f"--parallel={order.parallel}")
    if order.keyless:
        # A group takes their rows only so; whether they can be restored is what is asked here.
        options.append("--invisible-key=true")
    with restore.make_context("restore", options) as context:
        restored = restore.function(**context.params)
    return int(restored.rows)
