"""The authority of a server, which signs and marks its files (`provenance.authority`).

A real authority is a folder that a setting names. Without the setting a development authority is
made at the first start. The database holds it, so that all hosts of a server sign and mark alike.
A copy stands in the server's folder for `experiments.verify`.
"""

import base64
import json
from pathlib import Path

from sora_jax import files
from sora_jax.errors import UserError
from sora_jax.provenance.authority import NAMES, Authority, open_authority
from sora_jax.studio.database.store import Store
from sora_jax.studio.settings import Settings

NAME = "authority"  # its name in the database, and the folder of the copy


def open_for(settings: Settings, store: Store) -> Authority:
    """Returns the authority of a server.

    Raises:
        UserError: the folder of the settings is no authority, or the copy cannot be written.
    """
    if settings.authority is not None:
        if not files.user_path(settings.authority).is_dir():
            raise UserError(
                f"authority={settings.authority}: there is no such folder; give one with "
                f"{', '.join(NAMES)}",
                field="authority",
            )
        return open_authority(settings.authority)
    folder = Path(settings.directory).absolute() / NAME
    stored = store.known(NAME)
    if stored is None:
        open_authority(folder)
        stored = store.once(NAME, _packed(folder))
    if not folder.is_dir() or _packed(folder) != stored:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in json.loads(stored).items():
            files.write(folder / name, base64.b64decode(content))
            (folder / name).chmod(0o600)
    return open_authority(folder)


def _packed(folder: Path) -> str:
    try:
        contents = {name: (folder / name).read_bytes() for name in NAMES}
    except OSError:
        return ""
    return json.dumps({name: base64.b64encode(data).decode() for name, data in contents.items()})
