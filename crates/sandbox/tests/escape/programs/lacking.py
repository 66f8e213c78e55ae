"""Becomes a program on a kernel that lacks something: the calls for it answer that they are not
there, and a file that is missing is covered, in namespaces of its own."""
import ctypes
import errno
import os
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_CLONE, SYS_SECCOMP, SYS_LANDLOCK, SYS_UNSHARE = 56, 317, 444, 272
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
LOAD, EQUAL, BITS, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def step(code, yes, no, value):
    return struct.pack("HBBI", code, yes, no, value)


def refuse(call, answer, bits=None):
    """A filter: the call answers with an error, where its first argument has one of the bits."""
    steps = [step(LOAD, 0, 0, 0), step(EQUAL, 0, 3 if bits else 1, call)]
    if bits:
        steps += [step(LOAD, 0, 0, 16), step(BITS, 0, 1, bits)]
    steps += [step(RETURN, 0, 0, ERRNO | answer), step(RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(steps))
    program = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
    if LIBC.prctl(38, 1, 0, 0, 0) or LIBC.prctl(22, 2, program, 0, 0):
        sys.exit("lacking: " + os.strerror(ctypes.get_errno()))


def main(what, program):
    if what == "landlock":
        refuse(SYS_LANDLOCK, errno.ENOSYS)
    elif what == "seccomp":
        refuse(SYS_SECCOMP, errno.ENOSYS)
    elif what == "namespaces":
        refuse(SYS_CLONE, errno.EPERM, CLONE_NEWUSER)
    elif what == "bubblewrap":
        if LIBC.unshare(CLONE_NEWNS) or LIBC.mount(b"none", b"/", None, 16384 | 1 << 18, None) \
                or LIBC.mount(b"/dev/null", b"/usr/bin/bwrap", None, 4096, None):
            sys.exit("lacking: " + os.strerror(ctypes.get_errno()))
    os.execve(program[0], program, {"PATH": "/usr/bin:/bin"})


main(sys.argv[1], sys.argv[2:])
