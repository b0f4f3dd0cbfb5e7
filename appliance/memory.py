"""How much memory a configuration can take, all of it known before the first packet.

Owns the sum. Called by `levee check`. The sizes come from the data plane; only the kernel's share is estimated here.
"""

from appliance.engine import dataplane_config
from appliance.models import Config
from cext import capture, notes
from cext.dataplane import memory_bytes

# A queued small packet: the packet and the message with its copy, each a struct sk_buff with its data
# (include/linux/skbuff.h: 768 and 1280 bytes), and the queue's entry.
KERNEL_BYTES_PER_QUEUED_PACKET = 2304
QUEUES_EACH = 2
SECRET_BYTES = 32


def parts(config: Config) -> dict[str, int]:
    """Name of a part -> bytes, in the order they are worth looking at."""
    tables = memory_bytes(dataplane_config(config, bytes(SECRET_BYTES)))
    captured = capture.memory_bytes(config.nfqueue.queues)
    noted = notes.memory_bytes(config.nfqueue.queues)
    queued = config.nfqueue.queues * QUEUES_EACH * config.nfqueue.length * KERNEL_BYTES_PER_QUEUED_PACKET
    return {**tables, "capture, once used": captured, "notes for the log": noted, "kernel queues, when full": queued}
