"""An argument rewritten or a name swapped in the middle of a call never reaches what the policy forbids.

Everything named `b` is forbidden, everything named `a` is not. RACE_TRIES says how often each thing is tried.
"""

import os
import shutil
import socket
import subprocess
import threading

import harness
from harness import check
from native import BARE, Place, compiled, identities

ATTEMPTS = 5
TRIES = int(os.environ.get("RACE_TRIES", 100_000))
LOADER = "/lib64/ld-linux-x86-64.so.2"
BARE_TRIES = 5_000


class Listeners:
    """Servers outside of the session: what was sent to `a` and to `b`, by kind."""

    def __init__(self, top):
        self.seen = {}
        self.ports = {kind: [self.inet(kind, letter) for letter in "ab"] for kind in ("udp", "tcp")}
        for letter in "ab":
            server = socket.socket(socket.AF_UNIX)
            server.bind(f"{top}/{letter}/socket")
            os.chmod(f"{top}/{letter}/socket", 0o777)
            self.serve(server, f"unix {letter}")

    def inet(self, kind, letter):
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))
        self.serve(server, f"{kind} {letter}")
        return server.getsockname()[1]

    def serve(self, server, name):
        self.seen[name] = 0
        if server.type == socket.SOCK_STREAM:
            server.listen(1000)
        threading.Thread(target=self.count, args=[server, name], daemon=True).start()

    def count(self, server, name):
        while True:
            if server.type == socket.SOCK_STREAM:
                server.accept()[0].close()
            else:
                server.recv(99)
            self.seen[name] += 1


def programs(place):
    """Programs that do nothing: `b` says who it was, `says` what its argument was. `loaded` has a loader that can be
    exchanged."""
    def built(name, source, *flags):
        subprocess.run(["gcc", "-x", "c", "-", *flags, "-o", str(place.tools / name)], check=True, text=True, input=source)

    # Without the C library, so that it can be in place of a loader.
    bare = 'void _start(void) {{ asm("syscall" : : "a"(60), "D"({status})); }}'
    built("a", bare.format(status=0), "-nostdlib", "-static-pie")
    built("b", bare.format(status=42), "-nostdlib", "-static-pie")
    built("says", "int main(int argc, char **argv) { return argc > 1 && *argv[1] == 'b' ? 42 : 0; }", "-static")
    built("loaded", "int main(void) { return 0; }", f"-Wl,--dynamic-linker={place.top}/race/swap/loader-a")


def prepare(place, owner):
    """Folders a and b, alike but for what they hold, and names to swap: links, folders and links to folders."""
    top = place.fresh("race")
    swap = top / "swap"
    for folder in [top / "a", top / "b", swap, top / "aside"]:
        folder.mkdir()
    for letter, text in [("a", "plain\n"), ("b", "secret\n")]:
        (top / letter / "file").write_text(text)
        shutil.copy(place.tools / letter, top / letter / "tool")
        (swap / f"link-{letter}").symlink_to(top / letter / "file")
        (swap / f"tool-{letter}").symlink_to(top / letter / "tool")
    for name in ("loaded", "says"):
        shutil.copy(place.tools / name, top / "a" / name)
    (swap / "loader-a").symlink_to(LOADER)
    (swap / "loader-b").symlink_to(top / "b" / "tool")
    (top / "a" / "script").write_text(f"#!{swap}/tool-a\n")
    (swap / "folder-a").mkdir()
    os.link(top / "a" / "file", swap / "folder-a" / "file")
    (swap / "folder-b").symlink_to(top / "b")
    for path in [top, *top.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o777 if path.is_dir() or path.parent.name in "ab" and path.name != "file" else 0o666)
        os.lchown(path, owner, owner)
    return top


def state(folder):
    """Of every object in the folder, what any change would change."""
    seen = {}
    for path in [folder, *folder.rglob("*")]:
        info = path.lstat()
        seen[path.name] = (info.st_mode, info.st_size, info.st_nlink, info.st_mtime_ns, info.st_ctime_ns)
    return seen


def races(at):
    """(name, command, names that another process swaps); the letter at `at` of a path says which folder it means."""
    for kind in ("open", "change"):
        files = ["{program}", "files", kind, "{tries}"]
        yield f"{kind}, path rewritten", [*files, "{top}/a/file", at, "{top}/b/file"], None
        yield f"{kind}, link swapped", [*files, "{top}/swap/link-a", "-1", "{top}/b/file"], "link"
        yield f"{kind}, folder swapped", [*files, "{top}/swap/folder-a/file", "-1", "{top}/b/file"], "folder"
    inside = "{program} swap {top}/swap/folder-a {top}/swap/folder-b & exec {program} files open {tries} " \
             "{top}/swap/folder-a/file -1 {top}/b/file"
    yield "open, folder swapped by the session itself", ["/bin/sh", "-c", inside], None
    yield "exec, path rewritten", ["{program}", "exec", "{tries}", "{top}/a/tool", at], None
    yield "exec, link swapped", ["{program}", "exec", "{tries}", "{top}/swap/tool-a", "-1"], "tool"
    yield "exec, interpreter swapped", ["{program}", "exec", "{tries}", "{top}/a/script", "-1"], "tool"
    yield "exec, loader swapped", ["{program}", "exec", "{tries}", "{top}/a/loaded", "-1"], "loader"
    yield "exec, argument rewritten", ["{program}", "argv", "{tries}", "{top}/a/says", "0"], None
    for what, kind in [("sendto", "udp"), ("sendmsg", "udp"), ("connect", "tcp")]:
        yield f"{what}, address rewritten", ["{program}", what, "{tries}", f"{{{kind}_a}}", f"{{{kind}_b}}"], None
    yield "unix connect, address rewritten", ["{program}", "unix", "{tries}", "{top}/a/socket", at], None


