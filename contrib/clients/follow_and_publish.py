#!/usr/bin/env python3
"""Talks to a peer: `publish SOCKET READING` waits until it is safe; `follow SOCKET` prints each reading once, over restarts."""
import json, socket, sys, time, uuid

def connect(path):
    link = socket.socket(socket.AF_UNIX)
    link.connect(path)
    lines = link.makefile("rw", encoding="utf-8", newline="\n")
    greeting = json.loads(lines.readline() or "{}")
    if "peer" not in greeting:
        raise ConnectionError(greeting.get("error", {}).get("say", "no greeting"))
    return lines

def ask(lines, **request):
    print(json.dumps(request), file=lines, flush=True)
    return (json.loads(line) for line in lines)  # ends where the peer closes the connection

def publish(path, reading):
    """The position of the reading, or None where the peer cannot tell it. May be called again with the same token if the connection breaks: it is published once."""
    for answer in ask(connect(path), id=1, do="publish", payload=reading, wait="safe", token=str(uuid.uuid4())):
        if "error" in answer:
            raise RuntimeError(answer["error"]["say"])
        if answer["ok"]["is"] == "safe":
            return answer["ok"].get("seq")
    raise ConnectionError("the peer is gone; what became of the reading is not known")

def follow(path, place="last 10"):
    """Every record from that place on. Store `place` with what you make of a record to go on there after a restart of your own."""
    while True:
        try:
            for line in ask(connect(path), id=1, do="subscribe", **{"from": place}):
                if "error" in line:
                    raise SystemExit(line["error"]["say"])
                at = line.get("ok") or line  # the answer and the end say where it goes on
                if "next" in at:
                    place = {"log": at["log"], "seq": at["next"], **({"epoch": at["epoch"]} if "epoch" in at else {})}
                record = line.get("record")
                if record:
                    if record["kind"] not in ("diverged", "merged"):
                        last = record["to"] if record["kind"] == "gap" and "to" in record else record.get("last", record.get("seq"))
                        if last is not None:
                            place = {"log": record["log"], "seq": last + 1, **({"epoch": record["epoch"]} if "epoch" in record else {})}
                    yield record
        except (OSError, ValueError):
            pass
        time.sleep(1)  # the peer is gone, or we were too slow

if __name__ == "__main__" and sys.argv[1] == "publish":
    print("safe at", publish(sys.argv[2], sys.argv[3]))
elif __name__ == "__main__":
    for record in follow(sys.argv[2]):
        print(json.dumps(record), flush=True)
