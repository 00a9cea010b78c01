#!/usr/bin/env node
// Talks to a peer: `publish SOCKET READING` waits until it is safe; `follow SOCKET` prints each record once, over restarts.
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { randomUUID } from "node:crypto";

async function* ask(path, request) { // the answers; ends where the peer closes the connection
  const link = connect(path);
  const broken = new Promise((_, refuse) => link.on("error", refuse));
  broken.catch(() => {});
  link.write(JSON.stringify(request) + "\n");
  try {
    const lines = createInterface({ input: link })[Symbol.asyncIterator]();
    for (let line; !(line = await Promise.race([lines.next(), broken])).done; ) {
      const said = JSON.parse(line.value);
      if (said.error) throw Object.assign(new Error(said.error.say), { code: said.error.code });
      if (!said.peer) yield said; // the greeting says who it is
    }
  } finally { link.destroy(); }
}

// The position of the reading. May be called again with the same token if the connection breaks: it is published once.
export async function publish(path, payload, token = randomUUID()) {
  for await (const { ok } of ask(path, { id: 1, do: "publish", payload, wait: "safe", token })) if (ok.is === "safe") return ok.seq;
  throw new Error("the peer is gone; what became of the reading is not known");
}

// Every record from that place on. Store `place` with what you make of a record to go on there after a restart of your own.
export async function* follow(path, place = "last 10") {
  for (;; await new Promise((wake) => setTimeout(wake, 1000))) { // the peer is gone, or we were too slow
    try {
      for await (const { ok, record, ...end } of ask(path, { id: 1, do: "subscribe", from: place })) {
        const at = ok ?? end; // the answer and the end say where it goes on
        if (at.next !== undefined) place = { log: at.log, seq: at.next, epoch: at.epoch };
        if (!record) continue;
        const last = record.kind === "gap" ? record.to : record.last ?? record.seq;
        if (last !== undefined && record.kind !== "diverged" && record.kind !== "merged") place = { log: record.log, seq: last + 1, epoch: record.epoch };
        yield record;
      }
    } catch (error) { if (error.code === "bad_request") throw error; }
  }
}

const [verb, path, reading] = process.argv.slice(2);
if (verb === "publish") console.log("safe at", await publish(path, reading));
if (verb === "follow") for await (const record of follow(path)) console.log(JSON.stringify(record));
