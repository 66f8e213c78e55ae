"""Numbers from what was found: medians, rates, and the judgement of every target."""

from statistics import median

from catalogue import CATALOGUE, OWN16

MIB = 2**20


def side(result, label):
    return next((s for s in result["sides"] if s["label"] == label), None)


def decode_rate(s):
    """Tokens per second after the prompts."""
    return s["sampled"] / median(w - o for w, o in zip(s["wall"], s["opened"]))


def beyond(s):
    """MiB above imports and 16 bytes per parameter: weights, gradient, two moments."""
    return s["peak"] - s["imported"] - 16 * s["parameters"] / MIB


def peaks(results):
    """The best of every peak over all rounds, by name; none where products were not run."""
    if "products" not in results:
        return {}
    rounds = results["products"]["sides"][0]["peaks"]
    return {name: max(r[name] for r in rounds if r[name]) for name in rounds[0] if rounds[0][name]}


def product_shares(results):
    """(name, threads, median operations per second, median share of that moment's peak)."""
    s = results["products"]["sides"][0]
    found = []
    for at, first in enumerate(s["rates"][0]):
        rates = [rates[at]["rate"] for rates in s["rates"]]
        shares = [rate / p[first["of"]] for rate, p in zip(rates, s["peaks"])]
        found.append((first["name"], first["threads"], median(rates), median(shares)))
    return found


def bound(results, s):
    """Tokens per second if every weight is read once per token at the measured rate."""
    read = peaks(results).get("read_2")
    bytes_each = 2 if s["label"] == OWN16 else 4
    return read and read / (bytes_each * s["parameters"])


def ratio(upper, lower, key):
    return median(upper[key]) / median(lower[key])


def judge(results, comparison, target):
    """(what is asked, what was got, met); `None` for what could not be measured."""
    what, over, under, wanted = target
    result = results.get(comparison.name)
    if comparison.show == "products":
        asked = f"every product at {wanted:.0%} of the peak"
        if not result:
            return asked, None, None
        shares = [share for *_, share in product_shares(results)]
        got = f"{min(shares):.0%} to {max(shares):.0%}, median {median(shares):.0%}"
        return asked, got, min(shares) >= wanted
    upper = side(result, over) if result else None
    lower = side(result, under) if result and under not in ("", "bound") else None
    return ASKED[what](results, (over, upper), (under, lower), wanted)


def faster(key):
    def of(_, over, under, wanted):
        asked = f"{under[0]} takes {wanted:g}x less {key} time than {over[0]}"
        if not (over[1] and under[1]):
            return asked, None, None
        other = "cpu" if key == "wall" else "wall"
        got = ratio(over[1], under[1], key)
        told = f"{got:.2f}x ({other} {ratio(over[1], under[1], other):.2f}x)"
        return asked, told, got >= wanted
    return of


def decode(_, over, under, wanted):
    asked = f"{over[0]} decodes at {wanted:g}x the rate of {under[0]}"
    if not (over[1] and under[1]):
        return asked, None, None
    a, b = decode_rate(over[1]), decode_rate(under[1])
    return asked, f"{a / b:.2f}x ({a:.0f} against {b:.0f} tok/s)", a >= wanted * b


def memory(key):
    def of(_, over, under, wanted):
        what = "peak memory" if key == "peak" else "memory beyond 16 bytes per parameter"
        asked = f"{what} of {over[0]} at most {wanted:g}x that of {under[0]}"
        if not (over[1] and under[1]):
            return asked, None, None
        a, b = [s["peak"] if key == "peak" else beyond(s) for s in (over[1], under[1])]
        return asked, f"{a / b:.2f}x ({a:.0f} against {b:.0f} MiB)", a <= wanted * b
    return of


def share(results, over, under, wanted):
    if under[0] == "bound":
        asked = f"{over[0]} decodes at {wanted:.0%} of the memory bound"
        limit = over[1] and bound(results, over[1])
        if not limit:
            return asked, None, None
        rate = decode_rate(over[1])
        return asked, f"{rate / limit:.0%} ({rate:.0f} of {limit:.0f} tok/s)", rate >= wanted * limit
    asked = f"flat rows take {wanted:g} x F/U times the tree's CPU time"
    if not (over[1] and under[1]):
        return asked, None, None
    f_u, got = over[1]["flat"] / over[1]["unique"], ratio(over[1], under[1], "cpu")
    return asked, f"{got:.2f}x = {got / f_u:.2f} x F/U ({f_u:.2f})", got >= wanted * f_u


def seconds(_, over, __, wanted):
    asked = f"a step of {over[0]} takes at most {wanted:g} s"
    if not over[1]:
        return asked, None, None
    got = median(over[1]["wall"])
    return asked, f"{got:.2f} s", got <= wanted


ASKED = {"wall": faster("wall"), "cpu": faster("cpu"), "decode": decode, "peak": memory("peak"),
         "excess": memory("excess"), "share": share, "seconds": seconds}


def judgements(results):
    """(comparison, asked, got, met) for every target."""
    return [(c, *judge(results, c, target)) for c in CATALOGUE for target in c.targets]
