"""The VMware side, played by hand from public descriptions of the protocol.

It is an independent witness: it knows nothing of the specs from which the driver is rendered, so
a wrong number there makes driver and host disagree.
"""
