"""A bucket reached as the operator's tools reach it: by the files of ``~/.aws`` that a Secret holds."""

from __future__ import annotations

import configparser
from collections.abc import Mapping

from steps.backup.objects import Bucket
from steps.backup.s3_settings import Settings
from tiphys.local.operator.backup_spec import Place


class BadFiles(Exception):
    """The files do not give what is needed; the message never holds what is in them."""


def bucket(place: Place, files: Mapping[str, str], *, connections: int) -> Bucket:
    """Return the bucket of a place.

    Args:
        place: what the object says.
        files: file name to content, of the Secret.
        connections: at the same time, at most.

    Raises:
        BadFiles: no such profile, or no key in it.
    """
    settings: dict[str, str] = {}
    # In ~/.aws/config, profiles but the default one are named with a word before them.
    for name, sections in (("config", (place.profile, f"profile {place.profile}")), ("credentials", (place.profile,))):
        parser = configparser.RawConfigParser(default_section="no section is default")
        try:
            parser.read_string(files.get(name, ""))
        except configparser.Error as error:
            raise BadFiles(f"Secret {place.secret}: {name} is no such file: {type(error).__name__}") from None
        for section in sections:
            if parser.has_section(section):
                settings |= dict(parser.items(section))
    if not settings.get("aws_access_key_id") or not settings.get("aws_secret_access_key"):
        raise BadFiles(
            f"Secret {place.secret} gives no aws_access_key_id and aws_secret_access_key for the profile "
            f"{place.profile!r}; it has the keys {sorted(files) or 'none'}"
        )
    client = Settings(
        bucket=place.bucket,
        endpoint=place.endpoint or None,
        region=settings.get("region") or "us-east-1",
        access_key=settings["aws_access_key_id"],
        secret_key=settings["aws_secret_access_key"],
        token=settings.get("aws_session_token"),
    ).client(connections)
    return Bucket(client, place.bucket)
