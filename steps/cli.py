"""The `step` program: every step of every runbook as one command, imported only when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from steps.parameters import Parameter

COMMANDS: dict[str, tuple[str, str]] = {
    "backup": ("steps.backup.backup:backup", "Copy a cluster to S3, as of one moment."),
    "check-all-clusters": (
        "steps.mysql.check_cluster:check_all_clusters",
        "Look every cluster of the namespace over and say what is wrong.",
    ),
    "check-cluster": (
        "steps.mysql.check_cluster:check_cluster",
        "Look a cluster over and say what is wrong.",
    ),
    "decrypt-backup": ("steps.backup.decrypt:decrypt_backup", "Write an encrypted backup as plain files."),
    "deploy-cluster": (
        "steps.mysql.deploy_cluster:deploy_cluster",
        "Create a cluster, or bring it to what is asked.",
    ),
    "drain-measure": ("steps.drill.drain_measure:drain_measure", "Drain a node and measure what clients feel."),
    "drain-preflight": ("steps.drill.drain_preflight:drain_preflight", "Check that a node may be drained."),
    "drill-approval": ("steps.drill.approval:drill_approval", "Go on with a drill that a person has approved."),
    "drill-late-report": ("steps.drill.late_report:drill_late_report", "Report on a drill that was stopped."),
    "drill-measure": ("steps.drill.measure:drill_measure", "Inject the fault and measure what clients feel."),
    "drill-preflight": ("steps.drill.preflight:drill_preflight", "Check that a drill is allowed and safe."),
    "drill-report": ("steps.drill.report:drill_report", "Judge a drill and write its report."),
    "drill-undo": ("steps.drill.undo:drill_undo", "Put back what a drill changed."),
    "drill-verify": ("steps.drill.verify:drill_verify", "Look for every acknowledged write on every member."),
    "find-backup": ("steps.backup.find_backup:find_backup", "Find the backup that is to be restored."),
    "game-day-late-report": (
        "steps.game_day.report:game_day_late_report",
        "Report on a game day that was stopped.",
    ),
    "game-day-preflight": (
        "steps.game_day.preflight:game_day_preflight",
        "Check a list of drills, and the cluster.",
    ),
    "game-day-report": ("steps.game_day.report:game_day_report", "Judge a game day and write its report."),
    "game-day-run": ("steps.game_day.run:game_day_run", "Run several drills one after the other."),
    "game-day-stop": ("steps.game_day.stop:game_day_stop", "Stop what still runs of a game day."),
    "check-upgrade": (
        "steps.mysql.upgrade_cluster:check_upgrade",
        "Look whether a cluster may be upgraded, and tell the plan.",
    ),
    "load-sample-data": ("steps.mysql.load_sample_data:load_sample_data", "Fill a cluster with sample rows."),
    "prune-backups": ("steps.backup.prune:prune_backups", "Remove the backups of a cluster that no rule keeps."),
    "reap": ("steps.drill.reap:reap", "Undo what drills left behind whose workflow is gone."),
    "restore": ("steps.backup.restore:restore", "Bring a backup back: all of it, or schemas and tables."),
    "rolling-restart": (
        "steps.mysql.rolling_restart:rolling_restart",
        "Restart every server, one after another, the primary last.",
    ),
    "scale-cluster": ("steps.mysql.scale_cluster:scale_cluster", "Change the number of servers and routers."),
    "set-config": ("steps.mysql.set_config:set_config", "Set server variables on every member, or on none."),
    "set-topology": ("steps.mysql.set_topology:set_topology", "Let every member take writes, or one alone again."),
    "start-for-clusters": (
        "steps.backup.schedule:start_for_clusters",
        "Start a run for each cluster that has opted in to backups.",
    ),
    "switch-primary": ("steps.mysql.switch_primary:switch_primary", "Make another member the primary."),
    "topology-undo": ("steps.mysql.topology_undo:topology_undo", "Go back from multi-primary mode."),
    "upgrade-cluster": (
        "steps.mysql.upgrade_cluster:upgrade_cluster",
        "Give servers and Routers another version of MySQL, one at a time.",
    ),
    "verify-checks": ("steps.backup.verify_checks:verify_checks", "Compare restored data with its backup."),
    "verify-late-report": (
        "steps.backup.verify_report:verify_late_report",
        "Report on a verification that did not come to its end.",
    ),
    "verify-objects": ("steps.backup.verify_objects:verify_objects", "Read every file of a backup and compare it."),
    "verify-prepare": ("steps.backup.verify_prepare:verify_prepare", "Find what is to be verified, and how."),
    "verify-remove": ("steps.backup.verify_scratch:verify_remove", "Remove a verification's scratch cluster."),
    "verify-report": ("steps.backup.verify_report:verify_report", "Judge a verification and write its report."),
    "verify-restore": ("steps.backup.verify_restore:verify_restore", "Restore a backup into its scratch cluster."),
    "verify-scratch": ("steps.backup.verify_scratch:verify_scratch", "Make a verification's scratch cluster."),
}
"""Command name to where it lives and its one-line help (given here so that `--help` imports nothing)."""


class LazyGroup(click.Group):
    """A group that imports a command's module when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all steps."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one step, or None where there is no such step."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of steps without importing them."""
        with formatter.section("Steps"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


@click.command(cls=LazyGroup, context_settings={"max_content_width": 100})
def main() -> None:
    """Steps of the Tiphys runbooks. Each runs in a container of an Argo workflow, or by hand.

    Outputs go to $STEP_OUTPUTS (default /tmp/outputs), input artifacts come from $STEP_INPUTS (/tmp/inputs), logs are
    JSON lines on stderr. Exit codes: 0 done, 2 bad parameters, 10 refused by a guard, 20 verdict FAIL, 21 INVALID, 22
    ABORTED, 75 temporary.
    """


def template_options(template: dict[str, Any], *, skip_strangers: bool = False) -> dict[str, Parameter]:
    """Return the options of every step that a WorkflowTemplate runs (``command: [step, NAME]``), by name.

    Args:
        template: its manifest.
        skip_strangers: leave out a step that this installation cannot import, as a template of another version may
            have; otherwise that is raised.
    """
    from steps.declare import StepCommand

    options: dict[str, Parameter] = {}
    context = click.Context(main)
    for part in template["spec"].get("templates") or []:
        command = (part.get("container") or {}).get("command") or []
        if command[:1] == ["step"] and len(command) > 1:
            try:
                step = main.get_command(context, str(command[1]))
            except (ImportError, AttributeError):
                if not skip_strangers:
                    raise
                continue
            if isinstance(step, StepCommand):
                options |= {parameter.name: parameter for parameter in step.parameters}
    return options


if __name__ == "__main__":
    main()
