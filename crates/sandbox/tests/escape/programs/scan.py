"""Looks for a canary in everything that a program can read, and prints what it sees of others.

What it looks for is put together here, so that its own text is no find.
"""
import os
import re
import sys
import time

CANARY = re.compile(("CANA" + "RY-[0-9a-f]{32}").encode())
SINCE = time.time() - 86400
FOUND = []


def look(where, data):
    for hit in set(CANARY.findall(data)):
        FOUND.append("FOUND %s: %s" % (where, hit.decode()))


def read(path, most=1 << 22):
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        data = b""
        while len(data) < most:
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                break
            data += piece
        return data
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def files(root):
    count = 0
    for folder, folders, names in os.walk(root):
        if folder.startswith(("/proc", "/sys", "/dev")):
            folders.clear()
            continue
        for name in names + folders:
            path = os.path.join(folder, name)
            look(path, path.encode("utf-8", "replace"))
            try:
                facts = os.lstat(path)
            except OSError:
                continue
            count += 1
            # A canary is younger than a day; what came with the system is older.
            if name in names and max(facts.st_mtime, facts.st_ctime) > SINCE:
                look(path, read(path))
    return count


def memory():
    for line in read("/proc/self/maps").decode().splitlines():
        first, last = [int(part, 16) for part in line.split()[0].split("-")]
        try:
            with open("/proc/self/mem", "rb", buffering=0) as own:
                own.seek(first)
                look("memory", own.read(min(last - first, 1 << 26)) or b"")
        except (OSError, ValueError, OverflowError):
            pass


def processes():
    names = ["cmdline", "environ", "comm", "status", "mountinfo", "maps", "cgroup", "limits",
             "stat", "syscall", "stack", "uid_map", "auxv", "wchan", "io", "numa_maps"]
    for who in [name for name in os.listdir("/proc") if name.isdigit()] + ["self"]:
        for name in names:
            data = read("/proc/%s/%s" % (who, name))
            look("/proc/%s/%s" % (who, name), data)
            if name in ("cmdline", "environ", "mountinfo", "maps", "cgroup"):
                print(who, name, data.replace(b"\0", b" ").decode("utf-8", "replace"))
        for link in ("cwd", "root", "exe"):
            try:
                print(who, link, os.readlink("/proc/%s/%s" % (who, link)))
            except OSError as error:
                print(who, link, error.strerror)
        try:
            for number in os.listdir("/proc/%s/fd" % who):
                print(who, "fd", number, os.readlink("/proc/%s/fd/%s" % (who, number)))
                if int(number) > 2:
                    look("descriptor %s" % number, read("/proc/%s/fd/%s" % (who, number)))
        except OSError as error:
            print(who, "fd", error.strerror)


def main():
    count = sum(files(root) for root in sys.argv[1].split(":"))
    look("environment", "\0".join("%s=%s" % pair for pair in os.environ.items()).encode())
    look("words", read("/proc/self/cmdline"))
    for path in ("/proc/keys", "/proc/sysvipc/shm", "/proc/net/unix", "/proc/cmdline",
                 "/proc/mounts", "/proc/locks", "/proc/modules", "/proc/self/net/tcp"):
        data = read(path)
        look(path, data)
        print(path, data.decode("utf-8", "replace")[:3000])
    processes()
    memory()
    print("scanned", count, "names")
    print("\n".join(FOUND))


main()
