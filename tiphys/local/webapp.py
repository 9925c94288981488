"""A small web application with a database: what image ``ghcr.io/tiphys/webapp`` runs on the local platform.

It does per request what most applications do: takes a session from its pool, writes a row, reads it back, answers. So
a drill with `app-url` tells what users of such an application feel; see ``examples/webapp``.

    serve      answers ``/`` with HTTP 200 where both worked, 503 where they did not; ``/healthz`` without the database
    database   makes the database, its table and its user, as the administrator; can be run again and again

Settings come from the environment: DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD; `serve` also takes HOST and PORT,
`database` ADMIN_USER and ADMIN_PASSWORD.
"""

from __future__ import annotations

import asyncio
import html
import os
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import mysql.connector
from aiohttp import web
from mysql.connector.pooling import MySQLConnectionPool

SESSIONS = 4
"""Sessions in the pool, and requests that use the database at one time; others wait for their turn."""
TURN_SECONDS = 1
CONNECT_SECONDS = 2
ANSWER_SECONDS = 3
TABLE = (
    "CREATE TABLE IF NOT EXISTS visits (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,"
    " at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3))"
)


class Visits:
    """Writes visits and reads them back, over a pool of sessions.

    Args:
        environment: with the settings.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._settings = {
            **_server(environment),
            "database": environment["DB_NAME"],
            "user": environment["DB_USER"],
            "password": environment["DB_PASSWORD"],
            "autocommit": True,
        }
        self._pool: MySQLConnectionPool | None = None
        self._lock = threading.Lock()
        self._free = asyncio.Semaphore(SESSIONS)
        self._threads = ThreadPoolExecutor(SESSIONS, thread_name_prefix="database")

    async def visit(self) -> tuple[int, str]:
        """Write a visit and read it back; return its number and the server that has it.

        Raises:
            mysql.connector.Error: one of the two did not work.
            TimeoutError: no session was free in time. Without this limit those who have given up would be served
                first once the database is back, and those who still wait too late.
        """
        async with asyncio.timeout(TURN_SECONDS):
            await self._free.acquire()
        visit = asyncio.get_running_loop().run_in_executor(self._threads, self._visit)
        # Not when the request ends: the session is in use until the database has answered.
        visit.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(visit)

    def close(self) -> None:
        """Take no more visits."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def warm(self) -> None:
        """Open the sessions now. A database that is away does not matter yet: the next request tries again."""
        with suppress(mysql.connector.Error, OSError):
            await asyncio.get_running_loop().run_in_executor(self._threads, self._sessions)

    def _sessions(self) -> MySQLConnectionPool:
        with self._lock:
            if self._pool is None:
                self._pool = MySQLConnectionPool(pool_name="visits", pool_size=SESSIONS, **self._settings)
            return self._pool

    def _visit(self) -> tuple[int, str]:
        # The pool looks whether the session still lives, and makes it anew where it does not.
        session = self._sessions().get_connection()
        try:
            cursor = session.cursor()
            cursor.execute("INSERT INTO visits () VALUES ()")
            number = int(cursor.lastrowid)
            cursor.execute("SELECT @@server_uuid FROM visits WHERE id = %s", (number,))
            rows = cursor.fetchall()
            if not rows:
                raise mysql.connector.Error(f"visit {number} was written, and is not there")
            return number, str(rows[0][0])
        finally:
            with suppress(mysql.connector.Error, OSError):
                session.close()


def application(visits: Visits) -> web.Application:
    """Return the web application."""

    async def front(request: web.Request) -> web.Response:
        try:
            number, server = await visits.visit()
        except (mysql.connector.Error, OSError) as error:  # a TimeoutError is an OSError
            print(f"visit failed: {str(error) or 'no session was free'}", file=sys.stderr, flush=True)
            return _page(503, "The database does not answer", "Come back in a moment.")
        return _page(200, f"Visit {number}", f"Written and read back on server {server}.")

    async def health(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def living(_: web.Application) -> AsyncIterator[None]:
        warming = asyncio.create_task(visits.warm())
        yield
        warming.cancel()
        visits.close()

    made = web.Application()
    made.add_routes([web.get("/", front), web.get("/healthz", health)])
    made.cleanup_ctx.append(living)
    return made


def make_database(environment: Mapping[str, str]) -> None:
    """Make the database, its table, and a user who may only read and add rows; the password becomes the given one."""
    name, user = environment["DB_NAME"], environment["DB_USER"]
    if not name.replace("_", "").isalnum():
        raise SystemExit(f"DB_NAME {name!r} is no plain name of a database: letters, digits and _ only")
    admin = mysql.connector.connect(
        **_server(environment), user=environment["ADMIN_USER"], password=environment["ADMIN_PASSWORD"]
    )
    try:
        cursor = admin.cursor()
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS `{name}`")
        cursor.execute(f"USE `{name}`")
        cursor.execute(TABLE)
        account, password = (user, "%"), environment["DB_PASSWORD"]
        cursor.execute("CREATE USER IF NOT EXISTS %s@%s IDENTIFIED BY %s", (*account, password))
        cursor.execute("ALTER USER %s@%s IDENTIFIED BY %s", (*account, password))
        cursor.execute(f"GRANT SELECT, INSERT ON `{name}`.* TO %s@%s", account)
    finally:
        admin.close()
    print(f"database {name} and user {user} are there", flush=True)


def _server(environment: Mapping[str, str]) -> dict[str, Any]:
    return {
        "host": environment["DB_HOST"],
        "port": int(environment.get("DB_PORT", "3306")),
        "connection_timeout": CONNECT_SECONDS,
        "read_timeout": ANSWER_SECONDS,
        "write_timeout": ANSWER_SECONDS,
        "use_pure": True,
    }


def _page(status: int, title: str, text: str) -> web.Response:
    title, text = html.escape(title), html.escape(text)
    page = f"<!doctype html><html lang=en><title>{title}</title><h1>{title}</h1><p>{text}</p></html>\n"
    return web.Response(status=status, text=page, content_type="text/html")


def main(argv: list[str]) -> None:
    """Run the command of the container."""
    if argv == ["database"]:
        make_database(os.environ)
    elif argv == ["serve"]:
        host, port = os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8080"))
        web.run_app(application(Visits(os.environ)), host=host, port=port, access_log=None, print=None)
    else:
        raise SystemExit(f"expected serve or database, not {' '.join(argv) or 'nothing'}")


if __name__ == "__main__":
    main(sys.argv[1:])
