"""Run the API server: ``python -m tiphys.local.apiserver --home HOME``."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import ssl
import sys
from pathlib import Path

from aiohttp import web

from tiphys.local.apiserver.certificate import ensure_certificate
from tiphys.local.apiserver.server import Server
from tiphys.local.apiserver.store import Store
from tiphys.local.apiserver.token import ensure_token
from tiphys.local.service import run_part
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)


async def serve(home: Path) -> int:
    """Serve until cancelled; return the process's exit code if it cannot or may no longer."""
    settings = Settings.load(home)
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        store = Store(settings.home / "apiserver.db")
    except sqlite3.Error as error:
        log.error(
            "cannot open the store: is another API server running on this home?",
            extra={"home": str(settings.home), "error": str(error)},
        )
        return 1
    server = Server(settings, store, ensure_token(settings.token_file))
    server.prepare()
    # A watch never ends by itself, so a stop does not wait for the streams.
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.api_host, settings.api_port, backlog=512).start()
        certificate, key = ensure_certificate(settings)
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate, key)
        await web.TCPSite(runner, settings.api_host, settings.api_tls_port, ssl_context=tls, backlog=512).start()
        log.info("serving", extra={"url": settings.api_url, "tls": settings.api_tls_url, "version": store.version})
        await server.run()
    except OSError as error:
        log.error("cannot listen", extra={"url": settings.api_url, "error": str(error)})
    except asyncio.CancelledError:
        log.info("stopping")
        raise
    finally:
        await runner.cleanup()
        store.close()
    return 1


if __name__ == "__main__":
    sys.exit(run_part("apiserver", serve))
