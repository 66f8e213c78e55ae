"""Becomes a program amid canaries: an inherited descriptor, a key of the session, an environment,
and where asked for a terminal, another user, or namespaces that stand in for the host and the
world."""
import ctypes
import fcntl
import json
import os
import resource
import socket
import struct
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_ADD_KEY, SYS_KEYCTL = 248, 250


def must(result, what):
    if result == -1:
        number = ctypes.get_errno()
        sys.exit("surroundings: %s: %s" % (what, os.strerror(number)))
    return result


def address(name, number, mask):
    """Gives the loopback device an address and brings it up."""
    SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFFLAGS, UP = 0x8916, 0x891C, 0x8914, 0x41
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for request, value in ((SIOCSIFADDR, number), (SIOCSIFNETMASK, mask)):
            words = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(one, request, struct.pack("16s16s8x", name, words))
        fcntl.ioctl(one, SIOCSIFFLAGS, struct.pack("16sH22x", name, UP))


def world(orders):
    """A network of its own with two addresses of the world, and a runtime that is read-only."""
    MS_BIND, MS_REMOUNT, MS_RDONLY, MS_REC, MS_PRIVATE = 4096, 32, 1, 16384, 1 << 18
    must(LIBC.unshare(0x00020000 | 0x40000000 | 0x04000000), "unshare")
    must(LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "private mounts")
    runtime = orders["runtime"].encode()
    must(LIBC.mount(runtime, runtime, None, MS_BIND, None), "bind")
    must(LIBC.mount(None, runtime, None, MS_BIND | MS_REMOUNT | MS_RDONLY, None), "read-only")
    address(b"lo", "127.0.0.1", "255.0.0.0")
    for name, number, port in ((b"lo:1", "198.51.100.7", orders["public"]),
                               (b"lo:2", "169.254.169.254", orders["metadata"])):
        address(name, number, "255.255.255.255")
        listener = socket.create_server((number, port))
        threading.Thread(target=serve, args=(listener, orders["secret"]), daemon=True).start()


def serve(listener, secret):
    while True:
        caller, _ = listener.accept()
        caller.send(secret.encode())
        caller.close()


def terminal():
    import pty
    child, parent = pty.fork()
    if child == 0:
        return
    while True:
        try:
            data = os.read(parent, 4096)
        except OSError:
            data = b""
        if not data:
            break
        os.write(1, data.replace(b"\r\n", b"\n"))
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def main():
    orders = json.loads(sys.argv[1])
    must(LIBC.syscall(SYS_KEYCTL, 1, None, 0, 0, 0), "a keyring")
    secret = orders["secret"].encode()
    if LIBC.syscall(SYS_ADD_KEY, b"user", orders["key"].encode(), secret, len(secret), -3) == -1:
        orders["key"] = ""
    held = os.open(orders["held"], os.O_RDONLY)
    os.set_inheritable(held, True)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    if orders["where"] == "world":
        world(orders)
        if os.fork():
            sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
    if orders["where"] == "terminal":
        terminal()
    if orders["user"] is not None:
        os.setgroups([])
        os.setresgid(*[orders["user"]] * 3)
        os.setresuid(*[orders["user"]] * 3)
    os.chdir(orders["folder"])
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": orders["folder"],
                   "TMPDIR": orders["folder"], "SECRET": orders["secret"],
                   "STEPWELL_TAG": orders["tag"]}
    os.execve(orders["program"][0], orders["program"], environment)


main()
