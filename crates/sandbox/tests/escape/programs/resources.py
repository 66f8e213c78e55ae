"""Attempts 48 to 52: resources. Each stops at a bound of its own, so that the control is cheap."""
MIB = 1 << 20


@way(48, "8 GB of addresses")
def _():
    import mmap
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000
    return str(len(mmap.mmap(-1, 8 << 30, flags=flags)))


@way(48, "lock memory")
def _():
    room = ctypes.create_string_buffer(1 << 16)
    call("mlock", room, 1 << 16)
    return "locked"


@way(48, "memory of all its processes", 20)
def _():
    # Three times 60 MiB: more than the jail of this attempt may have in all.
    def hold():
        kept = bytearray(60 * MIB)
        for place in range(0, len(kept), 4096):
            kept[place] = 1
        time.sleep(1.5)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            hold()
            os._exit(0)
        children.append(child)
    died = [c for c in children if os.waitpid(c, 0)[1]]
    if died:
        raise Failed("%d of 3 were killed" % len(died))
    return "180 MiB"


@way(49, "more processor time than it may", 20)
def _():
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while sum(os.times()[:2]) < 2.5:
        pass
    return "%.1f s" % sum(os.times()[:2])


@way(49, "sleep past the end", 60)
def _():
    os.write(1, b"sleeping\n")
    time.sleep(HOST["sleep_seconds"])
    return "slept"


@way(50, "print without an end", 60)
def _():
    line, left = b"x" * MIB, HOST["flood_mib"]
    for _ in range(left):
        os.write(1, line)
    return "all of it"


@way(50, "complain without an end", 60)
def _():
    line, left = b"x" * MIB, HOST["flood_mib"]
    for _ in range(left):
        os.write(2, line)
    return "all of it"


@way(51, "fill the disk")
def _():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    piece, names = b"x" * MIB, []
    try:
        for number in range(80):
            names.append("fill%d" % number)
            with open(names[-1], "wb") as file:
                file.write(piece)
        return "80 MiB"
    finally:
        for name in names:
            os.unlink(name)


@way(51, "use up the inodes", 40)
def _():
    os.mkdir("many")
    os.chdir("many")
    for number in range(HOST["inodes"]):
        os.close(os.open("%x" % number, os.O_CREAT | os.O_WRONLY))
    return str(HOST["inodes"])


@way(52, "open without an end")
def _():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for _ in range(5000):
        os.dup(2)
    return "5000"
