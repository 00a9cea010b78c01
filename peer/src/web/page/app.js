// Draws what one peer tells on its stream of events.
//
// What strangers say (names, readings, reasons) becomes text nodes and nothing else. Everything that grows is bounded, and drawing
// waits for the next frame, so that a flood of readings costs a page no more than a few of them.
"use strict";
(function () {
  const HOUR = 3600e3, POINTS_MOST = 2400, SENSORS_MOST = 500, FIELDS_MOST = 32, EVENTS_MOST = 200, MARKS_MOST = 24, CHARTS_STEP = 12;
  const $ = function (id) { return document.getElementById(id); };
  const token = new URLSearchParams(location.search).get("token");
  const sensors = new Map(), marks = [], happened = new Map(), rowsOf = new Map(), charts = new Map();
  let hello = null, state = null, leader = null, source = null, lastId = "", heardAt = 0, openedAt = 0, skew = 0, lostAt = 0;
  let chartsMost = CHARTS_STEP, frame = 0, drawnAt = 0, find = "";
  const dirty = { state: false, values: false };

  // ---- words and numbers

  const two = function (n) { return (n < 10 ? "0" : "") + n; };
  const clock = function (ms, exact) {
    const d = new Date(ms);
    return two(d.getHours()) + ":" + two(d.getMinutes()) + (exact ? ":" + two(d.getSeconds()) + "." + String(1000 + d.getMilliseconds()).slice(1) : "");
  };
  const span = function (ms) {
    const s = Math.max(0, Math.round(ms / 1000));
    return s < 60 ? s + " s" : s < 3600 ? Math.floor(s / 60) + " min" : s < 172800 ? Math.floor(s / 3600) + " h" : Math.floor(s / 86400) + " days";
  };
  const trip = function (us) { return us < 1e3 ? (us / 1e3).toFixed(2) + " ms" : us < 1e5 ? (us / 1e3).toFixed(1) + " ms" : Math.round(us / 1e3) + " ms"; };
  const many = function (n) { return Number(n).toLocaleString("en-GB", { maximumFractionDigits: 0 }); };
  const UNITS = [[/celsius$/, "°C"], [/percent$/, "%"], [/hpa$/, "hPa"], [/bytes$/, "B"], [/seconds$/, "s"], [/(^|_)ms$/, "ms"], [/volts?$/, "V"], [/amps?$/, "A"], [/watts?$/, "W"], [/ppm$/, "ppm"], [/lux$/, "lx"], [/hertz$/, "Hz"]];
  const unitOf = function (sensor, field) {
    if (sensor.units && sensor.units[field]) return sensor.units[field];
    for (const [end, unit] of UNITS) if (end.test(field)) return unit;
    return "";
  };
  const shown = function (value, unit) {
    if (typeof value !== "number") return [String(value).slice(0, 200), unit && isFinite(value) ? unit : ""];
    if (unit === "B" && Math.abs(value) >= 1e3) {
      const step = Math.min(4, Math.floor(Math.log10(Math.abs(value)) / 3));
      return [String(Number((value / Math.pow(1e3, step)).toPrecision(4))), ["", "kB", "MB", "GB", "TB"][step]];
    }
    return [value.toLocaleString("en-GB", { maximumSignificantDigits: 7 }), unit];
  };

  // ---- elements

  const put = function (node, text) { text = String(text); if (node.textContent !== text) node.textContent = text; };
  const html = function (name, className, text) {
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const svg = function (name, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  // A long name may break behind its joints, and nowhere else unless it must.
  const broken = function (node, name) {
    for (const part of name.slice(0, 300).match(/[^_.]*[_.]?/g)) if (part) node.append(part, html("wbr"));
    return node;
  };
  const empty = function (node) { while (node.firstChild) node.removeChild(node.firstChild); return node; };

  // ---- what is told

  const timeOf = function (record) {
    const at = Date.parse(record.ordered || record.time) + skew, now = Date.now();
    return at <= now ? at : now;
  };

  function take(record) {
    if (record.kind === "reading") takeReading(record);
    else if (record.kind === "view") takeView(record);
    else if (record.kind === "gap" || record.kind === "diverged") {
      // What was between is not known: no line goes across.
      for (const sensor of sensors.values()) for (const series of sensor.fields.values()) breakLine(series);
    }
  }

  function takeReading(record) {
    const name = record.sensor || record.origin + " (no sensor)";
    let sensor = sensors.get(name);
    if (!sensor) {
      if (sensors.size >= SENSORS_MOST) forgetOldest();
      sensor = { name: name, at: 0, spans: [], fields: new Map(), units: unitsOf(name), dirty: true };
      sensors.set(name, sensor);
    }
    const at = timeOf(record);
    if (sensor.at && at > sensor.at) { sensor.spans.push(at - sensor.at); if (sensor.spans.length > 9) sensor.spans.shift(); }
    sensor.at = Math.max(at, sensor.at);
    sensor.dirty = dirty.values = true;
    const fields = record.fields || { text: record.payload !== undefined ? record.payload : "bytes: " + String(record.payload_base64 || "").slice(0, 60) };
    for (const field of Object.keys(fields)) {
      let series = sensor.fields.get(field);
      if (!series) {
        if (sensor.fields.size >= FIELDS_MOST) continue;
        series = { t: [], v: [], last: null, apart: 0 };
        sensor.fields.set(field, series);
        sensor.isNew = true;
      }
      series.last = fields[field];
      if (typeof series.last === "number") addPoint(series, at, series.last);
    }
  }

  function addPoint(series, at, value) {
    series.t.push(at); series.v.push(value);
    const begin = Date.now() - HOUR;
    if (series.t[0] < begin - 60e3) {
      const first = series.t.findIndex(function (t) { return t >= begin; });
      series.t.splice(0, first); series.v.splice(0, first);
    }
    if (series.t.length > POINTS_MOST) {
      // The older half is thinned out, and remembers how far apart its points may be.
      const half = POINTS_MOST / 2;
      for (let i = half - 1; i > 0; i -= 2) if (series.v[i] !== null) { series.apart = Math.max(series.apart, series.t[i + 1] - series.t[i - 1] || 0); series.t.splice(i, 1); series.v.splice(i, 1); }
      series.apart = Math.min(series.apart, HOUR / 100);
    }
  }

  function breakLine(series) {
    const end = series.v.length;
    if (end && series.v[end - 1] !== null) { series.t.push(series.t[end - 1] + 1); series.v.push(null); }
  }

  function forgetOldest() {
    let oldest = null;
    for (const sensor of sensors.values()) if (!oldest || sensor.at < oldest.at) oldest = sensor;
    sensors.delete(oldest.name);
    const body = rowsOf.get(oldest.name);
    if (body) { body.node.remove(); rowsOf.delete(oldest.name); }
  }

  function takeView(record) {
    const at = timeOf(record), words = [];
    if (record.leader !== leader) words.push(record.leader + " leads");
    leader = record.leader;
    const why = record.why || {};
    for (const id of record.left) words.push(id + " is out" + (why[id] ? " (" + why[id] + ")" : ""));
    if (record.joined.length < record.members.length) for (const id of record.joined) words.push(id + " is in");
    marks.push({ at: at, short: words[0] || "view " + record.view, say: clock(at, true) + ", view " + record.view + ": " + (words.join("; ") || "the same members") + "." });
    if (marks.length > MARKS_MOST) marks.shift();
  }

  function unitsOf(name) {
    for (const row of state ? state.members.members : []) {
      for (const sensor in row.units) if (name === row.peer + "." + sensor) return row.units[sensor];
    }
    return null;
  }

  function takeHappening(happening) {
    const key = happening.at + happening.say;
    if (happened.has(key)) return;
    const row = html("li"), at = Date.parse(happening.at);
    const say = happening.say;
    if (/suspected| without |was blocked|not have there/.test(say)) row.className = "out";
    else if (/ leads from now on/.test(say)) row.className = "leads";
    else if (/will not deliver|lost|cannot|unanswered|did not accept/.test(say)) row.className = "watch";
    const time = html("time", "", clock(at, true));
    time.dateTime = happening.at;
    row.append(time, html("b", "", happening.about), html("span", "", say));
    happened.set(key, row);
    $("events").prepend(row);
    if (happened.size > EVENTS_MOST) {
      const first = happened.keys().next().value;
      happened.get(first).remove();
      happened.delete(first);
    }
  }

  // ---- the stream

  function connect() {
    const query = ["thin=1"];
    if (token) query.push("token=" + encodeURIComponent(token));
    if (lastId) query.push("behind=" + encodeURIComponent(lastId));
    const url = "events?" + query.join("&");
    source = new EventSource(url);
    source.onerror = function () { again(url); };
    const on = function (name, take) {
      source.addEventListener(name, function (event) {
        heardAt = Date.now();
        lostAt = 0;
        if (event.lastEventId) lastId = event.lastEventId;
        take(JSON.parse(event.data));
        soon();
      });
    };
    on("hello", function (said) {
      hello = said;
      openedAt = Date.now();
      skew = openedAt - said.now;
      put($("cluster"), said.cluster);
      put($("peer"), said.peer);
      put($("foot"), "This peer runs build " + said.build + ". The charts are drawn from what it still keeps of the last hour.");
      document.title = said.peer + " · " + said.cluster;
    });
    on("state", function (said) { state = said; dirty.state = true; });
    on("record", take);
    on("happened", takeHappening);
    on("end", function (said) { trouble("The peer has ended the stream", said.say); });
  }

  // After a pause, behind the last record; and in words, if the peer says why it does not answer.
  function again(url) {
    source.close();
    if (!lostAt) lostAt = Date.now();
    trouble("The peer does not answer", "since " + clock(lostAt, true) + "; trying again every second");
    setTimeout(function () {
      if (Date.now() - lostAt < 900) return connect();
      const stop = new AbortController();
      fetch(url, { signal: stop.signal }).then(function (answer) {
        if (answer.ok) { stop.abort(); return connect(); }
        return answer.text().then(function (text) { trouble("The peer answers " + answer.status, text.trim()); setTimeout(connect, 3000); });
      }).catch(connect);
    }, 1000);
  }

  function trouble(head, more) {
    $("verdict").className = "wrong";
    empty($("say")).append(html("b", "", head + ":"), " " + more + (/[.!]$/.test(more) ? "" : "."));
    empty($("wrong"));
  }

  // ---- drawing

  function soon() { if (!frame) frame = requestAnimationFrame(draw); }

  function draw() {
    frame = 0;
    if (dirty.state) { dirty.state = false; drawState(); }
    const now = Date.now();
    if (now - drawnAt < 250) { setTimeout(soon, 250); return; }
    drawnAt = now;
    if (dirty.values) { dirty.values = false; drawValues(); }
  }

  function drawState() {
    const verdict = state.verdict, status = state.status, members = state.members;
    drawVerdict();
    const facts = [["leader", status.leader || "nobody"], ["view", status.view_id || "–"], ["epoch", status.epoch || "–"], ["members", status.members.length], ["log", "#" + many(status.delivered || 0)], ["mode", status.mode]];
    facts.forEach(function (fact, i) {
      let row = $("facts").children[i];
      if (!row) { row = html("div"); row.append(html("dt", "", fact[0]), html("dd")); row.dataset.fact = fact[0]; $("facts").append(row); }
      put(row.lastChild, fact[1]);
    });
    for (const sensor of sensors.values()) sensor.units = unitsOf(sensor.name) || sensor.units;
    drawMembers(members);
    drawRing(members);
  }

  // What the peer says, and which sensors of the group are late, which only who watches all of them knows.
  function drawVerdict() {
    if (!state || lostAt) return;
    const now = Date.now(), late = Array.from(sensors.values()).filter(function (sensor) { return isLate(sensor, now); });
    let level = state.verdict.level, words = state.verdict.say;
    if (late.length && level === "well") {
      level = "watch";
      words = words.replace("All is well.", "Going on, with " + (late.length === 1 ? "a late sensor" : late.length + " late sensors") + " to watch.");
    }
    const more = late.slice(0, 5).map(function (sensor) { return sensor.name.slice(0, 80) + " is late: its last reading came " + span(now - sensor.at) + " ago, and usually one comes every " + apartWords(usual(sensor)) + "."; });
    if (late.length > 5) more.push("So are " + (late.length - 5) + " more sensors.");
    const cut = words.search(/[.:](\s|$)/) + 1, say = $("say");
    $("verdict").className = level;
    if (say.textContent !== words) empty(say).append(html("b", "", words.slice(0, cut)), words.slice(cut));
    list($("wrong"), state.verdict.wrong.concat(more));
  }
  const apartWords = function (ms) { return ms < 950 ? Math.round(ms / 10) / 100 + " s" : span(ms); };

  function list(node, sentences) {
    while (node.children.length > sentences.length) node.lastChild.remove();
    sentences.forEach(function (sentence, i) { if (!node.children[i]) node.append(html("li")); put(node.children[i], sentence); });
  }

  const isLeader = function (row, members) { return row.peer === members.leader; };
  const behind = function (row, members) {
    return row.lag !== undefined && !(isLeader(row, members)) ? many(row.lag) : isLeader(row, members) ? "–" : "?";
  };
  const watches = function (row) { return row.lag >= 1000; };

  function drawMembers(members) {
    const body = $("members").tBodies[0];
    while (body.rows.length > members.members.length) body.lastChild.remove();
    members.members.forEach(function (row, i) {
      let line = body.rows[i];
      if (!line) { line = body.insertRow(); for (let n = 0; n < 5; n++) line.insertCell(); }
      const words = [row.peer, row.role + (row.this ? " (this peer)" : ""), behind(row, members), row.rtt_us !== undefined ? trip(row.rtt_us) : isLeader(row, members) ? "–" : "?", row.for_ms !== undefined ? (row.since ? "" : "> ") + span(row.for_ms) : "?"];
      words.forEach(function (word, n) { put(line.cells[n], word); });
    });
    put($("unknown"), members.unknown ? "?: " + members.unknown + "." : "");
  }

  let ringKey = "";
  function drawRing(members) {
    const rows = members.members.slice(), key = JSON.stringify([members.leader, rows.map(function (r) { return [r.peer, r.role, r.lag, r.rtt_us, r.this]; })]);
    if (key === ringKey) return;
    ringKey = key;
    const wide = $("ring").clientWidth || 560, small = rows.length > 12, W = small ? 520 : Math.max(310, Math.min(560, wide)), narrow = W < 420, H = small ? 520 : narrow ? 330 : 390, cx = W / 2, cy = H / 2 - (small ? 0 : 12);
    const rx = small ? 138 : rows.length < 3 ? 0 : W / 2 - (narrow ? 48 : 78), ry = small ? 138 : rows.length < 2 ? 0 : H / 2 - 72, r = small ? 8 : 20;
    rows.sort(function (a, b) { return isLeader(b, members) - isLeader(a, members); });
    const label = rows.length + " members: " + rows.slice(0, 40).map(function (row) { return row.peer + (isLeader(row, members) ? " leads" : ""); }).join(", ");
    const root = svg("svg", { viewBox: "0 0 " + W + " " + H, role: "img", "aria-label": label });
    const places = rows.map(function (row, i) {
      const turn = -Math.PI / 2 + 2 * Math.PI * i / rows.length;
      return { x: cx + rx * Math.cos(turn), y: cy + ry * Math.sin(turn), turn: turn };
    });
    const hub = isLeaderKnown(rows, members) ? places[0] : null;
    rows.forEach(function (row, i) {
      if (!hub || i === 0) return;
      const at = places[i];
      root.append(svg("line", { x1: hub.x, y1: hub.y, x2: at.x, y2: at.y, class: "edge" + (watches(row) ? " watch" : "") }));
      if (!small && !(narrow && rows.length > 3) && row.rtt_us !== undefined) root.append(svg("text", { x: hub.x + (at.x - hub.x) * 0.58, y: hub.y + (at.y - hub.y) * 0.58 + 4, "text-anchor": "middle", class: "rtt" }, trip(row.rtt_us)));
    });
    rows.forEach(function (row, i) {
      const at = places[i], lead = hub && i === 0, watch = watches(row);
      const group = svg("g", { class: (small ? "small " : "") + (lead ? "lead " : "") + (row.this ? "this " : "") + (watch ? "watch" : "") });
      const role = [lead ? "leader" : row.role !== "member" && row.role !== "leader" ? row.role : "", row.this ? "this peer" : "", lead || row.lag === undefined ? "" : row.lag ? many(row.lag) + " behind" : narrow ? "" : "up to date"].filter(Boolean).join(" · ");
      group.append(svg("title", {}, row.peer + (role ? ": " + role : "") + (row.rtt_us !== undefined && !lead ? "; round trip " + trip(row.rtt_us) : "")));
      if (lead) group.append(svg("circle", { cx: at.x, cy: at.y, r: r + (small ? 4 : 5), class: "halo" }));
      group.append(svg("circle", { cx: at.x, cy: at.y, r: r, class: "disc" }));
      if (small) {
        const left = Math.cos(at.turn) < -0.01, degrees = at.turn * 180 / Math.PI + (left ? 180 : 0);
        const far = 156, x = cx + far * Math.cos(at.turn), y = cy + far * Math.sin(at.turn);
        const name = (lead ? "♛ " : "") + row.peer.slice(0, 12) + (row.this ? " (this)" : "");
        group.append(svg("text", { x: x, y: y + 4, class: "id", "text-anchor": left ? "end" : "start", transform: "rotate(" + degrees + " " + x + " " + y + ")" }, name));
      } else {
        group.append(svg("text", { x: at.x, y: at.y + 5, "text-anchor": "middle", class: "mono" }, lead ? "♛" : row.peer.slice(0, 1).toUpperCase()));
        group.append(svg("text", { x: at.x, y: at.y + r + 17, "text-anchor": "middle", class: "id" }, row.peer.slice(0, 22)));
        group.append(svg("text", { x: at.x, y: at.y + r + 33, "text-anchor": "middle", class: "role" }, role));
      }
      root.append(group);
    });
    empty($("ring")).append(root);
  }
  function isLeaderKnown(rows, members) { return rows.length > 0 && isLeader(rows[0], members); }

  // How far apart readings of a sensor usually are: the median.
  const usual = function (sensor) {
    if (sensor.spans.length < 2) return 0;
    const sorted = sensor.spans.slice().sort(function (a, b) { return a - b; });
    return sorted[sorted.length >> 1];
  };
  const isLate = function (sensor, now) {
    const apart = usual(sensor);
    return apart > 0 && now - sensor.at > Math.max(3 * apart, 2000);
  };

  function drawValues() {
    const now = Date.now();
    for (const sensor of sensors.values()) {
      let body = rowsOf.get(sensor.name);
      if (!body) {
        body = { node: html("tbody"), cells: [], late: false, sparkAt: 0 };
        rowsOf.set(sensor.name, body);
        insertSorted(body.node, sensor.name);
      }
      if (sensor.isNew) { sensor.isNew = false; buildRows(body, sensor); }
      const late = isLate(sensor, now);
      body.late = late;
      body.node.className = late ? "late" : "";
      if (body.when) put(body.when, span(now - sensor.at) + " ago" + (late ? ", late" : ""));
      if (!sensor.dirty) continue;
      sensor.dirty = false;
      const spark = now - body.sparkAt > 1000;
      if (spark) body.sparkAt = now; else sensor.dirty = true;
      body.cells.forEach(function (cell) {
        const series = sensor.fields.get(cell.field), words = shown(series.last, unitOf(sensor, cell.field));
        put(cell.value, words[0]);
        put(cell.unit, words[1]);
        cell.value.className = typeof series.last === "number" || words[0].length < 12 ? "val" : "val text";
        if (spark && series.t.length > 1) cell.path.setAttribute("d", path(series, sensor, Math.max(now - HOUR, Math.min(series.t[0], now - 10e3)), now, 0, 120, 24, 2));
      });
    }
    drawVerdict();
    $("none").hidden = sensors.size > 0;
    $("values").hidden = sensors.size === 0;
  }

  function insertSorted(node, name) {
    node.dataset.name = name;
    node.hidden = !matches(name, null);
    const table = $("values");
    for (const other of table.tBodies) if (other.dataset.name > name) { table.insertBefore(node, other); return; }
    table.append(node);
  }

  function buildRows(body, sensor) {
    empty(body.node);
    body.cells = [];
    body.sparkAt = 0;
    const count = sensor.fields.size;
    let first = true;
    for (const field of sensor.fields.keys()) {
      const row = body.node.insertRow();
      if (first) { const name = broken(html("td", "name"), sensor.name); name.rowSpan = count; row.append(name); }
      const value = html("td"), number = html("span", "val"), unit = html("span", "unit"), cell = html("td", "spark");
      value.append(number, unit);
      const image = svg("svg", { viewBox: "0 0 120 26", "aria-hidden": "true" }), line = svg("path", { class: "line" });
      image.append(line);
      cell.append(image);
      row.append(broken(html("td", "field"), field), value, cell);
      if (first) { body.when = html("td", "when"); body.when.rowSpan = count; row.append(body.when); }
      first = false;
      body.cells.push({ field: field, value: number, unit: unit, path: line });
    }
  }

  const matches = function (name, sensor) {
    if (!find || name.toLowerCase().includes(find)) return true;
    sensor = sensor || sensors.get(name);
    return !!sensor && Array.from(sensor.fields.keys()).some(function (field) { return field.toLowerCase().includes(find); });
  };

  // The line of a series from left to right; where readings are missing, there is none.
  function path(series, sensor, begin, end, left, width, height, top) {
    let low = Infinity, high = -Infinity, out = "", before = 0, open = false, column = -1, dots = 0;
    const apart = usual(sensor), range = series.range;
    if (range) { low = range[0]; high = range[1]; } else for (const v of series.v) if (v !== null) { if (v < low) low = v; if (v > high) high = v; }
    if (high <= low) { high = low + 1; low -= 1; }
    for (let i = 0; i < series.t.length; i++) {
      const t = series.t[i], v = series.v[i];
      if (t < begin) continue;
      if (v === null) { open = false; continue; }
      // No two points in a third of a pixel.
      const x = left + (t - begin) / (end - begin) * width, here = Math.round(x * 3);
      const limit = 3 * Math.max(apart, series.apart, t < openedAt && hello ? hello.apart_ms : 0, 1000);
      const goes = open && t - before <= limit;
      before = t;
      if (goes && here === column) continue;
      column = here;
      const y = top + (high - v) / (high - low) * (height - top);
      if (!goes && dots === 1) out += "h.01";
      dots = goes ? dots + 1 : 1;
      out += (goes ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1);
      open = true;
    }
    return out + (dots === 1 ? "h.01" : "");
  }

  function drawCharts() {
    const now = Date.now(), wanted = [];
    const names = Array.from(sensors.keys()).filter(function (name) { return matches(name, null); }).sort();
    let all = 0;
    for (const name of names) for (const [field, series] of sensors.get(name).fields) {
      if (series.t.length < 2) continue;
      all++;
      if (wanted.length < chartsMost) wanted.push({ key: name + "\n" + field, sensor: sensors.get(name), field: field, series: series });
    }
    const keep = new Set(wanted.map(function (one) { return one.key; }));
    for (const [key, chart] of charts) if (!keep.has(key)) { chart.figure.remove(); charts.delete(key); }
    wanted.forEach(function (one, i) {
      let chart = charts.get(one.key);
      if (!chart) {
        chart = { figure: html("figure"), unit: html("i") };
        const caption = html("figcaption", "", one.sensor.name + " " + one.field);
        caption.append(" ", chart.unit);
        chart.holder = html("div");
        chart.figure.append(caption, chart.holder);
        charts.set(one.key, chart);
      }
      if ($("charts").children[i] !== chart.figure) $("charts").insertBefore(chart.figure, $("charts").children[i] || null);
      const unit = unitOf(one.sensor, one.field);
      put(chart.unit, unit === "B" ? "" : unit);
      drawChart(chart, one, now);
    });
    const more = $("more");
    more.hidden = all <= chartsMost;
    put(more, "Draw more charts (" + (all - wanted.length) + " are not drawn)");
  }

  function drawChart(chart, one, now) {
    const box = chart.holder.clientWidth || 420, W = Math.max(240, Math.round(box)), H = 170, left = 52, right = 6, top = 16, bottom = 22;
    const seen = one.series.v.filter(function (v, i) { return v !== null && one.series.t[i] >= now - HOUR; });
    if (!seen.length) return;
    // An hour that has hardly begun is drawn from where it begins.
    const begin = Math.max(now - HOUR, Math.min(one.series.t[0] - 1000, now - 20e3)), x = function (t) { return left + (t - begin) / (now - begin) * (W - left - right); };
    const low = seen.reduce(function (a, b) { return Math.min(a, b); }), high = seen.reduce(function (a, b) { return Math.max(a, b); });
    const ticks = scale(low, high);
    one.series.range = [ticks[0], ticks[ticks.length - 1]];
    const y = function (v) { return top + (one.series.range[1] - v) / (one.series.range[1] - one.series.range[0]) * (H - bottom - top); };
    const unit = unitOf(one.sensor, one.field);
    // Where somebody is on a line of it, the chart waits.
    if (chart.holder.contains(document.activeElement)) return;
    const label = one.sensor.name + " " + one.field + " of the last " + span(now - begin) + ": between " + shown(low, unit).join(" ") + " and " + shown(high, unit).join(" ");
    const root = svg("svg", { viewBox: "0 0 " + W + " " + H, role: "group", "aria-label": label });
    for (const tick of ticks) {
      root.append(svg("line", { x1: left, x2: W - right, y1: y(tick), y2: y(tick), class: "grid" }));
      root.append(svg("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, shown(tick, unit === "B" ? "B" : "").join(unit === "B" ? " " : "")));
    }
    const steps = W < 330 ? 2 : 4;
    for (let i = 0; i <= steps; i++) {
      const t = begin + (now - begin) * i / steps;
      root.append(svg("text", { x: x(t), y: H - 4, "text-anchor": i === 0 ? "start" : i === steps ? "end" : "middle" }, clock(t, now - begin < 600e3).slice(0, 8)));
    }
    root.append(svg("path", { class: "line", d: path(one.series, one.sensor, begin, now, left, W - left - right, H - bottom, top) }));
    let free = -Infinity;
    for (const mark of marks) {
      if (mark.at < begin) continue;
      const at = x(mark.at), group = svg("g", { class: "moment", tabindex: "0", role: "img", "aria-label": mark.say });
      group.append(svg("title", {}, mark.say), svg("line", { x1: at, x2: at, y1: 2, y2: H - bottom, class: "when-line" }), svg("line", { x1: at, x2: at, y1: 2, y2: H - bottom, class: "touch" }));
      const width = mark.short.length * 6.6 + 8, flips = at + width > W;
      if (at - (flips ? width : 0) > free) {
        group.append(svg("text", { x: at + (flips ? -4 : 4), y: 11, "text-anchor": flips ? "end" : "start" }, mark.short.slice(0, 24)));
        free = at + (flips ? 0 : width);
      }
      const tell = function () { put($("mark"), mark.say); };
      group.addEventListener("focus", tell);
      group.addEventListener("mouseenter", tell);
      root.append(group);
    }
    empty(chart.holder).append(root);
  }

  // A few round numbers that hold all values.
  function scale(low, high) {
    if (high - low < Math.max(1e-9, Math.abs(high) * 1e-9)) { const pad = Math.abs(high) * 0.01 || 1; low -= pad; high += pad; }
    const rough = (high - low) / 3, power = Math.pow(10, Math.floor(Math.log10(rough)));
    const step = [1, 2, 2.5, 5, 10].map(function (n) { return n * power; }).find(function (n) { return n >= rough; }), ticks = [];
    for (let n = Math.floor(low / step); n <= Math.ceil(high / step) && ticks.length < 7; n++) ticks.push(Number((n * step).toPrecision(10)));
    return ticks;
  }

  // ---- by the clock, and by hand

  setInterval(function () {
    if (document.hidden) return;
    dirty.values = true;
    soon();
    if (heardAt && !lostAt && Date.now() - heardAt > 6000) trouble("The peer stands still", "nothing has come for " + span(Date.now() - heardAt));
  }, 1000);
  setInterval(function () { if (!document.hidden) drawCharts(); }, 2000);
  setTimeout(drawCharts, 400);
  setTimeout(drawCharts, 1200);
  $("find").addEventListener("input", function () {
    find = this.value.trim().toLowerCase();
    for (const body of $("values").tBodies) body.hidden = !matches(body.dataset.name, null);
    drawCharts();
  });
  let resized = 0;
  addEventListener("resize", function () {
    clearTimeout(resized);
    resized = setTimeout(function () { ringKey = ""; if (state) drawRing(state.members); drawCharts(); }, 100);
  });
  $("more").addEventListener("click", function () { chartsMost += CHARTS_STEP; drawCharts(); });
  connect();
})();
