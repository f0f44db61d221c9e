"""Connections: what is allowed arrives, what is denied is EACCES and nothing arrives."""

import os
import shutil
import socket
import subprocess
import threading
import time

import cases
import harness

FOLDER = "/vol/net"
received = set()


def keep(data):
    if data:
        received.add(data.decode())


def talk(connection):
    with connection:
        data = connection.recv(99)
        keep(data)
        if data:
            connection.sendall(data)


def stream(server):
    server.listen(64)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=talk, args=[connection], daemon=True).start()


def datagram(server):
    while True:
        data, sender = server.recvfrom(99)
        keep(data)
        if sender:
            server.sendto(data, sender)


def serve(family, kind, address):
    server = socket.socket(family, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if family != socket.AF_UNIX and kind == socket.SOCK_STREAM:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
    server.bind(address)
    if family == socket.AF_UNIX and address[0] != "\0":
        os.chmod(address, 0o777)
    body = stream if kind == socket.SOCK_STREAM else datagram
    threading.Thread(target=body, args=[server], daemon=True).start()


def servers():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    with open("/proc/sys/net/ipv4/tcp_fastopen", "w") as file:
        file.write("3")
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(FOLDER)
    for kind in [socket.SOCK_STREAM, socket.SOCK_DGRAM]:
        for host, port in [("127.0.0.1", 7100), ("127.0.0.1", 7101), ("127.0.0.2", 7100)]:
            serve(socket.AF_INET, kind, (host, port))
        for port in [7100, 7101]:
            serve(socket.AF_INET6, kind, ("::1", port))
    for name in ["allowed", "denied"]:
        serve(socket.AF_UNIX, socket.SOCK_STREAM, f"{FOLDER}/{name}.stream")
        serve(socket.AF_UNIX, socket.SOCK_DGRAM, f"{FOLDER}/{name}.dgram")
        serve(socket.AF_UNIX, socket.SOCK_STREAM, f"\0cases-{name}")
        serve(socket.AF_UNIX, socket.SOCK_DGRAM, f"\0cases-{name}.dgram")
    os.symlink(f"{FOLDER}/denied.stream", f"{FOLDER}/link.stream")


def run():
    servers()
    policy, table = cases.load("net")

    def named(prefix):
        return [cases.filled(case, f"n{number}", {"case": f"{prefix}-{number}"}) for number, case in enumerate(table)]

    before, _ = cases.probe(named("bare"))
    after, done = cases.probe(named("bound"), session=policy)
    cases.compare("net", named("bound"), before, after, done)
    time.sleep(0.5)
    for number, case in enumerate(table):
        if before.get(f"n{number}") != "ok":
            continue
        denied = case["expect"] == "EACCES"
        arrived = f"bound-{number}" in received
        what = "nothing arrives" if denied else "the text arrives"
        harness.check(f"net: {case['name']}: {what}", f"bare-{number}" in received and after and arrived != denied,
                      f"arrived without authz: {f'bare-{number}' in received}, under it: {arrived}")
