"""One interpreter per episode. Requests and replies are frames on two descriptors that the
program it runs does not know the numbers of: four bytes of length, most significant first, and
JSON. What the program prints goes to an unlinked file of its workspace.

Every module that is imported here makes each start of an interpreter longer: `ast` and `traceback`
would be a fifth of it."""
import sys

# The workspace is no place to import from: what a program leaves there would be found first.
sys.path[:] = [place for place in sys.path if place]
import _ast
import json
import os
import signal
import struct

WORKSPACE = "/work"
INPUT, OUTPUT = os.dup(0), os.dup(1)
CAPTURE = os.open(WORKSPACE, os.O_TMPFILE | os.O_RDWR | os.O_APPEND, 0o600)
os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
os.dup2(CAPTURE, 1)
os.dup2(CAPTURE, 2)
try:
    import resource
except ImportError:
    resource = None


class ProcessorTimeIsUp(BaseException):
    """Raised inside a program that used more processor time than one step may."""


def processor_time():
    return sum(os.times()[:2])


def time_is_up(number, frame):
    raise ProcessorTimeIsUp()


def limit(seconds):
    """Lets the kernel signal when this step has used so many seconds of processor time."""
    if resource is None:
        return
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(processor_time()) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (min(soft, hard), hard))


def read_exactly(count):
    data = b""
    while len(data) < count:
        piece = os.read(INPUT, count - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return data


def receive():
    (length,) = struct.unpack(">I", read_exactly(4))
    return json.loads(read_exactly(length))


def reply(message):
    data = json.dumps(message, ensure_ascii=True, allow_nan=False).encode()
    data = struct.pack(">I", len(data)) + data
    while data:
        data = data[os.write(OUTPUT, data):]


def run(code, namespace):
    """Runs one cell; the value of a last expression is printed, as in a console."""
    tree = compile(code, "<cell>", "exec", _ast.PyCF_ONLY_AST)
    last = None
    if tree.body and isinstance(tree.body[-1], _ast.Expr):
        last = _ast.Expression(tree.body.pop().value)
    exec(compile(tree, "<cell>", "exec"), namespace)
    if last is not None:
        value = eval(compile(last, "<cell>", "eval"), namespace)
        if value is not None:
            print(repr(value))


def last_line(trace):
    """The line of the cell that was last entered; None where none was."""
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<cell>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def guarded(work, seconds):
    """What went wrong in `work`, as a text; None where nothing did."""
    limit(seconds)
    try:
        work()
    except ProcessorTimeIsUp:
        return "TimeoutError: the step used more than %d s of processor time" % seconds
    except SyntaxError as error:
        return "SyntaxError: %s (line %s)" % (error.msg, error.lineno)
    except BaseException as error:
        line = last_line(error.__traceback__)
        where = " (line %d)" % line if line else ""
        try:
            said = str(error)
        except BaseException:
            said = "?"
        return "%s: %s%s" % (type(error).__name__, said[:500], where)
    finally:
        limit(86400)
    return None


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass


def captured(bytes_max):
    flush()
    size = os.fstat(CAPTURE).st_size
    data = os.pread(CAPTURE, bytes_max, 0)
    os.ftruncate(CAPTURE, 0)
    return data.decode("utf-8", "replace"), size > bytes_max


def cell(request, namespace):
    error = guarded(lambda: run(request["code"], namespace), request["seconds"])
    text, cut = captured(request["bytes_max"])
    return {"text": text, "cut": cut, "error": error}


def plain(value, depth=0):
    """A value as tagged data. Exact types only: a class that says it equals everything is none."""
    kind = type(value)
    if depth > 32:
        raise ValueError("nested deeper than 32")
    if value is None:
        return ["none"]
    if kind is bool:
        return ["bool", value]
    if kind is int:
        return ["int", int.__repr__(value)]
    if kind is float:
        return ["float", float.__repr__(value)]
    if kind is str:
        return ["str", value.encode("utf-8", "replace").decode()]
    if kind is list or kind is tuple:
        return [kind.__name__, [plain(item, depth + 1) for item in kind.__iter__(value)]]
    if kind is dict:
        pairs = list(dict.items(value))
        if any(type(key) is not str for key, _ in pairs):
            raise ValueError("a dictionary whose keys are not text")
        return ["dict", [[key, plain(item, depth + 1)] for key, item in pairs]]
    raise ValueError("a value of the type %s" % kind.__name__[:100])


def case(function, arguments, seconds):
    found = []
    error = guarded(lambda: found.append(plain(function(*arguments))), seconds)
    return {"error": error} if error else {"value": found[0]}


def grade(request):
    """Defines what the program defines and calls one function on every case, up to the first
    that takes too long."""
    namespace = {"__name__": "solution"}
    work = lambda: exec(compile(request["code"], "<cell>", "exec"), namespace)
    error = guarded(work, request["seconds"])
    function = namespace.get(request["function"])
    if error is None and not callable(function):
        error = "NameError: there is no function %s" % request["function"]
    if error is not None:
        reply({"over": error})
        return
    for arguments in request["cases"]:
        outcome = case(function, arguments, request["seconds"])
        reply(outcome)
        if outcome.get("error", "").startswith("TimeoutError: the step"):
            reply({"over": "one case took too long"})
            return


def main():
    namespace = {"__name__": "__main__"}
    signal.signal(signal.SIGXCPU, time_is_up)
    sys.setrecursionlimit(1000)
    reply({"ready": sys.version.split()[0]})
    while True:
        request = receive()
        if request["do"] == "cell":
            reply(cell(request, namespace))
        else:
            grade(request)


main()
