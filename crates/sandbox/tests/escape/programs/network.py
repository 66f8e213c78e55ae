"""Attempts 40 to 47: the network."""


def hello(family, kind, address):
    with socket.socket(family, kind) as one:
        one.settimeout(2)
        one.connect(address)
        one.send(HOST["mark"].encode())
        if kind == socket.SOCK_STREAM:
            return one.recv(100).decode()
    return "sent"


@way(40, "the host's own address")
def _():
    return hello(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", HOST["tcp"]))


@way(41, "a public address")
def _():
    return hello(socket.AF_INET, socket.SOCK_STREAM, ("198.51.100.7", HOST["public"]))


@way(42, "a datagram")
def _():
    return hello(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", HOST["udp"]))


@way(43, "the sixth version")
def _():
    return hello(socket.AF_INET6, socket.SOCK_STREAM, ("::1", HOST["tcp6"]))


@way(43, "raw packets")
def _():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return "a socket"


@way(43, "frames")
def _():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    return "a socket"


@way(43, "the kernel's own")
def _():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as one:
        one.bind((0, 0))
    return "a socket"


@way(43, "the host of a virtual machine")
def _():
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    return "a socket"


@way(43, "a pair of another kind")
def _():
    socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close()
    return "a socket"


@way(44, "a name of the host without a file")
def _():
    return hello(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + HOST["abstract"])


@way(45, "a name of the host with a file")
def _():
    return hello(socket.AF_UNIX, socket.SOCK_STREAM, HOST["unix"])


@way(45, "the names that programs of the host use")
def _():
    paths = ["/var/run/docker.sock", "/run/docker.sock", "/run/dbus/system_bus_socket",
             os.environ.get("SSH_AUTH_SOCK") or "/run/none"]
    found = [path for path in paths + HOST["sockets"] if os.path.exists(path)]
    if not found:
        raise Failed("none of them is there")
    return found[0]


@way(46, "the machine's description")
def _():
    return hello(socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", HOST["metadata"]))


@way(47, "wait for the host to call")
def _():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.settimeout(3)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", HOST["inbound"]))
        one.listen(1)
        caller, _ = one.accept()
        return caller.recv(100).decode()