ARGUMENT = 'deny contains {"id": "argument", "reason": "forbidden"} if { executes; input.resource.properties.argv[1] == "b" }\n\n'


def policy(top, ports, by_argument):
    denied = ", ".join(str(port) for _, port in ports.values())
    return (f'deny contains {{"id": "b", "reason": "forbidden"}} if under(trim_prefix(input.resource.id, "unix:"), "{top}/b")\n\n'
            f'deny contains {{"id": "port", "reason": "forbidden"}} if port_is([{denied}])\n\n'
            f'{ARGUMENT if by_argument else ""}'
            'allow contains {"id": "rest", "reason": "everything else"} if true')


def race(argv, program, swapped, top):
    """Runs it, with another process outside of the session that swaps the names, if it says so."""
    other = subprocess.Popen([program, "swap", *pair(top, swapped)]) if swapped else None
    try:
        return harness.finish(argv, 900, {"RACE_ASIDE": f"{top}/aside/x", "HOME": top.parent / "home"}, None)
    finally:
        if other:
            other.kill()
            other.wait()


def pair(top, name):
    return [f"{top}/swap/{name}-{letter}" for letter in "ab"]


def counts(done):
    """The numbers of the closing line, by name."""
    words = done.stdout.split()
    return {name: int(number) for name, number in zip(words[::2], words[1::2])} if len(words) == 8 else {}


class Race:
    """One way to race, as one identity, each time in new folders."""

    def __init__(self, place, program, identity, arguments, swapped):
        self.place, self.program, self.identity = place, program, identity
        self.arguments, self.swapped = arguments, swapped

    def tried(self, tries, bound):
        """The closing line's numbers, what forbidden things happened, and the finished process."""
        top = prepare(self.place, self.identity.owner)
        listeners = Listeners(top)
        places = {"top": str(top), "tries": str(tries), "program": self.program,
                  **{f"{kind}_{letter}": port for kind, ports in listeners.ports.items()
                     for letter, port in zip("ab", ports)}}
        argv = [word.format_map(places) for word in self.arguments]
        if bound:
            rules = self.place.policy(policy(top, listeners.ports, "argv" in self.arguments))
            # Its record is some gigabytes: not among those of this machine.
            record = self.place.fresh("record")
            os.chown(record, self.identity.owner if self.identity.before else -1, -1)
            argv = self.identity.bound(argv, str(rules), "--state", str(record), authz=str(self.place.tools / "authz"))
        else:
            argv = self.identity.bare(argv)
        before = state(top / "b")
        done = race(argv, self.program, self.swapped, top)
        result = counts(done)
        after = state(top / "b")
        bad = {name: number for name, number in listeners.seen.items() if number and name.endswith("b")}
        bad |= {path: "changed" for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        if result.get("forbidden"):
            bad["forbidden"] = result["forbidden"]
        return result, bad, done

    def check(self, name):
        # On a busy machine one side may do all of its work before the other begins.
        for _ in range(ATTEMPTS):
            result, bad, done = self.tried(BARE_TRIES, False)
            if bad and result.get("allowed"):
                break
        check(f"{name}: it is a race", bad and result.get("allowed"), (result, bad, done.returncode, done.stdout, done.stderr[-300:]))
        if BARE:
            return
        met = {}
        for _ in range(ATTEMPTS):
            result, bad, done = self.tried(TRIES, True)
            met = {name: met.get(name, 0) + result.get(name, 0) for name in ("allowed", "denied")}
            if not result or bad or all(met.values()):
                break
        check(f"{name}: {TRIES} tries reach nothing forbidden", result and not bad,
              (result, bad, done.returncode, done.stderr[-500:]))
        check(f"{name}: some were allowed, some denied", all(met.values()), met)


def run():
    with Place() as place:
        program = compiled("race", place.tools / "race")
        programs(place)
        at = str(len(str(place.top / "race")) + 1)
        for identity in identities():
            for name, arguments, swapped in races(at):
                Race(place, program, identity, arguments, swapped).check(f"race, {identity.name}, {name}")
