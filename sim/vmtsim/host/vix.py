"""The VIX command that queries whether the guest can run programs and copy files.

A host sends it some 23 s after the start (E17), and again after a resume.  Layout: open-vm-tools
lib/include/vixCommands.h; the forms of an answer: services/plugins/vix/foundryToolsDaemon.c.
"""

from __future__ import annotations

import re
import struct

GET_TOOLS_STATE = 62
MESSAGE = b"Vix_1_Relayed_Command"
# Packed, little-endian.  Magic, version, total length, lengths of header, body and credential,
# flags of the message; then operation, its flags, time limit, cookie, client, kind of credential.
_HEADER = struct.Struct("<IHIIIIBIIIQII")
_MAGIC = 0xD00D0001
_VERSION = 5
# `OK ERROR ADDITIONAL ` and the text, which ends in a NUL; `#` begins a binary answer.
_ANSWER = rb"(?s)OK (\d+) (\d+) (?:#|[^\0]*\0?\Z)"


def tools_state(cookie: int) -> bytes:
    """Return the whole TCLO message; GET_TOOLS_STATE has no body and needs no credential."""
    header = _HEADER.pack(
        _MAGIC, _VERSION, _HEADER.size, _HEADER.size, 0, 0, 0, GET_TOOLS_STATE, 0, 0, cookie, 0, 0
    )
    return MESSAGE + b' "%d"\0' % cookie + header


def is_vix(message: bytes) -> bool:
    """Return whether a TCLO message is a VIX command: its answer may end in a NUL."""
    return message.startswith(MESSAGE)


def is_ready(reply: bytes) -> bool:
    """Return whether an answer to GET_TOOLS_STATE means that the guest accepts VIX commands."""
    answer = re.match(_ANSWER, reply)
    return answer is not None and int(answer[1]) == 0
