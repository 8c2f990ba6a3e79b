"""A real nats-server, and programs that run in processes of their own."""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import nats
import pytest

# Nothing here takes long: it ends what hangs.
LIMIT = 60

# Nothing of an entry gets to the disk by itself, nor to a sink that is not there.
RING_ONLY = dict(sink="nats://127.0.0.1:1", pending_max="1h", ring_high_water=1.0)


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory):
    """The address of a server with JetStream, on a port that the system gave it."""
    binary = shutil.which("nats-server")
    assert binary, "no nats-server on the PATH: python/test installs one"
    folder = tmp_path_factory.mktemp("nats")
    config = folder / "config"
    config.write_text(
        f'listen: "127.0.0.1:-1"\nports_file_dir: "{folder}"\njetstream {{ store_dir: "{folder}/store" }}\n'
    )
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen([binary, "--config", config], stderr=log)
    try:
        ports = folder / f"nats-server_{server.pid}.ports"
        yield json.loads(eventually(lambda: ports.exists() and ports.read_text()))["nats"][0]
    finally:
        server.kill()
        server.wait()


def eventually(look):
    """What `look` finds, once that is anything."""
    deadline = time.monotonic() + LIMIT
    while not (found := look()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)
    return found


def read_stream(url, stream="AUDIT", subjects="assembly.audit.>"):
    """All entries of a stream in order, as (subject, headers, bytes)."""

    async def read():
        client = await nats.connect(url)
        try:
            consumer = await client.jetstream().pull_subscribe(subjects, stream=stream)
            entries = []
            while pending := (await consumer.consumer_info()).num_pending:
                for message in await consumer.fetch(min(pending, 1000), timeout=LIMIT):
                    entries.append((message.subject, message.headers, message.data))
                    await message.ack()
            return entries
        finally:
            await client.close()

    return asyncio.run(read())


def run(program, *args, expect=0):
    """Runs a program in a process of its own, and returns what it printed."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.run(
            # Python itself warns of forks beside threads.
            [sys.executable, "-W", "always", "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program), *map(str, args)],
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=LIMIT,
        )
        output.seek(0)
        printed = output.read().decode()
    assert process.returncode == expect, printed
    return printed


def lines(path):
    """The entries of JSON lines."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]
