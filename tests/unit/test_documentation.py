"""The docs page says what the templates say."""

from typing import Any

from tiphys.documentation import runbooks_page


def template(name: str, **spec: Any) -> dict[str, Any]:
    about = {"workflows.argoproj.io/description": f"Does {name}."}
    return {"kind": "WorkflowTemplate", "metadata": {"name": name, "annotations": about}, "spec": spec}


def test_parameters_and_results_are_listed_under_their_template() -> None:
    parameters = [
        {"name": "cluster", "description": "Which | one."},
        {"name": "mood", "value": "calm", "enum": ["calm", "wild"], "description": "How."},
        {"name": "limit", "value": ""},
        {"name": "backup", "value": "latest", "description": "Which backup."},
    ]
    outputs = {
        "parameters": [{"name": "inner"}, {"name": "v", "globalName": "verdict", "description": "PASS or FAIL."}]
    }
    earlier = {"parameters": [{"name": "v", "globalName": "verdict", "description": "Of an earlier step."}]}
    page = runbooks_page(
        [
            template("zebra", templates=[]),
            template(
                "drill", arguments={"parameters": parameters}, templates=[{"outputs": earlier}, {"outputs": outputs}]
            ),
        ]
    )
    assert page.index("## drill") < page.index("## zebra")
    assert "Does drill." in page
    assert "| `cluster` | **required** | Which \\| one. |" in page
    assert "| `mood` | `calm` | How. One of `calm`, `wild`. |" in page
    assert "| `limit` | (empty) |" in page
    assert "| `verdict` | PASS or FAIL. |" in page
    assert "earlier step" not in page, "the last step that writes a result says what it is"
    assert "| `backup` | `latest` | Which backup. By webhook it has to be given. |" in page
    assert "inner" not in page
    assert "## Schedules" not in page


def test_schedules_stand_in_one_table() -> None:
    cron = {
        "kind": "CronWorkflow",
        "metadata": {"name": "reap", "annotations": {"workflows.argoproj.io/description": "Cleans\nup."}},
        "spec": {"schedules": ["*/5 * * * *"], "timezone": "UTC"},
    }
    assert "| `reap` | `*/5 * * * *` UTC | Cleans up. |" in runbooks_page([cron])


def test_the_page_has_the_whole_description_and_not_the_line_of_argo_s_list() -> None:
    one = template("drill", templates=[])
    one["metadata"]["annotations"]["tiphys.dev/about"] = "Does it.\n\nAnd more.\n"
    page = runbooks_page([one])
    assert "Does it.\n\nAnd more.\n" in page
    assert "Does drill." not in page
