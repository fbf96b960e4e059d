"""What the tests of jobs share: submitting, waiting, and reading a log to its end."""

import base64

from cleat_harness import poll


def submit(api, *argv, **fields):
    if argv:
        fields["argv"] = list(argv)
    return api.call("POST", "/v1/jobs", fields)["job_id"]


def shell(api, script, **fields):
    return submit(api, "/bin/sh", "-c", script, **fields)


def python(api, code, **fields):
    return submit(api, code=code, **fields)


def job(api, ident):
    return api.call("GET", f"/v1/jobs/{ident}")


def ended(api, ident, timeout_s=60):
    return api.call("GET", f"/v1/jobs/{ident}?wait=ended&timeout_s={timeout_s}", timeout=timeout_s + 30)


def in_state(api, ident, *states, timeout=60):
    def look():
        now = job(api, ident)
        return now["state"] in states and now

    return poll(look, timeout, f"job {ident} in {states}")


def cancel(api, ident):
    return api.call("DELETE", f"/v1/jobs/{ident}")


def data_of(chunk):
    return chunk["data"].encode() if "data" in chunk else base64.b64decode(chunk["data_base64"])


def log(api, ident, after=0, stream=None, follow=True, timeout_s=60):
    """Every chunk from an offset to the end, checked to be without gap or repeat, and whether it was cut."""
    chunks, at = [], after
    while True:
        query = f"after={at}" + (f"&stream={stream}" if stream else "")
        query += f"&follow=true&timeout_s={timeout_s}" if follow else ""
        piece = api.call("GET", f"/v1/jobs/{ident}/logs?{query}", timeout=timeout_s + 30)
        for chunk in piece["chunks"]:
            assert chunk["offset"] >= at if stream else chunk["offset"] == at, (at, chunk)
            at = chunk["offset"] + len(data_of(chunk))
            chunks.append(chunk)
        assert piece["next"] >= at if stream else piece["next"] == at, piece["next"]
        at = piece["next"]
        if piece["ended"] or not follow:
            return chunks, piece["truncated"]


def output(api, ident, stream="stdout", only=False):
    """All that a stream said; only: the other one is not asked for."""
    chunks, _ = log(api, ident, stream=stream if only else None)
    return b"".join(data_of(c) for c in chunks if c["stream"] == stream)


def log_files(cleatd, ident):
    return sorted(p.name.split(".", 1)[1] for p in (cleatd.root / "state" / "jobs").glob(f"{ident}.*"))
