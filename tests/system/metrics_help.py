"""Reads metrics, and what rules and dashboards say of them."""

import collections
import re

Sample = collections.namedtuple("Sample", "name labels value")

SUFFIXES = ("_bucket", "_sum", "_count")


def parse(text):
    """({family: (type, help)}, [Sample]) of Prometheus' text format; anything odd is an error."""
    families, samples = {}, []
    helps = {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, words = line.split(" ", 3)
            helps[name] = words
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in families, f"{name} is there twice"
            families[name] = (kind, helps[name])
        else:
            match = re.fullmatch(r'([a-zA-Z_:][\w:]*)(?:\{((?:\w+="(?:[^"\\\n]|\\[\\n"])*",?)*)\})? (\S+)', line)
            assert match, f"not a sample: {line!r}"
            labels = {k: unescape(v) for k, v in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")}
            samples.append(Sample(match[1], labels, float(match[3])))
            assert family_of(match[1], families), f"{match[1]} has no TYPE before it"
    seen = collections.Counter((s.name, tuple(sorted(s.labels.items()))) for s in samples)
    assert max(seen.values()) == 1, [k for k, n in seen.items() if n > 1]
    return families, samples


def unescape(text):
    return re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), text)


def family_of(name, families):
    if name in families:
        return name
    for suffix in SUFFIXES:
        base = name.removesuffix(suffix)
        if base != name and families.get(base, ("",))[0] == "histogram":
            return base
    return None


class Metrics:
    def __init__(self, text):
        self.text = text
        self.families, self.samples = parse(text)

    def value(self, name, **labels):
        """The sum of the samples with these labels; there must be one."""
        found = [s.value for s in self.samples
                 if s.name == name and labels.items() <= s.labels.items()]
        assert found, f"no {name} {labels}"
        return sum(found)

    def labels(self, name, label):
        return {s.labels[label] for s in self.samples if s.name == name}


# ---- PromQL, as far as its names go

WORDS = {"and", "or", "unless", "by", "on", "without", "ignoring", "offset", "bool", "group_left",
         "group_right"}


def selectors(expression):
    """[(metric, [(label, operator, value)])] of an expression, and nothing that is no metric."""
    text = re.sub(r"\[[^]]*\]", "", expression)
    text = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", "", text)
    text = re.sub(r"\boffset\s+\w+", "", text)
    found = []
    for match in re.finditer(r'([a-zA-Z_:][\w:]*)\s*(\(|\{([^}]*)\})?|"[^"]*"', text):
        name, after, inside = match[1], match[2] or "", match[3]
        if not name or after == "(" or name in WORDS:
            continue
        found.append((name, re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', inside or "")))
    return found


def literal_values(operator, value):
    """The label values that a matcher names; none where it is a variable or a pattern."""
    values = value.split("|") if operator.endswith("~") else [value]
    return [v for v in values if re.fullmatch(r"[\w.-]+", v)]


# ---- cleatd(8)


def documented(manual):
    """{family: (type, {labels})} of the section METRICS."""
    section = manual.split("\n.Sh METRICS\n", 1)[1].split("\n.Sh ", 1)[0]
    found = {}
    for match in re.finditer(r"^\.It Li (\w+)(?: Va (.*))?\n(\w+)\.\n", section, re.M):
        assert match[1] not in found, f"{match[1]} is documented twice"
        found[match[1]] = (match[3].lower(), set((match[2] or "").split()))
    return found


def troubles(manual):
    """The items of TROUBLESHOOTING."""
    section = manual.split("\n.Sh TROUBLESHOOTING\n", 1)[1].split("\n.Sh ", 1)[0]
    return set(re.findall(r"^\.It Em (.*)$", section, re.M))
