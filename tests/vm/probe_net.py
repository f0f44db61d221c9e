"""Operations on the network. The text that is sent is the case's id, so that servers can tell what arrived."""

import ctypes
import os
import select
import socket
import struct

from probe_file import LIBC

MSG_FASTOPEN = 0x20000000
FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}


def target(family, host, port):
    return (host, int(port)) if family == "4" else (host, int(port), 0, 0)


def answered(client):
    """The server echoes."""
    client.settimeout(20)
    return "ok" if client.recv(99) else "no answer"


def tcp(family, host, port, text):
    with socket.socket(FAMILIES[family], socket.SOCK_STREAM) as client:
        client.connect(target(family, host, port))
        client.sendall(text.encode())
        return answered(client)


def fast_open(family, host, port, text):
    with socket.socket(FAMILIES[family], socket.SOCK_STREAM) as client:
        client.sendto(text.encode(), MSG_FASTOPEN, target(family, host, port))
        return answered(client)


def nonblocking(family, host, port, text):
    with socket.socket(FAMILIES[family], socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            client.connect(target(family, host, port))
        except BlockingIOError:
            select.select([], [client], [], 20)
            if error := client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, os.strerror(error))
        client.settimeout(20)
        client.sendall(text.encode())
        return answered(client)


def udp_connect(family, host, port, text):
    with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as client:
        client.connect(target(family, host, port))
        client.send(text.encode())
        return answered(client)


def udp_sendto(family, host, port, text):
    with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as client:
        client.sendto(text.encode(), target(family, host, port))
        return answered(client)


def udp_sendmsg(family, host, port, text):
    with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as client:
        client.sendmsg([text.encode()], [], 0, target(family, host, port))
        return answered(client)


def udp_unspecified(family, host, port, text):
    """An IPv4 socket takes an address of family 0 for one of IPv4."""
    address = struct.pack("=H", 0) + struct.pack("!H", int(port)) + socket.inet_aton(host) + bytes(8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        if LIBC.sendto(client.fileno(), text.encode(), len(text), 0, address, len(address)) < 0:
            raise OSError(ctypes.get_errno(), "sendto")
        return answered(client)


def unix_name(name):
    return "\0" + name[1:] if name.startswith("@") else name


def unix_stream(name, text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(unix_name(name))
        client.sendall(text.encode())
        return answered(client)


def unix_relative(name, text):
    before = os.getcwd()
    os.chdir(os.path.dirname(name))
    try:
        return unix_stream(os.path.basename(name), text)
    finally:
        os.chdir(before)


def unix_dgram(name, text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(unix_name(name))
        client.send(text.encode())


def unix_sendto(name, text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(text.encode(), unix_name(name))


OPS = {
    "tcp": tcp, "fast_open": fast_open, "nonblocking": nonblocking, "udp_connect": udp_connect,
    "udp_sendto": udp_sendto, "udp_sendmsg": udp_sendmsg, "udp_unspecified": udp_unspecified,
    "unix_stream": unix_stream, "unix_relative": unix_relative, "unix_dgram": unix_dgram,
    "unix_sendto": unix_sendto,
}
