"""Attempts 19 to 31: processes."""


@way(19, "trace it")
def _():
    PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
    call("ptrace", PTRACE_SEIZE, HOST["victim"]["pid"], 0, 0)
    return "seized"


@way(20, "read its memory by a call")
def _():
    size = len(HOST["mark"]) + 32
    own = ctypes.create_string_buffer(size)
    here = struct.pack("QQ", ctypes.addressof(own), size)
    there = struct.pack("QQ", HOST["victim"]["address"], size)
    call("process_vm_readv", HOST["victim"]["pid"], here, 1, there, 1, 0)
    return own.value.decode()


@way(20, "read its memory through a file")
def _():
    descriptor = os.open("/proc/%d/mem" % HOST["victim"]["pid"], os.O_RDONLY)
    return os.pread(descriptor, 100, HOST["victim"]["address"]).split(b"\0")[0].decode()


@way(20, "write its memory through a file")
def _():
    descriptor = os.open("/proc/%d/mem" % HOST["victim"]["pid"], os.O_RDWR)
    os.pwrite(descriptor, b"X", HOST["victim"]["spare"])
    return "written"


@way(20, "read its environment")
def _():
    text = content("/proc/%d/environ" % HOST["victim"]["pid"]).replace("\0", " ")
    if HOST["mark"] not in text:
        raise Failed("it is not there")
    return text[text.index(HOST["mark"]):]


@way(21, "take a descriptor of it")
def _():
    process = call("pidfd_open", HOST["victim"]["pid"], 0)
    taken = call("pidfd_getfd", process, HOST["victim"]["descriptor"], 0)
    return os.pread(taken, 200, 0).decode()


# Signal 0 asks for permission and does nothing.
@way(22, "signal the engine")
def _():
    os.kill(HOST["engine"], 0)
    return "allowed"


@way(22, "signal a process of another")
def _():
    os.kill(HOST["victim"]["pid"], signal.SIGWINCH)
    return "sent"


@way(22, "signal everybody")
def _():
    # In a jail everybody is its own processes; the one that asks is left out, as is the first.
    mine = set(os.listdir("/proc"))
    os.kill(-1, 0)
    others = [name for name in mine if name.isdigit() and int(name) == HOST["victim"]["pid"]]
    if not others:
        raise Failed("only its own")
    return "allowed"


@way(22, "signal it through a descriptor")
def _():
    process = call("pidfd_open", HOST["victim"]["pid"], 0)
    signal.pidfd_send_signal(process, signal.SIGWINCH)
    return "sent"


BOMB = 150


@way(23, "many processes", 15)
def _():
    children = []
    try:
        while len(children) < BOMB:
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return str(len(children))


@way(24, "many threads", 15)
def _():
    import threading
    threading.stack_size(65536)
    gate = threading.Event()
    for _ in range(BOMB):
        threading.Thread(target=gate.wait, args=(6,), daemon=True).start()
    return str(BOMB)


@way(25, "a daemon that stays")
def _():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for descriptor in range(256):
                try:
                    os.close(descriptor)
                except OSError:
                    pass
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
        os._exit(0)
    time.sleep(0.05)
    raise Absent("the host tells what is left")


@way(26, "stops itself and ignores the end")
def _():
    for name in ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGPIPE", "SIGALRM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.write(1, b"stopping\n")
    os.kill(os.getppid(), signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)


def terminals():
    yield from (0, 1, 2)
    for path in ("/dev/tty", "/dev/console", "/dev/tty0"):
        try:
            yield os.open(path, os.O_RDWR | os.O_NOCTTY)
        except OSError:
            pass


@way(27, "put words into the terminal")
def _():
    import fcntl
    return each(terminals(), lambda one: fcntl.ioctl(one, 0x5412, b"\n") and "put")


@way(27, "take the terminal")
def _():
    import fcntl
    os.setsid() if os.getsid(0) != os.getpid() else None
    return each(terminals(), lambda one: str(fcntl.ioctl(one, 0x540E, 0)))


@way(28, "shared memory of System V")
def _():
    segment = call("shmget", HOST["victim"]["key"], 0, 0)
    LIBC.shmat.restype = ctypes.c_void_p
    place = LIBC.shmat(segment, None, 0o10000)
    if place in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "shmat")
    return ctypes.string_at(place, 100).split(b"\0")[0].decode()


@way(28, "shared memory of POSIX")
def _():
    return content("/dev/shm/" + HOST["victim"]["shared"])


@way(28, "a message queue")
def _():
    queue = call("mq_open", HOST["victim"]["queue"].encode(), os.O_RDONLY | os.O_NONBLOCK, 0, 0)
    room = ctypes.create_string_buffer(8192)
    length = call("mq_timedreceive", queue, room, 8192, 0, 0)
    return room.raw[:length].decode()


def keyring(ring):
    SEARCH, READ, USER = 10, 11, b"user"
    key = call("keyctl", SEARCH, ring, USER, HOST["key"].encode(), 0)
    room = ctypes.create_string_buffer(200)
    length = call("keyctl", READ, key, room, 200)
    return room.raw[:length].decode()


@way(29, "a key of the session")
def _():
    return keyring(-3)


@way(29, "a key of its own in the session")
def _():
    # Room in the kernel that outlives the jail, and a letter box for the next one.
    call("add_key", b"user", b"stepwell-letter", b"hello", 5, -3)
    return "left"


@way(30, "be less nice")
def _():
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, before - 1)
    return "done"


@way(30, "be first at the disk")
def _():
    call("ioprio_set", 1, 0, (1 << 13) | 4)
    return "done"


@way(30, "run in real time")
def _():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return "done"


@way(31, "be dumpable")
def _():
    call("prctl", 4, 1, 0, 0, 0)
    return "done"


@way(31, "be traced by anybody")
def _():
    try:
        call("prctl", 0x59616D61, -1, 0, 0, 0)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Absent("no Yama")
        raise
    return "done"


@way(31, "leave a core")
def _():
    # The limit alone: what a core would do is the host's setting.
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, resource.RLIM_INFINITY))
    return "done"
