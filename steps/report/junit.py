"""JUnit XML: one test case for each thing that a report judges, so that CI shows a run as it shows tests."""

from __future__ import annotations

import re
from xml.etree import ElementTree

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold, however they are escaped."""


class Suite:
    """One test suite.

    Args:
        name: of the suite, and of the class of its cases.
        timestamp: ISO time of its start.
        seconds: that it took.
    """

    def __init__(self, name: str, timestamp: str, seconds: float) -> None:
        self.name = name
        self._suite = ElementTree.Element("testsuite", name=name, timestamp=timestamp, time=f"{seconds:.3f}")

    def case(
        self, title: str, seconds: float, bad: str, *, type: str = "", kind: str = "failure", skipped: str = ""
    ) -> None:
        """Add a case.

        Args:
            title: what must hold.
            seconds: that it took.
            bad: why it does not hold; empty where it does.
            type: of the failure, such as the verdict.
            kind: failure, or error where nothing could be judged.
            skipped: why it was not looked at; empty where it was.
        """
        title, bad, skipped = (_FORBIDDEN.sub("?", text) for text in (title, bad, skipped))
        element = ElementTree.SubElement(
            self._suite, "testcase", classname=self.name, name=title, time=f"{seconds:.3f}"
        )
        if bad:
            ElementTree.SubElement(element, kind, message=bad, type=type).text = bad
        elif skipped:
            ElementTree.SubElement(element, "skipped", message=skipped)

    def to_xml(self) -> bytes:
        """Return the document."""
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            self._suite.set(attribute, str(len(self._suite.findall(f"testcase/{tag}"))))
        self._suite.set("tests", str(len(self._suite.findall("testcase"))))
        tree = ElementTree.Element("testsuites")
        tree.append(self._suite)
        ElementTree.indent(tree)
        text: str = ElementTree.tostring(tree, encoding="unicode")
        return f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n".encode()
