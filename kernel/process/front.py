"""A client's way to the Manager: its front socket, with the keys that lie in the bus folder at the moment."""

from pathlib import Path

import zmq
import zmq.auth

from kernel.process.dealer import CurveKeys, Dealer, DealerContext, DealerOptions
from kernel.protocol.endpoints import ClientRole, front_endpoint, secret_key_file, server_key_file
from kernel.protocol.errors import BadConfiguration


def open_front(context: DealerContext, bus_folder: Path, role: ClientRole, options: DealerOptions) -> Dealer:
    """Connect with the keys of a role.

    Raises: OSError, if this user can read none; BadConfiguration, if they are damaged.
    """
    try:
        server, _ = zmq.auth.load_certificate(server_key_file(bus_folder))
        public, secret = zmq.auth.load_certificate(secret_key_file(bus_folder, role))
        return Dealer(context, front_endpoint(bus_folder), CurveKeys(server, public, secret or b""), options)
    except (ValueError, zmq.ZMQError) as error:
        raise BadConfiguration(
            f"the keys in {bus_folder} are damaged ({error}); delete them, and the Manager creates new ones "
            "when it starts"
        ) from error
