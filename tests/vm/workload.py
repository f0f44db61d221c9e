"""Threads, sockets and temporary files, as workload.sh wants them."""

import os
import socket
import tempfile
import threading


def echo(listener):
    for _ in range(4):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(connection.recv(100))


def exchange(family, address, text, results):
    with socket.socket(family) as sock:
        sock.connect(address)
        sock.sendall(text.encode())
        results.append(sock.recv(100).decode())


def through(family, bind):
    with socket.socket(family) as listener:
        listener.bind(bind)
        listener.listen()
        results = []
        threads = [threading.Thread(target=echo, args=[listener])]
        threads += [threading.Thread(target=exchange, args=[family, listener.getsockname(), f"text {n}", results])
                    for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(results)


def files(number, results):
    for n in range(5):
        with tempfile.NamedTemporaryFile("w+", prefix=f"t{number}-") as file:
            file.write(f"{number} {n}")
            file.seek(0)
            results.append(file.read())


def main():
    print(through(socket.AF_UNIX, "socket"))
    os.unlink("socket")
    print(through(socket.AF_INET, ("127.0.0.1", 0)))
    results = []
    threads = [threading.Thread(target=files, args=[number, results]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sorted(results))


main()
